"""Functions of rows of samples: convolution, interpolation, finite differences, phases."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np

from distgrad.autograd.op import OpResult, Sample, dispatch, op
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Ints
from distgrad.errors import ShapeError
from distgrad.ops.helpers import conjugate, data_of
from distgrad.ops.linalg import array_of, arrays
from distgrad.ops.shape import axis_numbers

Mode: TypeAlias = Literal["full", "same", "valid"]


def _rows(rng: np.random.Generator) -> list[Sample]:
    return [((rng.normal(size=n), rng.normal(size=m)), {}) for n, m in ((5, 3), (2, 4), (3, 3))]


@op("n, m -> k", samples=_rows)
def convolve(a: Array, v: Array) -> OpResult:
    """Σ aᵢ vₙ₋ᵢ, where the two overlap (n + m - 1 places)."""
    return np.convolve(a, v), (
        lambda g: np.correlate(g, v, "valid"),
        lambda g: np.correlate(g, a, "valid"),
    )


@dispatch(np.convolve, of=convolve)
def np_convolve(a: TensorLike, v: TensorLike, mode: Mode = "full") -> Any:
    """``np.convolve``: "full", or its "same" middle part, or where they overlap wholly, "valid"."""
    a, v = (np.reshape(x, (1,)) if x.ndim == 0 else x for x in arrays(a, v))
    if mode not in ("full", "same", "valid"):
        raise ShapeError(f"convolve: the modes are 'full', 'same' and 'valid'; got {mode!r}")
    if a.ndim != 1 or v.ndim != 1 or not (a.size and v.size):
        raise ShapeError(f"convolve takes two rows of samples; got shapes {a.shape} and {v.shape}")
    full = convolve(a, v)
    long, short = max(len(a), len(v)), min(len(a), len(v))
    if mode == "full":
        return full
    start, length = ((short - 1) // 2, long) if mode == "same" else (short - 1, long - short + 1)
    return full[start : start + length]


@dispatch(np.correlate)
def correlate(a: TensorLike, v: TensorLike, mode: Mode = "valid") -> Any:
    """``np.correlate``: Σ aₙ₊ᵢ conj(vᵢ)."""
    a, v = arrays(a, v)
    if a.ndim == 1 and v.ndim == 1 and len(a) < len(v):
        return np_convolve(a[::-1], conjugate(v), mode)[::-1]  # NumPy's middle of the longer one
    return np_convolve(a, conjugate(v)[::-1], mode)


@dispatch(np.interp)
def interp(
    x: TensorLike,
    xp: TensorLike,
    fp: TensorLike,
    left: Any = None,
    right: Any = None,
    period: float | None = None,
) -> Any:
    """``np.interp``: straight lines between the points (xp, fp); all three have gradients."""
    x, xp, fp = arrays(x, xp, fp)
    if xp.ndim != 1 or fp.shape != xp.shape or not xp.size:
        raise ShapeError(f"interp: xp and fp are rows of one length; got {xp.shape}, {fp.shape}")
    if period is not None:
        left = right = None
        x, xp = np.remainder(x, abs(period)), np.remainder(xp, abs(period))
        order = np.argsort(data_of(xp))
        xp, fp = xp[order], fp[order]
        xp = np.concatenate((xp[-1:] - abs(period), xp, xp[:1] + abs(period)))
        fp = np.concatenate((fp[-1:], fp, fp[:1]))
    places, knots = data_of(x), data_of(xp)
    i = np.clip(np.searchsorted(knots, places, "right") - 1, 0, max(len(knots) - 2, 0))
    j = np.minimum(i + 1, len(knots) - 1)
    below, above = places < knots[0], places > knots[-1]
    width = xp[j] - xp[i]
    inside = np.clip(places, knots[0], knots[-1]) == places
    t = np.where(inside, x - xp[i], 0) / np.where(data_of(width) == 0, 1, width)
    y = fp[i] + (fp[j] - fp[i]) * t
    y = np.where(below, fp[0] if left is None else left, y)
    return np.where(above, fp[-1] if right is None else right, y)


@dispatch(np.unwrap)
def unwrap(
    p: TensorLike, discont: float | None = None, axis: int = -1, *, period: float = 2 * np.pi
) -> Any:
    """``np.unwrap``: periods added so that neighbours differ by at most half of one."""
    p = array_of(p)
    there = data_of(p)
    return p + (np.unwrap(there, discont, axis, period=period) - there)


@dispatch(np.ediff1d)
def ediff1d(
    ary: TensorLike, to_end: TensorLike | None = None, to_begin: TensorLike | None = None
) -> Any:
    """``np.ediff1d``: each element less the one before, between what is given for the ends."""
    row = np.reshape(array_of(ary), (-1,))
    parts = [row[1:] - row[:-1]]
    if to_begin is not None:
        parts.insert(0, np.reshape(array_of(to_begin), (-1,)))
    if to_end is not None:
        parts.append(np.reshape(array_of(to_end), (-1,)))
    return np.concatenate(parts)


# -- gradient -------------------------------------------------------------------------------------


@dispatch(np.gradient)
def gradient(
    f: TensorLike, *varargs: Any, axis: Ints | None = None, edge_order: Literal[1, 2] = 1
) -> Any:
    """``np.gradient``: central differences, of first or second order at the edges.

    Spacings are numbers or the places of the samples; they may be Tensors. Errors: ShapeError.
    """
    f = array_of(f)
    axes = tuple(range(f.ndim)) if axis is None else axis_numbers(axis, f.ndim, "gradient")
    spacings = list(varargs) * len(axes) if len(varargs) == 1 else list(varargs)
    spacings = spacings or [1.0] * len(axes)
    if len(spacings) != len(axes) or edge_order not in (1, 2):
        raise ShapeError(
            f"gradient: one spacing for all or one for each of {len(axes)} axes, edge_order 1 or "
            f"2; got {len(varargs)} and {edge_order}"
        )
    found = [_slope(f, h, i, edge_order) for h, i in zip(spacings, axes, strict=True)]
    return found[0] if len(found) == 1 else tuple(found)


def _slope(f: Any, spacing: Any, axis: int, edge_order: int) -> Any:
    n = f.shape[axis]
    if n <= edge_order:
        raise ShapeError(
            f"gradient: axis {axis} of shape {f.shape} has no {edge_order + 1} samples"
        )

    def at(start: int, stop: int | None) -> Any:
        return f[(slice(None),) * axis + (slice(start, stop),)]

    h = spacing if isinstance(spacing, Tensor) else np.asarray(spacing)
    # The result has f's dtype, as NumPy's has, whatever the spacing's is.
    h = h.astype(np.empty(0, f.dtype).real.dtype if f.dtype.kind in "fc" else np.float64)
    if h.ndim == 0:
        width: Any = np.broadcast_to(h, (n - 1,))
    elif h.shape == (n,):
        width = h[1:] - h[:-1]
    else:
        raise ShapeError(f"gradient: {n} places along axis {axis}; got spacing of shape {h.shape}")
    width = np.reshape(width, [-1 if i == axis else 1 for i in range(f.ndim)])

    def step(start: int, stop: int | None) -> Any:
        return width[(slice(None),) * axis + (slice(start, stop),)]

    if edge_order == 1:
        first = (at(1, 2) - at(0, 1)) / step(0, 1)
        last = (at(n - 1, n) - at(n - 2, n - 1)) / step(n - 2, n - 1)
    else:
        a, b = step(0, 1), step(1, 2)
        first = _three(at, 0, -(2 * a + b) / (a * (a + b)), (a + b) / (a * b), -a / (b * (a + b)))
        a, b = step(n - 3, n - 2), step(n - 2, n - 1)
        last = _three(at, n - 3, b / (a * (a + b)), -(a + b) / (a * b), (2 * b + a) / (b * (a + b)))
    if n == 2:
        return np.concatenate((first, last), axis=axis)
    a, b = step(0, n - 2), step(1, n - 1)
    uniform = h.ndim == 0
    middle = (
        (at(2, n) - at(0, n - 2)) / (2 * a)
        if uniform
        else (
            -b / (a * (a + b)) * at(0, n - 2)
            + (b - a) / (a * b) * at(1, n - 1)
            + a / (b * (a + b)) * at(2, n)
        )
    )
    return np.concatenate((first, middle, last), axis=axis)


def _three(at: Any, start: int, *weights: Any) -> Any:
    parts = [w * at(start + k, start + k + 1) for k, w in enumerate(weights)]
    return parts[0] + parts[1] + parts[2]
