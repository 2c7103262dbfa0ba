"""Convolution over any number of axes: three ops, each the gradient of the other two.

The convolution is linear in the input and in the weight, so ⟨g, conv(x, w)⟩ = ⟨transpose(g, w), x⟩
= ⟨weight(x, g), w⟩ says all: gradients of every order are these three again.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.types import Array, Ints
from distgrad.errors import ShapeError
from distgrad.ops.geometry import Numbers, Windows, windows_of
from distgrad.ops.helpers import aside, either
from distgrad.ops.linalg import T
from distgrad.ops.windows import add_columns, columns


def _cases(rng: np.random.Generator) -> list[Sample]:
    def case(i: int, o: int, kernel: tuple[int, ...], **settings: Any) -> Sample:
        per_group = i // settings.get("groups", 1)
        x = rng.normal(size=(2, i, *(4, 5, 3)[: len(kernel)]))
        return (x, rng.normal(size=(o, per_group, *kernel)), rng.normal(size=o)), settings

    x, w, _ = case(2, 3, (2, 2))[0]
    return [
        case(2, 3, (3, 2)),
        case(1, 2, (3, 3), padding=1),
        case(2, 1, (2, 2), stride=(2, 1), padding=(0, 1), dilation=(1, 2)),
        case(4, 6, (1, 2), groups=2),
        case(3, 3, (3, 3), stride=2, padding=1, groups=3),
        ((x, w, None), {"stride": 2}),
        case(2, 3, (3,), stride=2, padding=1),
        case(2, 2, (2, 3, 1), dilation=(2, 1, 1), groups=2),
    ]


@op(
    "n c l, o i x, o -> n o l",
    "n c h w, o i y x, o -> n o h w",
    "n c d h w, o i z y x, o -> n o d h w",
    samples=_cases,
    real=True,
)
def convolution(
    images: Array,
    weight: Array,
    bias: Array | None,
    *,
    stride: Ints = 1,
    padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> OpResult:
    """Cross-correlation over one to three axes, as PyTorch's conv1d, conv2d and conv3d.

    (n, c, …) with weight (o, c / groups, *kernel): each group of channels has its own filters.
    ``bias`` (o) may be None. Settings are numbers, or one for each axis.
    """
    windows = _windows(images, weight, stride, padding, dilation)
    o, i = weight.shape[:2]
    check_channels(images.shape[1], o, i, groups)
    settings = _settings(windows, groups)
    size, kernel = images.shape[2:], windows.kernel
    y = aside(_filtered, images, weight, bias, windows, groups)
    return y, (
        lambda g: either(convolution_transpose, g, weight, None, size=size, **settings),
        lambda g: either(convolution_weight, images, g, kernel=kernel, **settings),
        _to_bias,
    )


def _transposed_cases(rng: np.random.Generator) -> list[Sample]:
    def case(
        o: int, i: int, counts: Numbers, kernel: Numbers, size: Numbers, **settings: Any
    ) -> Sample:
        x, w = rng.normal(size=(2, o, *counts)), rng.normal(size=(o, i, *kernel))
        bias = rng.normal(size=i * settings.get("groups", 1))
        return (x, w, bias), {"size": size, **settings}

    x, w, _ = case(2, 1, (3,), (2,), (4,))[0]
    return [
        case(3, 2, (2, 4), (3, 2), (4, 5)),
        case(2, 1, (2, 3), (2, 2), (5, 4), stride=2, padding=(0, 1), groups=2),
        case(2, 2, (2, 1, 2), (1, 2, 2), (3, 3, 4), stride=(2, 1, 2), dilation=(1, 2, 1)),
        ((x, w, None), {"size": (4,)}),
    ]


@op(
    "n o l, o i x, c -> n c l",
    "n o h w, o i y x, c -> n c h w",
    "n o d h w, o i z y x, c -> n c d h w",
    samples=_transposed_cases,
    real=True,
)
def convolution_transpose(
    images: Array,
    weight: Array,
    bias: Array | None,
    *,
    size: Numbers,
    stride: Ints = 1,
    padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> OpResult:
    """The adjoint of convolution: every element adds its filter to (n, i x groups, *size).

    ``weight`` is (o, i, *kernel), as for the convolution that takes ``size`` to these images.
    """
    windows = _windows(images, weight, stride, padding, dilation)
    o = weight.shape[0]
    if windows.counts(size) != images.shape[2:]:
        raise ShapeError(
            f"convolution_transpose: {tuple(size)} has {windows.counts(size)} windows of "
            f"{windows.kernel}; the images have shape {images.shape}"
        )
    if groups < 1 or o % groups or images.shape[1] != o:
        raise ShapeError(
            f"convolution_transpose: images have {images.shape[1]} channels; a weight of shape "
            f"{weight.shape} needs {o} (and groups={groups} must divide it)"
        )
    settings = _settings(windows, groups)
    kernel = windows.kernel
    y = aside(_spread, images, weight, bias, size, windows, groups)
    return y, (
        lambda g: either(convolution, g, weight, None, **settings),
        lambda g: either(convolution_weight, g, images, kernel=kernel, **settings),
        _to_bias,
    )


def _weight_cases(rng: np.random.Generator) -> list[Sample]:
    def case(
        i: int, o: int, size: Numbers, counts: Numbers, kernel: Numbers, **settings: Any
    ) -> Sample:
        x, g = rng.normal(size=(2, i, *size)), rng.normal(size=(2, o, *counts))
        return (x, g), {"kernel": kernel, **settings}

    return [
        case(2, 3, (3, 4), (2, 3), (2, 2)),
        case(2, 4, (4, 3), (2, 3), (3, 1), stride=2, padding=1, groups=2),
        case(1, 2, (5,), (3,), (2,), dilation=2),
    ]


@op(
    "n c l, n o m -> o i x",
    "n c h w, n o p q -> o i y x",
    "n c d h w, n o s p q -> o i z y x",
    samples=_weight_cases,
    real=True,
)
def convolution_weight(
    images: Array,
    g: Array,
    *,
    kernel: Numbers,
    stride: Ints = 1,
    padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> OpResult:
    """The gradient of a convolution to its weight (o, c / groups, *kernel): images times windows.

    ``g`` (n, o, …) is the gradient to the convolution of ``images`` (n, c, …).
    """
    windows = windows_of(kernel, stride, padding, dilation)
    size, counts = images.shape[2:], windows.counts(images.shape[2:])
    channels, o = images.shape[1], g.shape[1]
    if g.shape[2:] != counts or groups < 1 or o % groups or channels % groups:
        raise ShapeError(
            f"convolution_weight: images of shape {images.shape} in {groups} groups have {counts} "
            f"windows of {windows.kernel}; g has shape {g.shape}"
        )
    settings = _settings(windows, groups)
    value = aside(_weight, images, g, windows, groups)
    return value, (
        lambda gg: either(convolution_transpose, g, gg, None, size=size, **settings),
        lambda gg: either(convolution, images, gg, None, **settings),
    )


def check_channels(c: int, o: int, i: int, groups: int) -> None:
    """Refuse groups that do not fit. Errors: ShapeError."""
    if groups < 1 or o % groups or c != i * groups:
        raise ShapeError(
            f"convolution: images have {c} channels; a weight of {o} filters over {i} channels in "
            f"{groups} groups needs {i * groups} (and groups must divide {o})"
        )


def _windows(images: Array, weight: Array, stride: Ints, padding: Ints, dilation: Ints) -> Windows:
    if images.ndim != weight.ndim or images.ndim < 3:
        raise ShapeError(
            f"a convolution takes images (n, c, …) and a weight (out, in, …) of as many axes, "
            f"3 to 5; got {images.shape} and {weight.shape}"
        )
    return windows_of(weight.shape[2:], stride, padding, dilation)


def _settings(windows: Windows, groups: int) -> dict[str, Any]:
    settings = windows._asdict()
    del settings["kernel"]  # it is the weight's shape
    return {**settings, "groups": groups}


def _with_bias(y: Array, bias: Array | None) -> Array:
    if bias is None:
        return y
    return np.asarray(y + np.reshape(bias, (y.shape[1],) + (1,) * (y.ndim - 2)))


def _to_bias(g: Array) -> Any:
    return np.add.reduce(g, axis=(0, *range(2, g.ndim)))


def _filtered(x: Array, weight: Array, bias: Array | None, windows: Windows, groups: int) -> Array:
    n, o, counts = len(x), len(weight), windows.counts(x.shape[2:])
    filters = np.reshape(weight, (groups, o // groups, -1))
    cut = np.reshape(columns(x, windows), (n, groups, filters.shape[2], math.prod(counts)))
    return _with_bias(np.reshape(np.matmul(filters, cut), (n, o, *counts)), bias)


def _spread(
    x: Array,
    weight: Array,
    bias: Array | None,
    size: Numbers,
    windows: Windows,
    groups: int,
) -> Array:
    n, o, *counts = x.shape
    filters = np.reshape(weight, (groups, o // groups, -1))
    planes = np.reshape(x, (n, groups, o // groups, math.prod(counts)))
    cut = np.matmul(T(filters), planes)  # n groups i*kernel l
    planes = np.reshape(cut, (n, groups * cut.shape[2], cut.shape[3]))
    return _with_bias(add_columns(planes, size, windows), bias)


def _weight(x: Array, g: Array, windows: Windows, groups: int) -> Array:
    n, c, *_ = x.shape
    o, counts = g.shape[1], math.prod(g.shape[2:])
    taps = c // groups * math.prod(windows.kernel)
    cut = np.reshape(columns(x, windows), (n, groups, taps, counts))
    planes = np.reshape(g, (n, groups, o // groups, counts))
    total = np.add.reduce(np.matmul(planes, T(cut)), axis=0)
    return np.reshape(total, (o, c // groups, *windows.kernel))
