"""Which values occur, and how often: of whole numbers, in bins of one axis and several.

Without gradients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from distgrad import kernels
from distgrad.autograd import faster
from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.op import constant
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.errors import DistgradError, ShapeError
from distgrad.functions.arguments import made, one_axis, tensor_of
from distgrad.functions.counting import spaced
from distgrad.functions.out import with_out

__all__ = ["bincount", "histc", "histogram", "histogramdd", "unique", "unique_consecutive"]


class Histogram(NamedTuple):
    """Counts (or densities) and the edges of the bins."""

    hist: Tensor
    bin_edges: Any


@apart
def bincount(input: TensorLike, weights: TensorLike | None = None, minlength: int = 0) -> Tensor:
    """How often 0, 1, 2, … occur in a row of whole numbers ≥ 0, or the sums of their weights.

    Errors: ShapeError for others.
    """
    x = tensor_of(input).array
    if x.ndim != 1 or x.dtype.kind not in "iu" or (x.size and x.min() < 0):
        raise ShapeError(f"bincount takes a row of whole numbers ≥ 0; got {x.dtype} {x.shape}")
    if minlength < 0:
        raise ShapeError(f"bincount: minlength is ≥ 0; got {minlength}")
    if weights is None:
        return Tensor(np.bincount(x, minlength=minlength))
    w = np.asarray(constant(weights, "bincount", "weights"))
    if w.shape != x.shape:
        raise ShapeError(f"bincount: weights of shape {w.shape} for elements of {x.shape}")
    found = np.bincount(x, w, minlength)
    return Tensor(found.astype(np.float32) if w.dtype == np.float32 else found)


@with_out
@apart
@keeps_form
def histc(input: TensorLike, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements fall into each of ``bins`` equal intervals of [min, max].

    If both are equal, of the range of the elements. Errors: ShapeError.
    """
    x = np.asarray(constant(tensor_of(input), "histc", "input")).reshape(-1)
    if bins <= 0:
        raise ShapeError(f"histc: there is at least one bin; got bins={bins}")
    if max < min:
        raise ShapeError(f"histc: max is ≥ min; got {min}, {max}")
    ends = _range(x, (min, max)) if min != max else _range(x, None)
    kind = x.dtype if x.dtype.kind == "f" else np.float64
    edges = spaced(*ends, bins + 1).astype(kind)
    return Tensor(_counts([x], [edges], [True], None).astype(x.dtype))


@with_out
@apart
@keeps_form
def histogram(
    input: TensorLike,
    bins: int | TensorLike = 100,
    *,
    range: Sequence[float] | None = None,
    weight: TensorLike | None = None,
    density: bool = False,
) -> Histogram:
    """How many elements fall into each bin: (hist, bin_edges).

    ``bins`` is how many equal ones there are in ``range`` (that of the elements if None), or their
    edges. ``weight`` counts elements with weights; ``density`` makes the integral 1.
    """
    x = np.asarray(constant(tensor_of(input), "histogram", "input"))
    found, edges = _histogramdd(x.reshape(-1, 1), [bins], range, weight, density)
    return Histogram(found, edges[0])


@apart
@keeps_form
def histogramdd(
    input: TensorLike,
    bins: int | Sequence[Any],
    range: Sequence[float] | None = None,
    weight: TensorLike | None = None,
    density: bool = False,
) -> Histogram:
    """How many of the points ``input`` (…, d) fall into each bin of d axes: (hist, bin_edges).

    ``bins`` is the number of bins of all axes, of each, or a sequence of the edges of each;
    ``range`` holds the smallest and largest place of each axis, in a row.
    """
    x = np.asarray(constant(tensor_of(input), "histogramdd", "input"))
    if x.ndim < 2:
        raise ShapeError(f"histogramdd takes points (…, d); got shape {x.shape}")
    points = x.reshape(-1, x.shape[-1])
    each = [bins] * points.shape[1] if isinstance(bins, int) else list(bins)
    found, edges = _histogramdd(points, each, range, weight, density)
    return Histogram(found, edges)


