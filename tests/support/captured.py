"""Steps that are captured, and which of their lines are run as machine-level calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import distgrad as dg
from distgrad import nn, optim
from distgrad.capture.lower import Stretch
from distgrad.capture.program import Program
from distgrad.nn import functional as F

Step = Callable[..., Any]


def classifying_step(model: nn.Module) -> Step:
    """Return a whole step of a classifier: backward, clipping by the norm, AdamW."""
    optimizer = optim.AdamW(model.parameters(), lr=0.01)

    def step(x: Any, y: Any) -> dg.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        dg.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    return step


def squaring_step(model: nn.Module, optimizer: optim.Optimizer) -> Step:
    """Return a step that makes the mean of the squared outputs smaller."""

    def step(x: Any) -> dg.Tensor:
        optimizer.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    return step


def native_lines(program: Program | None) -> set[str]:
    """The names of the lines that are run as machine-level calls."""
    assert program is not None
    assert program.native is not None
    stretches = [p for p in program.native.found.parts if isinstance(p, Stretch)]
    return {program.lines[n].name for s in stretches for n in s.lines}


def lines_of_python(program: Program | None) -> list[str]:
    """The names of the others, in their order."""
    assert program is not None
    assert program.native is not None
    parts = program.native.found.parts
    return [program.lines[p].name for p in parts if not isinstance(p, Stretch)]
