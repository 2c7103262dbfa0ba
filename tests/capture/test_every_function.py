"""PyTorch's own samples of every function that is here, inside a captured step: the eager bits.

Each sample's floating-point Tensors are used before and after the function too: gradients that are
added up in another order have other bits.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the oracle; `sh tests/run.sh --oracle` installs it")

from op_db import _converted, in_words, torch
from op_db_walk import NAMES, arrays, ours_of

import distgrad as dg
from distgrad import Tensor
from distgrad.autograd import grad

CALLS = 3  # two are recorded, the third is replayed, as machine-level calls where it can be
SAMPLES = {torch.float32: 4, torch.int64: 1, torch.bool: 1}
REFUSED = {
    "allclose": "a bool of Python",
    "equal": "a bool of Python",
    "item": "a number of Python",
    "tensor_split": "how many parts there are, and how long, stands in a Tensor",
}
"""What a captured step cannot have, and why."""

NUMBER = {name: i for i, name in enumerate(NAMES)}
PARTS = 16
"""In so many tests, so that one that hangs or fails says roughly where."""


def tensors(x: Any) -> list[Tensor]:
    """The Tensors among arguments or results, in order."""
    if isinstance(x, Tensor):
        return [x]
    parts = x.values() if isinstance(x, dict) else x if isinstance(x, list | tuple) else ()
    return [t for part in parts for t in tensors(part)]


def with_others(x: Any, others: Iterator[Tensor]) -> Any:
    """The arguments with other Tensors in their places."""
    if isinstance(x, Tensor):
        return next(others)
    if isinstance(x, list | tuple):
        return type(x)([with_others(part, others) for part in x])
    if isinstance(x, dict):
        return {name: with_others(part, others) for name, part in x.items()}
    return x


def step_of(function: Callable[..., Any], arguments: Any) -> Callable[..., Any]:
    """A step: the function, and the gradients of what uses its inputs before and after it too."""
    on_tape = [t.requires_grad for t in tensors(arguments)]

    def step(*given: Any) -> tuple[Tensor, ...]:
        inputs = [dg.tensor(x) for x in given]
        inputs = [
            x.detach().requires_grad_(True) if wanted else x
            for x, wanted in zip(inputs, on_tape, strict=True)
        ]
        leaves = [x for x, wanted in zip(inputs, on_tape, strict=True) if wanted]
        first, rest, named = with_others(arguments, iter(inputs))
        terms: list[Any] = [(x * 1.1).sum() for x in leaves]
        found = tensors(function(first, *rest, **named))
        terms += [(y * y).sum() for y in found if y.requires_grad]
        terms += [(x * x * 0.3).sum() for x in leaves]
        return (*found, *(grad(sum(terms), leaves) if leaves else ()))

    return step


def calls_of(step: Callable[..., Any], arguments: Any) -> list[Any]:
    """The bits of what calls of a step give, on other numbers each time."""
    dg.manual_seed(3)
    seen = []
    for turn in range(CALLS):
        given = [np.array(t.data) for t in tensors(arguments)]
        given = [a * a.dtype.type(1 - 0.1 * turn) if a.dtype.kind == "f" else a for a in given]
        found = arrays(list(step(*map(np.asarray, given))))
        seen.append([(a.dtype, a.shape, a.tobytes()) for a in found])
    return seen


def samples(op: Any) -> Iterator[tuple[str, Any]]:
    """Calls that have a Tensor, in words and as our arguments."""
    for dtype, most in SAMPLES.items():
        if dtype not in op.supported_dtypes("cpu"):
            continue
        torch.manual_seed(0)
        on_tape = op.supports_autograd and dtype == torch.float32
        try:
            drawn = [*itertools.islice(op.sample_inputs("cpu", dtype, requires_grad=on_tape), most)]
            made = [_converted((s.input, s.args, s.kwargs), {}) for s in drawn]
        except (RuntimeError, TypeError):
            continue  # a layout or dtype that is not here
        for sample, arguments in zip(drawn, made, strict=True):
            if tensors(arguments):
                yield f"{dtype} ({in_words(sample)})", arguments


def verdict(op: Any, function: Callable[..., Any]) -> set[str]:
    """What is said of a function's samples: nothing where the bits are the eager step's."""
    said = set()
    for words, arguments in samples(op):
        step = step_of(function, arguments)
        try:
            eager = calls_of(step, arguments)
        except Exception:  # what the eager step refuses is compared elsewhere
            continue
        try:
            captured = calls_of(dg.capture(step), arguments)
        except dg.CaptureError:
            said.add("refused")
            continue
        if captured != eager:
            said.add(f"other bits: {words}")
    return said


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_a_captured_function_has_the_bits_of_the_eager_one(part: int) -> None:
    wrong = {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for name, op in NAMES.items():
            function = ours_of(op) if NUMBER[name] % PARTS == part else None
            said = verdict(op, function) if function is not None else set()
            if said != ({"refused"} if name in REFUSED and function is not None else set()):
                wrong[name] = said
    assert not wrong


def test_what_is_refused_is_here() -> None:
    assert all(ours_of(NAMES[name]) is not None for name in REFUSED)
