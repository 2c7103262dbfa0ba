"""``distgrad warm``: what it compiles is there when a program comes to it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from distgrad import cli, kernels, optim
from distgrad.cli import warm_calls

pytest.importorskip("numba")
ROOT = Path(cli.__file__).parents[2]
STEP = """
import sys
import numpy as np
import distgrad as dg
from distgrad.nn import functional as F
x = dg.tensor(np.ones((4, 3), np.float32), requires_grad=True)
for f in F.softplus, lambda x: F.gelu(x, approximate="tanh"):
    f(x).sum().backward()
print("arguments", *sys.argv[1:])
"""


def warm(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "distgrad", "warm", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT), "DISTGRAD_CACHE": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One that others cannot write, for compiled kernels."""
    made = tmp_path / "kernels"
    made.mkdir(mode=0o700)
    return made


def test_what_a_program_needs_is_compiled_once_and_is_there_from_then_on(folder, tmp_path) -> None:
    program = tmp_path / "step.py"
    program.write_text(STEP)
    first = warm(folder, str(program), "--steps", "1")
    assert f"compiled kernels are kept in {folder}" in first
    assert "arguments --steps 1" in first
    assert re.search(r"step\.py: [1-9]\d* compiled in \d", first), first
    second = warm(folder, str(program))
    assert "step.py: all there" in second
    assert "0 kernels compiled" in second


def test_a_program_that_is_not_there_is_named(folder) -> None:
    assert "nowhere.py: there is no such program to warm up for" in warm(folder, "nowhere.py")


def test_it_says_that_nothing_is_kept() -> None:
    found = warm(Path("off"))
    assert "compiled kernels are not kept here: DISTGRAD_CACHE is off" in found
    assert not Path("off").exists()


OTHERS = {
    **{"update": "optimizers", "squares": "optimizers"},
    **{"extremes": "extremes and counts", "counts": "extremes and counts"},
    **{"philox": "random numbers", "neighbours": "neighbours"},
}
"""What calls the twins of modules that are no ops'."""


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_module_of_twins_and_every_kind_of_optimizer_is_called(dtype) -> None:
    names = [name for name, _ in warm_calls.groups(np.dtype(dtype))]
    assert set(names) >= {*kernels.TWINS.values(), "optimizers"}
    called = {*kernels.TWINS.values(), *OTHERS}
    assert set(kernels.OTHERS.values()) <= called
    assert set(names) >= set(OTHERS.values())
    flat = {name for name, kind in vars(optim).items() if _moves_by_a_formula(kind)}
    # They move by another's formula, by none, or not at all.
    assert flat - {"Lookahead", "LBFGS", "Optimizer"} <= {
        name for name, _ in warm_calls._OPTIMIZERS
    }


def _moves_by_a_formula(kind: object) -> bool:
    elementwise: Callable[..., bool] | bool = getattr(kind, "elementwise", False)
    return isinstance(kind, type) and issubclass(kind, optim.Optimizer) and elementwise is True
