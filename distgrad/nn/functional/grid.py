"""Images read at the points of a grid: spatial transformers (Jaderberg et al. 2015)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from distgrad import ops
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.autograd.whole import whole
from distgrad.errors import ShapeError
from distgrad.nn.functional.wrap import wrap

MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")


def affine_grid(
    theta: TensorLike, size: Sequence[int], align_corners: bool | None = None
) -> Tensor:
    """The points that matrices ``theta`` (n, 2, 3) map an image's pixels to, for ``grid_sample``.

    ``size`` is (n, c, h, w), the result (n, h, w, 2), in [-1, 1] from edge to edge: those of the
    pixels, or their centres' with ``align_corners``. In three dimensions theta is (n, 3, 4) and
    the result (n, d, h, w, 3). Errors: ShapeError for shapes that do not fit.
    """
    matrix: Any = wrap(theta)
    n, *lengths = (int(size[0]), *(int(s) for s in size[2:]))
    space = len(lengths)
    if space not in {2, 3} or matrix.shape != (n, space, space + 1):
        raise ShapeError(
            f"affine_grid takes theta (n, 2, 3) and size (n, c, h, w), or (n, 3, 4) and (n, c, d, "
            f"h, w); got {matrix.shape} and {tuple(size)}"
        )
    if matrix.dtype.kind != "f":
        raise ShapeError(f"affine_grid: theta is floating point; got {matrix.dtype}")
    if min(lengths) < 1:
        raise ShapeError(f"affine_grid: no length may be less than 1; got size={tuple(size)}")
    steps = [_steps(length, bool(align_corners)) for length in lengths]
    axes = np.meshgrid(*steps, indexing="ij")
    # The last axis is x, the first of a point's coordinates.
    points = np.stack([*axes[::-1], np.ones_like(axes[0])], axis=-1).astype(matrix.dtype)
    flat = points.reshape(1, -1, space + 1)
    return wrap(np.reshape(flat @ np.swapaxes(matrix, 1, 2), (n, *lengths, space)))


@whole
def grid_sample(
    input: TensorLike,
    grid: TensorLike,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Images (n, c, h, w) at the points (n, y, x, 2) of ``grid``: (n, c, y, x).

    A point's first coordinate is that of the last axis; -1 and 1 are the image's edges, or its
    outer pixels' centres with ``align_corners``. What lies outside is zeros, the nearest pixel
    ('border') or mirrored ('reflection'); NaN is -1. Volumes (n, c, d, h, w) are read at (n, z, y,
    x, 3), not 'bicubic'. Errors: ShapeError for shapes and settings that do not fit.
    """
    image, points = wrap(input), wrap(grid)
    space = image.ndim - 2
    _check(image, points, space, mode, padding_mode)
    align = bool(align_corners)
    lengths = image.shape[2:]
    places = [
        _pixel(points[..., space - 1 - axis], length, align) for axis, length in enumerate(lengths)
    ]
    taps = [
        TAPS[mode](place, length, padding_mode, align)
        for place, length in zip(places, lengths, strict=True)
    ]
    table: Any = np.reshape(_last(image), (-1, image.shape[1]))
    first = np.arange(image.shape[0]).reshape(-1, *(1,) * space) * math.prod(lengths)
    total: Any = 0
    for corner in itertools.product(*taps):
        rows: Any = first
        weight: Any = 1
        inside: Any = True
        for tap, length, stride in zip(corner, lengths, _strides(lengths), strict=True):
            rows = rows + np.clip(tap.pixel, 0, length - 1) * stride
            weight = weight * tap.weight
            inside = inside & (tap.pixel >= 0) & (tap.pixel < length)
        weight = np.where(inside, weight, np.asarray(0, image.dtype))
        total = total + ops.embedding(rows, table) * np.expand_dims(weight, -1)
    return wrap(np.moveaxis(total, -1, 1))


class Tap(NamedTuple):
    """Which pixel of one axis is read for each point, and how much of it."""

    pixel: Array
    weight: Any


def _linear_taps(x: Tensor, length: int, padding: str, align: bool) -> list[Tap]:
    x = _moved(x, length, padding, align)
    low = np.floor(x.array)
    index, part = low.astype(np.intp), x - low
    return [Tap(index, 1 - part), Tap(index + 1, part)]


