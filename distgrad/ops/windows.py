"""Windows as columns and back: im2col and col2im over any number of axes, mutually adjoint."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.types import Array, Ints, Shape
from distgrad.errors import ShapeError
from distgrad.ops.geometry import Numbers, Windows, windows_of
from distgrad.ops.helpers import aside, either


def _cases(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(2, 2, 4, 5))
    return [
        ((x,), {"kernel": (2, 3), "stride": 1, "padding": (0, 1), "dilation": 1}),
        ((x,), {"kernel": (2, 2), "stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}),
        ((x[0],), {"kernel": (3,), "stride": 2, "padding": 1, "dilation": 1}),
        ((x[:, None],), {"kernel": (2, 3, 1), "stride": 1, "padding": 0, "dilation": 1}),
    ]


@op("n c l -> n ck w", "n c h w -> n ck l", "n c d h w -> n ck l", samples=_cases)
def unfold(x: Array, *, kernel: Numbers, stride: Ints, padding: Ints, dilation: Ints) -> OpResult:
    """The windows of (n, c, …) as columns: (n, c x kernel, windows), as torch's F.unfold."""
    windows = windows_of(kernel, stride, padding, dilation)
    size = x.shape[2:]
    return aside(columns, x, windows), lambda g: either(fold, g, size=size, **windows._asdict())


def _columns(rng: np.random.Generator) -> list[Sample]:
    settings: Any = {"kernel": (2, 2), "stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}
    line: Any = {"kernel": (3,), "stride": 1, "padding": 1, "dilation": 1}
    return [
        ((rng.normal(size=(2, 8, 9)),), {"size": (4, 5), **settings}),
        ((rng.normal(size=(1, 6, 4)),), {"size": (4,), **line}),
    ]


@op("n ck l -> n c ...", samples=_columns)
def fold(
    y: Array, *, size: Numbers, kernel: Numbers, stride: Ints, padding: Ints, dilation: Ints
) -> OpResult:
    """Add the columns of ``unfold`` back to (n, c, *size), as torch's F.fold."""
    windows = windows_of(kernel, stride, padding, dilation)
    return aside(add_columns, y, size, windows), lambda g: either(unfold, g, **windows._asdict())


def columns(x: Array, windows: Windows) -> Array:
    """``unfold`` of an array. Errors: ShapeError for windows that do not fit."""
    kernel, stride, padding, dilation = windows
    n, c, *size = x.shape
    counts = windows.counts(tuple(size))
    if any(padding):
        x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)])
    axes = len(kernel)
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    over: Shape = tuple(range(2, 2 + axes))
    spread = np.lib.stride_tricks.sliding_window_view(x, reach, axis=over)
    steps: Any = (..., *(slice(None, None, s) for s in (*stride, *dilation)))
    order = (0, 1, *range(2 + axes, 2 + 2 * axes), *range(2, 2 + axes))  # n c kernel windows
    shape = (n, c * math.prod(kernel), math.prod(counts))
    return np.reshape(np.transpose(spread[steps], order), shape)


def add_columns(y: Array, size: Numbers, windows: Windows) -> Array:
    """``fold`` of an array. Errors: ShapeError for columns that are not those of ``size``."""
    kernel, stride, padding, dilation = windows
    counts = windows.counts(size)
    n, rows, found = y.shape
    if rows % math.prod(kernel) or found != math.prod(counts):
        raise ShapeError(
            f"fold to {tuple(size)} with windows of {kernel} needs (n, c x {math.prod(kernel)}, "
            f"{math.prod(counts)}): {counts} windows; got {y.shape}"
        )
    channels = rows // math.prod(kernel)
    parts = np.reshape(y, (n, channels, *kernel, *counts))
    whole = [length + 2 * p for length, p in zip(size, padding, strict=True)]
    padded = np.zeros((n, channels, *whole), y.dtype)
    for place in np.ndindex(*kernel):
        at = zip(place, dilation, stride, counts, strict=True)
        target: Any = (..., *(slice(i * d, i * d + s * (m - 1) + 1, s) for i, d, s, m in at))
        kept: Any = (slice(None), slice(None), *place)
        padded[target] += parts[kept]
    inside: Any = (..., *(slice(p, p + m) for p, m in zip(padding, size, strict=True)))
    return np.asarray(padded[inside])
