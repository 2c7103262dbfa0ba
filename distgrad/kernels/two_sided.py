"""Products M X Mᵀ of matrices of whole vectors, M with -1, 0 and 1. Imports numba."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types

from distgrad.kernels.intrinsics import code, place_of
from distgrad.kernels.vectors import WORD, Vector, loaded, stored


def two_sided(matrix: Sequence[Sequence[int]], shifted: bool = False) -> Any:
    """Make an instruction that writes M X Mᵀ: columns first, sums from left to right.

    Its arguments: an array and where in it X begins, how far rows and columns of X are apart; the
    same of the result; and if ``shifted`` an array and where in it is what is added. An element of
    either is as many numbers as a vector is long.
    """
    size = len(matrix[0])

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(Vector(signature.args[0].dtype))

        def place(n: int, i: int = 0, j: int = 0) -> Any:
            at = args[n + 1]
            for count, apart in ((i, args[n + 2]), (j, args[n + 3])) if i or j else ():
                at = builder.add(at, builder.mul(apart, ir.Constant(WORD, count)))
            return place_of(context, builder, signature, args, n, at)

        x = [[loaded(builder, place(0, i, j), kind) for j in range(size)] for i in range(size)]
        columns = [_times(builder, matrix, list(column)) for column in zip(*x, strict=True)]
        shift = loaded(builder, place(8), kind) if shifted else None
        for i, row in enumerate(zip(*columns, strict=True)):
            for j, value in enumerate(_times(builder, matrix, list(row))):
                found = value if shift is None else builder.fadd(value, shift)
                stored(builder, found, place(4, i, j))
        return context.get_dummy_value()

    n = types.intp
    if shifted:

        @code
        def with_shift(
            typing: Any, a: Any, at: Any, row: Any, column: Any, out: Any, to: Any, down: Any,
            right: Any, shift: Any, start: Any,
        ) -> Any:  # fmt: skip
            return types.void(a, n, n, n, out, n, n, n, shift, n), generate

        return with_shift

    @code
    def alone(
        typing: Any,
        a: Any,
        at: Any,
        row: Any,
        column: Any,
        out: Any,
        to: Any,
        down: Any,
        right: Any,
    ) -> Any:
        return types.void(a, n, n, n, out, n, n, n), generate

    return alone


def _times(builder: Any, matrix: Sequence[Sequence[int]], x: list[Any]) -> list[Any]:
    """Return M x."""
    found = []
    for row in matrix:
        terms = [(sign, value) for sign, value in zip(row, x, strict=True) if sign]
        # The first is a positive one, where there is one: nothing has to change its sign.
        terms.sort(key=lambda term: term[0] < 0)
        sign, total = terms[0]
        total = total if sign > 0 else builder.fneg(total)
        for sign, value in terms[1:]:
            total = builder.fadd(total, value) if sign > 0 else builder.fsub(total, value)
        found.append(total)
    return found
