"""Transforms of the values of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad.autograd.stream import generator
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.data.transforms.base import Transform, interval, probability, random_boxes
from distgrad.errors import DataError


class ToTensor:
    """Images (h, w), (h, w, c) or (n, h, w, c) with channels first, bytes as float32 in [0, 1].

    Arrays, not Tensors, for a loop to use as it does others. Errors: DataError for other axes.
    """

    def __call__(self, images: Any) -> Array:
        """Return the images as (c, h, w) or (n, c, h, w)."""
        x = images.array if isinstance(images, Tensor) else np.asarray(images)
        if x.ndim not in {2, 3, 4}:
            raise DataError(f"ToTensor takes (h, w), (h, w, c) or (n, h, w, c); got {x.shape}")
        x = x[..., None] if x.ndim == 2 else x
        x = np.ascontiguousarray(np.moveaxis(x, -1, -3))
        return x.astype(np.float32) / np.float32(255) if x.dtype == np.uint8 else x


class Normalize(Transform):
    """(x - mean) / std, one of each for a channel."""

    def __init__(self, mean: Any, std: Any, inplace: bool = False) -> None:
        self.mean, self.std = np.asarray(mean), np.asarray(std)
        if np.any(self.std == 0):
            raise DataError(f"Normalize: std={std} has a zero, by which nothing can be divided")

    def _batch(self, x: Array) -> Array:
        if x.dtype.kind != "f":
            raise DataError(f"Normalize takes real numbers; got {x.dtype}: ToTensor() first")
        for name, v in (("mean", self.mean), ("std", self.std)):
            if v.size not in {1, x.shape[1]}:
                raise DataError(f"Normalize: {v.size} numbers of {name} for {x.shape[1]} channels")
        mean, std = (np.reshape(v, (-1, 1, 1)).astype(x.dtype) for v in (self.mean, self.std))
        found: Array = (x - mean) / std
        return found


class RandomErasing(Transform):
    """With probability ``p`` fill a rectangle of each image with ``value`` (Zhong et al. 2020).

    ``value`` is a number, one for each channel, or "random" for normal numbers.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: float | Sequence[float] | str = 0,
        inplace: bool = False,
    ) -> None:
        self.p, self.value = probability("RandomErasing", p), value
        self.scale, self.ratio = interval(scale), interval(ratio)
        if isinstance(value, str) and value != "random":
            raise DataError(f"RandomErasing: value={value!r} must be numbers or 'random'")

    def _batch(self, x: Array) -> Array:
        n, c, h, w = x.shape
        random = generator()
        chosen = random.random(n) < self.p
        boxes = random_boxes(random, n, h, w, self.scale, self.ratio, whole=False)
        found = np.array(x)
        for i, box in enumerate(boxes):
            if not chosen[i] or box is None:
                continue
            top, left, height, width = box
            if self.value == "random":
                fill: Any = random.standard_normal((c, height, width))
            else:
                fill = np.reshape(np.asarray(self.value), (-1, 1, 1))
            found[i, :, top : top + height, left : left + width] = fill
        return found


class ColorJitter(Transform):
    """Change brightness, contrast and saturation of each image by random factors, in that order.

    A number b stands for factors from max(0, 1 - b) to 1 + b, a pair for (low, high). Numbers
    are kept in [0, 1], bytes in 0 … 255. Errors: DataError for ``hue``, which is not supported.
    """

    def __init__(
        self, brightness: Any = 0, contrast: Any = 0, saturation: Any = 0, hue: Any = 0
    ) -> None:
        if hue != 0:
            raise DataError("ColorJitter: hue is not supported; leave it at 0")
        self.ranges = [_factors(v) for v in (brightness, contrast, saturation)]

    def _batch(self, x: Array) -> Array:
        top = 255.0 if x.dtype == np.uint8 else 1.0
        random = generator()
        y = x.astype(np.float32) if x.dtype.kind != "f" else x
        for kind, (low, high) in enumerate(self.ranges):
            factor = random.uniform(low, high, len(x)).astype(y.dtype)[:, None, None, None]
            if (low, high) == (1.0, 1.0):
                continue
            if kind == 0:
                base: Any = np.zeros((), y.dtype)
            else:
                base = _grey(y)
                if kind == 1:
                    base = np.mean(base, axis=(-2, -1), keepdims=True, dtype=y.dtype)
            y = np.clip(factor * y + (1 - factor) * base, 0, np.asarray(top, y.dtype))
        return y.astype(x.dtype)


def _grey(x: Array) -> Array:
    if x.shape[1] != 3:
        return x
    weights = np.array([0.2989, 0.587, 0.114], x.dtype)[:, None, None]  # ITU-R 601-2
    found: Array = np.sum(x * weights, axis=1, keepdims=True, dtype=x.dtype)
    return found


def _factors(given: Any) -> tuple[float, float]:
    if isinstance(given, int | float):
        if given < 0:
            raise DataError(f"ColorJitter: {given} must not be negative")
        return max(0.0, 1.0 - given), 1.0 + given
    low, high = given
    if not 0 <= low <= high:
        raise DataError(f"ColorJitter: {given} must be (low, high) with 0 <= low <= high")
    return float(low), float(high)