def _nearest_taps(x: Tensor, length: int, padding: str, align: bool) -> list[Tap]:
    near = np.rint(_moved(x, length, padding, align).array)
    return [Tap(near.astype(np.intp), np.ones_like(near))]


def _cubic_taps(x: Tensor, length: int, padding: str, align: bool) -> list[Tap]:
    low = np.floor(x.array)
    t: Any = x - low
    weights = [_outer(t + 1), _inner(t), _inner(1 - t), _outer(2 - t)]
    taps = []
    for i, weight in enumerate(weights):
        # Each pixel that is read is moved inside on its own.
        at = _moved(Tensor(low + (i - 1)), length, padding, align).array
        taps.append(Tap(at.astype(np.intp), weight))
    return taps


TAPS: dict[str, Callable[[Tensor, int, str, bool], list[Tap]]] = {
    "bilinear": _linear_taps,
    "nearest": _nearest_taps,
    "bicubic": _cubic_taps,
}

_A = -0.75  # the slope of Keys' cubic (1981), PyTorch's


def _inner(t: Any) -> Any:
    return ((_A + 2) * t - (_A + 3)) * t * t + 1


def _outer(t: Any) -> Any:
    return ((_A * t - 5 * _A) * t + 8 * _A) * t - 4 * _A


def _pixel(points: Tensor, length: int, align: bool) -> Tensor:
    """From [-1, 1] to pixels."""
    x: Any = np.where(np.isnan(points.array), np.asarray(-1, points.dtype), points)
    return wrap((x + 1) * ((length - 1) / 2) if align else ((x + 1) * length - 1) / 2)


def _last(image: Any) -> Any:
    return np.moveaxis(image, 1, -1)


def _moved(x: Tensor, length: int, padding: str, align: bool) -> Tensor:
    """Points outside moved inside, with the slope of that move: 1, -1 or 0."""
    if padding == "zeros":
        return x
    at = x.array
    slope = np.ones_like(at)
    if padding == "reflection":
        low, span = (0.0, length - 1.0) if align else (-0.5, float(length))
        if span == 0:
            at, slope = np.zeros_like(at), np.zeros_like(at)
        else:
            away = np.abs(at - low)
            rest, turns = np.fmod(away, span), np.floor(away / span)
            odd = turns % 2 == 1
            slope = np.where(at < low, -1, 1) * np.where(odd, -1, 1)
            at = np.where(odd, span - rest, rest) + low
    slope = np.where((at <= 0) | (at >= length - 1), 0, slope)
    at = np.clip(at, 0, length - 1).astype(x.dtype)
    moved: Tensor = at + (x - x.array) * slope.astype(x.dtype)
    return moved


def _steps(length: int, align: bool) -> Array:
    if length == 1:
        return np.zeros(1)
    edge = 1.0 if align else (length - 1) / length
    return np.linspace(-edge, edge, length)


def _strides(lengths: Sequence[int]) -> list[int]:
    return [math.prod(lengths[i + 1 :]) for i in range(len(lengths))]


def _check(image: Tensor, points: Tensor, space: int, mode: str, padding: str) -> None:
    if mode not in MODES or (mode == "bicubic" and space == 3):
        raise ShapeError(
            f"grid_sample: mode is 'bilinear', 'nearest' or, for images, 'bicubic'; got {mode!r}"
        )
    if padding not in PADDINGS:
        raise ShapeError(
            f"grid_sample: padding_mode is {', '.join(map(repr, PADDINGS))}; got {padding!r}"
        )
    fits = space in {2, 3} and points.ndim == space + 2 and points.shape[-1] == space
    if not fits or points.shape[0] != image.shape[0]:
        raise ShapeError(
            f"grid_sample takes (n, c, h, w) and a grid (n, y, x, 2), or (n, c, d, h, w) and (n, "
            f"z, y, x, 3); got {image.shape} and {points.shape}"
        )
    if min(image.shape[1:]) < 1:
        raise ShapeError(f"grid_sample: nothing to read in an image of shape {image.shape}")
    if image.dtype != points.dtype or image.dtype.kind != "f":
        raise ShapeError(
            f"grid_sample takes image and grid of one floating-point dtype; got {image.dtype} and "
            f"{points.dtype}"
        )
