"""Images read at the points of a grid: spatial transformers (Jaderberg et al. 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import fixed
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.nn.functional.wrap import wrap
from distgrad.ops.grid import PADDINGS

MODES = ("bilinear", "nearest", "bicubic")


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
    points = np.empty((*lengths, space + 1), matrix.dtype)
    points[..., space] = 1
    for axis, length in enumerate(lengths):  # the last is x, the first of a point's coordinates
        after = space - 1 - axis
        points[..., after] = _steps(length, bool(align_corners)).reshape(-1, *(1,) * after)
    flat = fixed(points.reshape(1, -1, space + 1))
    return wrap(np.reshape(flat @ np.swapaxes(matrix, 1, 2), (n, *lengths, space)))


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
    _check(image, points, image.ndim - 2, mode, padding_mode)
    result: Tensor = ops.grid_sample(
        image, points, mode=mode, padding_mode=padding_mode, align_corners=bool(align_corners)
    )
    return result


def _steps(length: int, align: bool) -> Array:
    if length == 1:
        return np.zeros(1)
    edge = 1.0 if align else (length - 1) / length
    return np.linspace(-edge, edge, length)


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
