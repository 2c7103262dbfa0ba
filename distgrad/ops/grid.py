"""Images read at the points of a grid: spatial transformers (Jaderberg et al. 2015)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from distgrad.autograd.engine import grad
from distgrad.autograd.mode import grad_enabled, switched
from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.ops.helpers import in_float32
from distgrad.ops.indexing import as_tensor, embedding

PADDINGS = ("zeros", "border", "reflection")


def _cases(rng: np.random.Generator) -> list[Sample]:
    image, volume = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(1, 2, 3, 4, 2))
    # Between pixels, of which none lies at a multiple of 0.4 or 0.5 from the edge.
    points = rng.permutation(np.arange(24)).reshape(2, 3, 2, 2) / 10 - 1.183
    deep = rng.permutation(np.arange(24)).reshape(1, 2, 2, 2, 3) / 10 - 1.183
    settings: list[dict[str, Any]] = [
        {"mode": mode, "padding_mode": padding, "align_corners": align}
        for mode, padding, align in (
            ("bilinear", "zeros", False),
            ("bilinear", "border", True),
            ("bilinear", "reflection", False),
            ("nearest", "reflection", True),
            ("bicubic", "border", False),
        )
    ]
    return [*(((image, points), s) for s in settings), ((volume, deep), settings[0])]


@op("n c h w, n y x k -> n c y x", "n c d h w, n z y x k -> n c z y x", samples=_cases, real=True)
@in_float32
def grid_sample(
    image: Array, grid: Array, *, mode: str, padding_mode: str, align_corners: bool
) -> OpResult:
    """Images (n, c, h, w) at the points (n, y, x, 2) of ``grid``, in [-1, 1], the last axis first.

    Volumes alike. What lies outside is zeros, the nearest pixel or mirrored; NaN is -1.
    """
    given: list[Any] = [image, grid]
    again = any(isinstance(x, Tensor) for x in given)

    def read(image: Any, grid: Any) -> Tensor:
        return _read(as_tensor(image), as_tensor(grid), mode, padding_mode, align_corners)

    def vjp(wanted: Sequence[bool], g: Array) -> list[Any]:
        on_tape = again or isinstance(g, Tensor)
        with switched(grad_enabled, True):
            inputs = [as_tensor(x) if on_tape else Tensor(x, requires_grad=True) for x in given]
            y = read(*inputs)
            # The nearest pixel is one and the same for points around: they have no gradient.
            found = grad(
                [y], inputs, gradient=[as_tensor(g)], create_graph=on_tape, allow_unused=True
            )
        all_of_them = [
            Tensor(np.zeros(x.shape, x.dtype)) if d is None else d
            for d, x in zip(found, inputs, strict=True)
        ]
        return all_of_them if on_tape else [d.array for d in all_of_them]

    y: Any = read(*given)
    return (y if again else y.array), Joint(vjp)


def _read(image: Any, points: Any, mode: str, padding: str, align: bool) -> Tensor:
    space, lengths = image.ndim - 2, image.shape[2:]
    places = [
        _pixel(points[..., space - 1 - axis], length, align) for axis, length in enumerate(lengths)
    ]
    taps = [
        TAPS[mode](place, length, padding, align)
        for place, length in zip(places, lengths, strict=True)
    ]
    table: Any = np.reshape(np.moveaxis(image, 1, -1), (-1, image.shape[1]))
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
        inside = np.expand_dims(inside, -1)  # outside nothing is read, not even a NaN
        total = total + np.where(inside, embedding(rows, table) * np.expand_dims(weight, -1), 0)
    return as_tensor(np.moveaxis(total, -1, 1))


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
    return as_tensor((x + 1) * ((length - 1) / 2) if align else ((x + 1) * length - 1) / 2)


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
    # What does not move with x may be at infinity, where x - x would be NaN.
    x = as_tensor(np.where(slope == 0, np.asarray(0, x.dtype), x))
    return as_tensor(at + (x - x.array) * slope.astype(x.dtype))


def _strides(lengths: Sequence[int]) -> list[int]:
    return [math.prod(lengths[i + 1 :]) for i in range(len(lengths))]
