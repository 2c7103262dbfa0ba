"""Interpolation of (n, c, …) to other sizes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

from distgrad import ops
from distgrad.autograd.apart import fixed
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.nn.functional.wrap import wrap
from distgrad.ops.geometry import Numbers, numbers
from distgrad.ops.interpolate import (
    Taps,
    cubic_taps,
    kept,
    linear_taps,
    nearest_taps,
    part_taps,
    wide_taps,
)

LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}
"""The modes that know of corners, and how many axes each is for."""


def interpolate(
    input: TensorLike,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resize the last axes of (n, c, l), (n, c, h, w) or (n, c, d, h, w), as PyTorch does.

    Give ``size`` or ``scale_factor``, for all axes or one for each. Modes: "nearest",
    "nearest-exact", "linear", "bilinear", "trilinear", "bicubic", "area". A scale factor is used
    as it is, not as the sizes' quotient, unless ``recompute_scale_factor``. ``antialias`` widens
    the filter where images (modes "bilinear", "bicubic") shrink.
    Errors: ShapeError for settings that do not fit.
    """
    result = wrap(input)
    lengths = result.shape[2:]
    _check_mode(result.ndim, mode, align_corners, antialias)
    sizes, factors = _sizes(lengths, size, scale_factor)
    if recompute_scale_factor:
        if factors is None:
            raise ShapeError("interpolate: recompute_scale_factor means nothing for a given size")
        factors = None
    # What shrinks first; of axes that grow the last one: the others copy and add whole lines of it.
    axes = list(zip(range(2, result.ndim), lengths, sizes, strict=True))
    shrinking = [a for a in axes if a[2] < a[1]]
    for axis, length, count in (*shrinking, *[a for a in axes[::-1] if a[2] >= a[1]]):
        factor = None if factors is None else factors[axis - 2]
        index, weight = _taps(mode, length, count, factor, bool(align_corners), antialias)
        result = ops.resample(result, index=fixed(index), weight=fixed(weight), axis=axis)
    return result


def upsample(
    input: TensorLike,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """``interpolate``, by an older name of PyTorch's."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(
    input: TensorLike,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
) -> Tensor:
    """``interpolate`` with mode="nearest", by an older name of PyTorch's."""
    return interpolate(input, size, scale_factor)


def upsample_bilinear(
    input: TensorLike,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
) -> Tensor:
    """``interpolate`` with mode="bilinear" and ``align_corners``, by an older name of PyTorch's."""
    return interpolate(input, size, scale_factor, "bilinear", True)


@functools.lru_cache(maxsize=64)
def _taps(
    mode: str, length: int, size: int, factor: float | None, align: bool, antialias: bool
) -> Taps:
    if mode == "area":
        return part_taps(length, size)
    scale = length / size if factor is None else 1 / factor
    if mode in LINEAR:
        if align:
            scale = (length - 1) / (size - 1) if size > 1 else 0.0
        if antialias:
            return kept(*wide_taps(length, size, scale, mode == "bicubic"))
        table: Callable[..., Taps] = cubic_taps if mode == "bicubic" else linear_taps
        return kept(*table(length, size, scale, align))
    return kept(*nearest_taps(length, size, scale, 0.5 if mode == "nearest-exact" else 0.0))


def _check_mode(axes: int, mode: str, align_corners: bool | None, antialias: bool) -> None:
    if mode not in {"nearest", "nearest-exact", "area", *LINEAR}:
        raise ShapeError(
            f"interpolate: mode is 'nearest', 'nearest-exact', 'area', 'linear', 'bilinear', "
            f"'trilinear' or 'bicubic'; got {mode!r}"
        )
    if not 3 <= axes <= 5 or LINEAR.get(mode, axes - 2) != axes - 2:
        wanted = f"{LINEAR[mode] + 2}" if mode in LINEAR else "3, 4 or 5"
        raise ShapeError(f"interpolate: mode={mode!r} is for inputs of {wanted} axes; got {axes}")
    if align_corners is not None and mode not in LINEAR:
        raise ShapeError(
            f"interpolate: align_corners is for {', '.join(LINEAR)}; leave it out for {mode!r}"
        )
    if antialias and mode not in {"bilinear", "bicubic"}:
        raise ShapeError(
            f"interpolate: antialias=True is for images, mode 'bilinear' or 'bicubic'; got {mode!r}"
        )


def _sizes(
    lengths: Numbers, size: int | Sequence[int] | None, scale_factor: float | Sequence[float] | None
) -> tuple[Numbers, list[float] | None]:
    if (size is None) == (scale_factor is None):
        raise ShapeError("interpolate: give either size or scale_factor")
    if size is not None:
        sizes, factors = numbers(size, len(lengths), "size"), None
    else:
        assert scale_factor is not None
        factors = (
            [float(f) for f in scale_factor]
            if isinstance(scale_factor, Sequence)
            else [float(scale_factor)] * len(lengths)
        )
        if len(factors) != len(lengths):
            raise ShapeError(
                f"interpolate: scale_factor is a number or {len(lengths)} of them; "
                f"got {scale_factor!r}"
            )
        sizes = tuple(math.floor(n * f) for n, f in zip(lengths, factors, strict=True))
    if min(*sizes, *lengths) < 1:
        raise ShapeError(f"interpolate: from {lengths} to {sizes}: no length may be less than 1")
    return sizes, factors
