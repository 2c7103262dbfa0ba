"""Newton-Schulz iterations: a matrix's singular values pushed towards 1 by products alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad import kernels
from distgrad.autograd.mode import fused_enabled
from distgrad.autograd.types import Array, DTypeLike
from distgrad.kernels import onednn
from distgrad.optim.norms import norm
from distgrad.optim.update import mix_

_STRIPS_FROM = 384  # rows: of fewer a product is sooner made whole
_LONGER = 1.5  # times the rows, from which on the iteration runs on the Gram matrix
_TOGETHER = 3  # steps from one X to the next: errors of P grow up to fourfold with each
_GAP = 16  # numbers between two rows
_IN_TILES_FROM = 1 << 21  # multiplications of X Xᵀ: of fewer oneDNN's calls cost more than float32


def orthogonalized(
    g: Array, coefficients: tuple[float, float, float], eps: float, steps: int
) -> Array:
    """Return ``steps`` times X ← a X + (b A + c A²) X with A = X Xᵀ, from X = g / ‖g‖.

    On the smaller side. Where X is much longer than that, A ← P A P with P = a + b A + c A² takes
    the place of three steps, as all are polynomials of the first A, and X is multiplied once.
    Large matrices of float32 in bfloat16 where the CPU has tiles for it, see onednn_bfloat16.py.
    """
    if (in_tiles := _in_tiles(g, coefficients)) is not None:
        found: Array = in_tiles(g / g.dtype.type(max(norm(g), eps)), steps)
        return found
    tall = g.shape[0] > g.shape[1]
    rows, columns = g.shape[::-1] if tall else g.shape
    x, y = _room(rows, columns, g.dtype), _room(rows, columns, g.dtype)
    np.divide(g.T if tall else g, max(norm(g), eps), out=x)
    if columns > _LONGER * rows:
        for begin in range(0, steps, _TOGETHER):
            together = min(_TOGETHER, steps - begin)
            np.matmul(_product_of_steps(x, coefficients, together), x, out=y)
            x, y = y, x
    else:
        gram, square = _room(rows, rows, g.dtype), _room(rows, rows, g.dtype)
        for _ in range(steps):
            np.matmul(x, x.T, out=gram)  # of which NumPy has half computed
            np.matmul(gram, gram.T, out=square)
            np.matmul(_polynomial_(gram, square, coefficients), x, out=y)
            x, y = y, x
    return np.ascontiguousarray(x.T if tall else x)


def _in_tiles(g: Array, coefficients: tuple[float, float, float]) -> Any:
    if g.dtype != np.float32 or g.size * min(g.shape) < _IN_TILES_FROM:
        return None
    if not fused_enabled.get() or not onednn.tiles():
        return None
    iteration = kernels.part("onednn_bfloat16", "iteration")
    return None if iteration is None else iteration(g.shape, coefficients)


def _product_of_steps(x: Any, coefficients: tuple[float, float, float], steps: int) -> Any:
    gram, square, other, whole, room = (_room(len(x), len(x), x.dtype) for _ in range(5))
    np.matmul(x, x.T, out=gram)
    for step in range(steps):
        np.matmul(gram, gram.T, out=square)
        if step + 1 < steps:  # there is a next A, so this one is still needed
            other[...] = gram
        p = _polynomial_(gram, square, coefficients)
        if step == 0:
            whole[...] = p
        else:
            _symmetric_product_(p, whole, room)
            whole, room = room, whole
        if step + 1 < steps:
            _symmetric_product_(p, other, room)
            _symmetric_product_(p, room, other)
            gram, other = other, gram
    return whole


def _polynomial_(gram: Any, square: Any, coefficients: tuple[float, float, float]) -> Any:
    """Let ``gram`` be a + b gram + c square, and return it."""
    a, b, c = coefficients
    mix_(gram.base, b, square.base, c)  # with the gaps, which are zeros
    np.einsum("ii->i", gram)[...] += gram.dtype.type(a)
    return gram


def _symmetric_product_(p: Array, s: Array, out: Array) -> None:
    """Let ``out`` be P S, symmetric as both are polynomials of one matrix: half, in four strips."""
    rows = len(p)
    if rows < _STRIPS_FROM:
        np.matmul(p, s, out=out)
        return
    width = -(-rows // 4)
    for first in range(0, rows, width):
        last = min(first + width, rows)
        np.matmul(p[first:], s[:, first:last], out=out[first:, first:last])
        out[first:last, last:] = out[last:, first:last].T


def _room(rows: int, columns: int, dtype: DTypeLike) -> Any:
    """Return zeros whose rows do not lie a power of two apart: they would share few cache lines."""
    return np.zeros((rows, columns + _GAP), dtype)[:, :columns]
