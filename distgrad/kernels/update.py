"""The one recipe for elementwise updates: a formula of single numbers in, a loop over arrays out.

A loop gives the bits of its formula called with arrays, wherever an array is cut and whatever the
processor: every operation is rounded by itself, as NumPy's are, so nothing may be fused,
reordered or approximated. What is read and written limits such loops, not the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from inspect import signature
from typing import Any

from numba.extending import overload
from numba.np.unsafe.ndarray import to_fixed_tuple

from distgrad.autograd.types import Array
from distgrad.kernels.compiler import parts
from distgrad.kernels.formula import where
from distgrad.kernels.jit import exact_kernel, part

Formula = Callable[..., tuple[Any, ...]]
Arrays = tuple[Array, ...]


def move_(formula: Formula, value: Array, grad: Array, state: Arrays, numbers: Array) -> None:
    """Let (value, *state) = formula(value, numbers[0] * grad, *state, *numbers[1:]) by element.

    numbers[0] is 1 or -1; any other gives the bits of a gradient that was scaled by it before.
    """
    loop_of(formula, len(state))(value, grad, state, numbers)


@cache
def loop_of(formula: Formula, count: int) -> Callable[..., None]:
    """Return the loop of a formula with ``count`` arrays of state (at most three)."""
    numbers = len(signature(formula).parameters) - 2 - count
    return exact_kernel(_LOOPS[count](part(formula), numbers))


def _without(f: Formula, n: int) -> Callable[..., None]:
    def loop(x: Array, g: Array, state: Arrays, numbers: Array) -> None:
        factor, rest = numbers[0], to_fixed_tuple(numbers[1:], n)
        for i in range(x.size):
            (x[i],) = f(x[i], factor * g[i], *rest)

    return loop


def _with_one(f: Formula, n: int) -> Callable[..., None]:
    def loop(x: Array, g: Array, state: Arrays, numbers: Array) -> None:
        (a,) = state
        factor, rest = numbers[0], to_fixed_tuple(numbers[1:], n)
        for i in range(x.size):
            x[i], a[i] = f(x[i], factor * g[i], a[i], *rest)

    return loop


def _with_two(f: Formula, n: int) -> Callable[..., None]:
    def loop(x: Array, g: Array, state: Arrays, numbers: Array) -> None:
        a, b = state
        factor, rest = numbers[0], to_fixed_tuple(numbers[1:], n)
        for i in range(x.size):
            x[i], a[i], b[i] = f(x[i], factor * g[i], a[i], b[i], *rest)

    return loop


def _with_three(f: Formula, n: int) -> Callable[..., None]:
    def loop(x: Array, g: Array, state: Arrays, numbers: Array) -> None:
        a, b, c = state
        factor, rest = numbers[0], to_fixed_tuple(numbers[1:], n)
        for i in range(x.size):
            x[i], a[i], b[i], c[i] = f(x[i], factor * g[i], a[i], b[i], c[i], *rest)

    return loop


_LOOPS = (_without, _with_one, _with_two, _with_three)


def _where(condition: Any, yes: Any, no: Any) -> Any:
    def choose(condition: Any, yes: Any, no: Any) -> Any:
        return yes if condition else no

    return choose


overload(where, jit_options=parts)(_where)