def _histogramdd(
    points: Any, bins: list[Any], range: Any, weight: TensorLike | None, density: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    if points.dtype.kind != "f":
        raise DistgradError(f"histograms are of real numbers; got {points.dtype}")
    axes = points.shape[1]
    if len(bins) != axes:
        raise ShapeError(f"histogramdd: bins for {len(bins)} axes; the points have {axes}")
    if range is not None and len(range) != 2 * axes:
        raise ShapeError(f"histogram: range holds 2 numbers for each of {axes} axes")
    edges, evenly = [], [isinstance(given, _WHOLE) for given in bins]
    for i, given in enumerate(bins):
        if evenly[i]:
            if given <= 0:
                raise ShapeError(f"histogram: there is at least one bin; got {given}")
            ends = None if range is None else tuple(range[2 * i : 2 * i + 2])
            first, last = _range(points[:, i], ends)
            edges.append(spaced(first, last, int(given) + 1).astype(points.dtype))
        else:
            edges.append(np.asarray(tensor_of(given).array))
            if edges[-1].ndim != 1 or not edges[-1].size or edges[-1].dtype != points.dtype:
                raise ShapeError(f"histogram: edges are a row of {points.dtype}")
            if (edges[-1][1:] < edges[-1][:-1]).any():
                raise ShapeError(f"histogram: edges rise monotonically; sort {edges[-1]}")
    w = None if weight is None else np.asarray(constant(weight, "histogram", "weight")).reshape(-1)
    if w is not None and len(w) != len(points):
        raise ShapeError(f"histogram: {len(w)} weights for {len(points)} elements")
    found = _counts(points.T, edges, evenly, w)
    if density:
        found = found.astype(np.float64)
        total = found.sum()
        for i, along in enumerate(edges):
            found = found / np.diff(along).reshape(
                [-1 if k == i else 1 for k, _ in enumerate(edges)]
            )
        found /= total
    return made(found.astype(points.dtype), False), tuple([made(e, False) for e in edges])


_WHOLE = (int, np.integer)


def _counts(axes: Any, edges: list[Array], evenly: list[bool], weights: Array | None) -> Array:
    """How many points, given axis by axis, fall into each bin, or the sums of their weights."""
    if len(edges) == 1 and len(axes[0]) < _MANY:
        return _in_one_row(axes[0], edges[0], weights)
    number = np.ones(len(axes[0]), np.int64)
    for x, along, even in zip(axes, edges, evenly, strict=True):
        into_bins_(x, along, even, number)
    shape = [len(along) - 1 for along in edges]
    found: Array = np.bincount(number, weights, math.prod(shape) + 1)[1:]
    return found.reshape(shape)


def _in_one_row(x: Array, edges: Array, weights: Array | None) -> Array:
    """``_counts`` of one axis: what lies outside is counted before the first bin, or after all."""
    bins = len(edges) - 1
    place = edges.searchsorted(x, "right")
    place[x == edges[-1]] = bins
    found: Array = np.bincount(place, weights, bins + 2)[1 : bins + 1]
    return found


def into_bins_(x: Array, edges: Array, evenly: bool, number: Array) -> None:
    """Make ``number``, of a bin of the axes before, that of the bin of these and of ``x``.

    They count from 1 on, those of the last axis fastest; 0 is that of what lies outside. ``edges``
    rise (``evenly``: about as much each time); the last one belongs to the last bin.
    """
    twin = faster.twin_of_many("into_bins_", x.size)
    if twin is not None and twin(x, edges, evenly, number):
        return
    bins = len(edges) - 1
    place = edges.searchsorted(x, "right")
    place[x == edges[-1]] = bins
    outside = (place == 0) | (place > bins) | (number == 0)
    number -= 1
    number *= bins
    number += place
    number[outside] = 0


def _range(x: Any, ends: tuple[float, ...] | None) -> tuple[float, float]:
    if ends is None:
        # NaN, which both searches stop at, is no end.
        places = (x.argmin(), x.argmax()) if x.size else ()
        ends = tuple([float(x.item(i)) for i in places]) or (0.0, 1.0)
    first, last = ends
    if not (math.isfinite(first) and math.isfinite(last) and first <= last):
        raise ShapeError(
            f"histogram: the range is finite, its end not before its start; got {ends}"
        )
    return (first - 0.5, last + 0.5) if first == last else (first, last)


# -- values that occur ----------------------------------------------------------------------------


@apart
def unique(
    input: TensorLike,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The elements (or slices along ``dim``) that occur, in order.

    With ``return_inverse`` where each element is among them, with ``return_counts`` how often it
    occurs: a tuple then.
    """
    x = tensor_of(input)
    axis = None if dim is None else one_axis(dim, x.ndim, "unique")
    if axis is None and (counted := _counted(x.array, return_inverse)) is not None:
        return _occurring(*counted, return_inverse, return_counts)
    numpys: Any = np.unique
    found = numpys(
        x.array,
        return_inverse=return_inverse,
        return_counts=return_counts,
        axis=axis,
        equal_nan=False,
    )
    values, *rest = found if isinstance(found, tuple) else (found,)
    shape = x.shape if axis is None else (x.shape[axis],)
    inverse = rest.pop(0).reshape(shape) if return_inverse else None
    counts = rest.pop() if return_counts else None
    return _occurring(values, inverse, counts, return_inverse, return_counts)


def _counted(x: Array, with_inverse: bool) -> tuple[Array, Array | None, Array] | None:
    """The values, places and counts of whole numbers; None unless they lie close together."""
    if x.dtype.kind not in "iu" or x.size < _MANY:
        return None
    low, high = int(x.min()), int(x.max())
    if high - low > x.size or not -_FAR < low <= high < _FAR:
        return None
    offset = x.reshape(-1).astype(np.intp) - low
    counts = np.bincount(offset)
    occurs = np.flatnonzero(counts)
    inverse = None
    if with_inverse:
        number = np.empty(len(counts), np.intp)
        number[occurs] = np.arange(len(occurs))
        inverse = number[offset].reshape(x.shape)
    return (occurs + low).astype(x.dtype), inverse, counts[occurs]


_MANY, _FAR = 2048, 1 << 62


@apart
def unique_consecutive(
    input: TensorLike,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The first of each run of equal elements (or slices along ``dim``); results as unique's."""
    x = tensor_of(input)
    if dim is None:
        row = x.array.reshape(-1)
        new = np.ones(len(row), np.bool_)
        np.not_equal(row[1:], row[:-1], out=new[1:])
        twin = kernels.twin("picked") if row.size >= _MANY else None
        found = None if twin is None else twin(row, new)
        values = row[new] if found is None else found
    else:
        axis = one_axis(dim, x.ndim, "unique_consecutive")
        slices = np.moveaxis(x.array, axis, 0)
        lines = slices.reshape(len(slices), x.size // max(len(slices), 1))
        new = np.ones(len(lines), np.bool_)
        (lines[1:] != lines[:-1]).any(axis=1, out=new[1:])
        values = np.moveaxis(slices[new], 0, axis)
    inverse = counts = None
    if return_inverse:
        inverse = (np.cumsum(new) - 1).reshape(x.shape if dim is None else new.shape)
    if return_counts:
        counts = np.diff(np.flatnonzero(new), append=len(new))
    return _occurring(values, inverse, counts, return_inverse, return_counts)


def _occurring(
    values: Any, inverse: Any, counts: Any, with_inverse: bool, with_counts: bool
) -> Any:
    found = [Tensor(np.asarray(values))]
    if with_inverse:
        found.append(Tensor(np.asarray(inverse)))
    if with_counts:
        found.append(Tensor(np.asarray(counts)))
    return tuple(found) if len(found) > 1 else found[0]
