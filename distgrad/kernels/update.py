"""The one recipe for elementwise updates: a formula of single numbers in, a loop over arrays out.

A loop gives the bits of its formula called with arrays, wherever an array is cut and whatever the
processor: every operation is rounded by itself, as NumPy's are, so nothing may be fused,
reordered or approximated. What is read and written limits such loops, not the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
from numba.extending import overload

from distgrad.autograd.types import Array
from distgrad.kernels.arrays import Scalar
from distgrad.kernels.formula import where
from distgrad.kernels.jit import exact, exact_kernel

Formula = Callable[..., tuple[Any, ...]]
Arrays = tuple[Array, ...]
Numbers = tuple[Scalar, ...]


def move_(
    formula: Formula, value: Array, grad: Array, state: Arrays, factor: Scalar, numbers: Numbers
) -> None:
    """Let (value, *state) = formula(value, factor * grad, *state, *numbers), element by element.

    The factor is 1 or -1; any other gives the bits of a gradient that was scaled by it before.
    """
    loop_of(formula, len(state))(value, grad, state, factor, numbers)


@cache
def loop_of(formula: Formula, count: int) -> Callable[..., None]:
    """Return the loop of a formula with ``count`` arrays of state (at most three)."""
    return exact_kernel(_LOOPS[count](numba.njit(**exact)(formula)))


def _without(f: Formula) -> Callable[..., None]:
    def loop(x: Array, g: Array, state: Arrays, factor: Scalar, numbers: Numbers) -> None:
        for i in range(x.size):
            (x[i],) = f(x[i], factor * g[i], *numbers)

    return loop


def _with_one(f: Formula) -> Callable[..., None]:
    def loop(x: Array, g: Array, state: Arrays, factor: Scalar, numbers: Numbers) -> None:
        (a,) = state
        for i in range(x.size):
            x[i], a[i] = f(x[i], factor * g[i], a[i], *numbers)

    return loop


def _with_two(f: Formula) -> Callable[..., None]:
    def loop(x: Array, g: Array, state: Arrays, factor: Scalar, numbers: Numbers) -> None:
        a, b = state
        for i in range(x.size):
            x[i], a[i], b[i] = f(x[i], factor * g[i], a[i], b[i], *numbers)

    return loop


def _with_three(f: Formula) -> Callable[..., None]:
    def loop(x: Array, g: Array, state: Arrays, factor: Scalar, numbers: Numbers) -> None:
        a, b, c = state
        for i in range(x.size):
            x[i], a[i], b[i], c[i] = f(x[i], factor * g[i], a[i], b[i], c[i], *numbers)

    return loop


_LOOPS = (_without, _with_one, _with_two, _with_three)


def _where(condition: Any, yes: Any, no: Any) -> Any:
    def choose(condition: Any, yes: Any, no: Any) -> Any:
        return yes if condition else no

    return choose


overload(where)(_where)
