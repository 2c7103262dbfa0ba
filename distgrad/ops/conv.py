"""Convolution of images, as matrix products over their windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.op import Sample, op
from distgrad.errors import ShapeError
from distgrad.ops.helpers import Pair, output_length, pair
from distgrad.ops.linalg import T
from distgrad.ops.windows import fold_back, unfold_


def _cases(rng: np.random.Generator) -> list[Sample]:
    def case(i: int, o: int, kernel: tuple[int, int], **settings: Any) -> Sample:
        per_group = i // settings.get("groups", 1)
        x, w = rng.normal(size=(2, i, 4, 5)), rng.normal(size=(o, per_group, *kernel))
        return (x, w, rng.normal(size=o)), settings

    x, w, _ = case(2, 3, (2, 2))[0]
    return [
        case(2, 3, (3, 2)),
        case(1, 2, (3, 3), padding=1),
        case(2, 1, (2, 2), stride=(2, 1), padding=(0, 1), dilation=(1, 2)),
        case(4, 6, (1, 2), groups=2),
        case(3, 3, (3, 3), stride=2, padding=1, groups=3),
        ((x, w, None), {"stride": 2}),
    ]


@op("n c h w, o i y x, o -> n o h w", samples=_cases)
def conv2d(
    images: Any,
    weight: Any,
    bias: Any,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """2-D cross-correlation as PyTorch's: (n, c, h, w) with weight (o, c / groups, y, x).

    Each group of channels has its own filters. ``bias`` (o) may be None. Settings are numbers or
    (vertical, horizontal).
    """
    n, c, h, w = images.shape
    o, i, *window = weight.shape
    check_channels(c, o, i, groups)
    geometry = conv_geometry(window, stride, padding, dilation)
    columns = unfold_(images, *geometry)
    columns = np.reshape(columns, (n, groups, -1, columns.shape[-1]))  # n groups i*y*x l
    filters = np.reshape(weight, (groups, o // groups, -1))
    y = np.reshape(np.matmul(filters, columns), (n, o, *conv_size(h, w, geometry)))
    shape = weight.shape

    def grouped(g: Any) -> Any:
        return np.reshape(g, (n, groups, o // groups, -1))

    def to_images(g: Any) -> Any:
        d = np.matmul(T(filters), grouped(g))
        return fold_back(np.reshape(d, (n, -1, d.shape[-1])), (h, w), *geometry)

    def to_weight(g: Any) -> Any:
        return np.reshape(np.add.reduce(np.matmul(grouped(g), T(columns)), axis=0), shape)

    def to_bias(g: Any) -> Any:
        return np.add.reduce(g, axis=(0, 2, 3))

    if bias is None:
        return y, (to_images, to_weight, None)
    return y + np.reshape(bias, (o, 1, 1)), (to_images, to_weight, to_bias)


def check_channels(c: int, o: int, i: int, groups: int) -> None:
    """Refuse groups that do not fit. Errors: ShapeError."""
    if groups < 1 or o % groups or c != i * groups:
        raise ShapeError(
            f"conv2d: images have {c} channels; a weight of {o} filters over {i} channels in "
            f"{groups} groups needs {i * groups} (and groups must divide {o})"
        )


def conv_geometry(
    kernel: Any, stride: Any, padding: Any, dilation: Any
) -> tuple[Pair, Pair, Pair, Pair]:
    """Return all settings of a window as pairs. Errors: ShapeError."""
    return (
        pair(kernel, "kernel"),
        pair(stride, "stride"),
        pair(padding, "padding"),
        pair(dilation, "dilation"),
    )


def conv_size(h: int, w: int, geometry: tuple[Pair, Pair, Pair, Pair]) -> Pair:
    """Return how many windows there are vertically and horizontally. Errors: ShapeError if none."""
    kernel, stride, padding, dilation = geometry
    return (
        output_length(h, kernel[0], stride[0], padding[0], dilation[0]),
        output_length(w, kernel[1], stride[1], padding[1], dilation[1]),
    )
