"""Transforms that move pixels: flips, borders, crops, other sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distgrad.autograd.stream import generator, lent_generator
from distgrad.autograd.types import Array
from distgrad.data.transforms.base import Transform, interval, probability, random_boxes, two
from distgrad.errors import DataError

_PAD_MODES = ("constant", "edge", "reflect", "symmetric")


class _Flip(Transform):
    """Mirror each image with probability ``p``."""

    axis = -1

    def __init__(self, p: float = 0.5) -> None:
        self.p = probability(type(self).__name__, p)

    def _batch(self, x: Array) -> Array:
        flipped = lent_generator().random(len(x)) < self.p
        return np.where(flipped[:, None, None, None], np.flip(x, self.axis), x)


class RandomHorizontalFlip(_Flip):
    """Mirror each image left to right with probability ``p``."""


class RandomVerticalFlip(_Flip):
    """Turn each image upside down with probability ``p``."""

    axis = -2


class Pad(Transform):
    """Add a border: ``padding`` all round, (left/right, top/bottom), or four: l, t, r, b."""

    def __init__(
        self, padding: int | Sequence[int], fill: float = 0, padding_mode: str = "constant"
    ) -> None:
        self.left, self.top, self.right, self.bottom = _four(padding)
        if padding_mode not in _PAD_MODES:
            raise DataError(f"padding_mode {padding_mode!r} is none of {', '.join(_PAD_MODES)}")
        self.fill, self.mode = fill, padding_mode

    def _batch(self, x: Array) -> Array:
        widths = ((0, 0), (0, 0), (self.top, self.bottom), (self.left, self.right))
        if self.mode == "constant":
            return np.pad(x, widths, constant_values=self.fill)
        return np.pad(x, widths, mode=self.mode)  # type: ignore[call-overload, no-any-return]


class CenterCrop(Transform):
    """The middle (h, w) of each image; smaller ones get a border of zeros."""

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = two(size)

    def _batch(self, x: Array) -> Array:
        h, w = self.size
        x = _at_least(x, h, w, 0, "constant", centred=True)
        top, left = round((x.shape[2] - h) / 2), round((x.shape[3] - w) / 2)
        return x[:, :, top : top + h, left : left + w]


class RandomCrop(Transform):
    """An (h, w) from anywhere in each image, after a border of ``padding``.

    Errors: DataError for images that are smaller, unless ``pad_if_needed``.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] | None = None,
        pad_if_needed: bool = False,
        fill: float = 0,
        padding_mode: str = "constant",
    ) -> None:
        self.size, self.needed = two(size), pad_if_needed
        self.pad = Pad(0 if padding is None else padding, fill, padding_mode)

    def _batch(self, x: Array) -> Array:
        h, w = self.size
        x = self.pad._batch(x)
        if self.needed:
            x = _at_least(x, h, w, self.pad.fill, self.pad.mode, centred=False)
        if x.shape[2] < h or x.shape[3] < w:
            raise DataError(
                f"RandomCrop: size {self.size} is larger than the images {x.shape[2:]}; make it "
                f"smaller, or pad_if_needed=True"
            )
        random, n = generator(), len(x)
        top = random.integers(0, x.shape[2] - h + 1, n)
        left = random.integers(0, x.shape[3] - w + 1, n)
        windows = np.lib.stride_tricks.sliding_window_view(x, (h, w), axis=(2, 3))
        found: Array = np.ascontiguousarray(windows[np.arange(n), :, top, left])
        return found


class Resize(Transform):
    """Each image in another size, bilinear: (h, w), or a number for the shorter side.

    ``antialias`` widens the filter where images shrink. Errors: DataError for another
    ``interpolation`` than "bilinear" or "nearest".
    """

    def __init__(
        self, size: int | Sequence[int], interpolation: str = "bilinear", antialias: bool = True
    ) -> None:
        self.size, self.mode = size, _interpolation(interpolation)
        self.antialias = antialias

    def _batch(self, x: Array) -> Array:
        h, w = x.shape[2:]
        if isinstance(self.size, int):
            short = min(h, w)
            height, width = self.size * h // short, self.size * w // short
        else:
            height, width = two(self.size)
        return _resized(x, height, width, self.mode, self.antialias)


class RandomResizedCrop(Transform):
    """A part of each image, of a share ``scale`` of its area and of proportions ``ratio``, resized.

    Szegedy et al. 2015.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = "bilinear",
        antialias: bool = True,
    ) -> None:
        self.size, self.scale, self.ratio = two(size), interval(scale), interval(ratio)
        self.mode, self.antialias = _interpolation(interpolation), antialias

    def _batch(self, x: Array) -> Array:
        n, c, h, w = x.shape
        boxes = random_boxes(generator(), n, h, w, self.scale, self.ratio)
        found = np.empty((n, c, *self.size), x.dtype)
        for i, box in enumerate(boxes):
            top, left, height, width = box if box is not None else self._middle(h, w)
            part = x[i : i + 1, :, top : top + height, left : left + width]
            found[i] = _resized(part, *self.size, self.mode, self.antialias)[0]
        return found

    def _middle(self, h: int, w: int) -> tuple[int, int, int, int]:
        low, high = self.ratio
        height, width = h, w
        if w / h < low:
            height = round(w / low)
        elif w / h > high:
            width = round(h * high)
        return (h - height) // 2, (w - width) // 2, height, width


def _resized(x: Array, height: int, width: int, mode: str, antialias: bool) -> Array:
    if mode == "nearest":
        rows = (np.arange(height) * (x.shape[2] / height)).astype(int)
        columns = (np.arange(width) * (x.shape[3] / width)).astype(int)
        return x[:, :, rows[:, None], columns]
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
    down = _weights(x.shape[2], height, antialias).astype(dtype)
    across = _weights(x.shape[3], width, antialias).astype(dtype)
    y = np.matmul(np.matmul(down, x.astype(dtype)), across.T)
    if x.dtype.kind != "f":
        y = np.clip(np.rint(y), np.iinfo(x.dtype).min, np.iinfo(x.dtype).max)
    found: Array = y.astype(x.dtype)
    return found


def _weights(size: int, out: int, antialias: bool) -> Array:
    """The (out, size) matrix of bilinear interpolation between the centres of pixels."""
    scale = size / out
    support = max(scale, 1.0) if antialias else 1.0
    centre = (np.arange(out) + 0.5) * scale - 0.5
    if not antialias:
        centre = np.clip(centre, 0, size - 1)
    distance = np.abs(np.arange(size) - centre[:, None]) / support
    weights = np.maximum(1 - distance, 0)
    found: Array = weights / weights.sum(1, keepdims=True)
    return found


def _at_least(x: Array, h: int, w: int, fill: float, mode: str, centred: bool) -> Array:
    down, across = max(h - x.shape[2], 0), max(w - x.shape[3], 0)
    if not down and not across:
        return x
    if centred:
        sides = (across // 2, down // 2, (across + 1) // 2, (down + 1) // 2)
    else:
        sides = (across, down, across, down)
    return Pad(sides, fill, mode)._batch(x)


def _four(padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    sides = (padding,) if isinstance(padding, int) else tuple(padding)
    if len(sides) not in {1, 2, 4} or min(sides) < 0:
        raise DataError(f"padding must be 1, 2 or 4 numbers from 0 on; got {padding}")
    left, top, right, bottom = sides * (4 // len(sides))
    return left, top, right, bottom


def _interpolation(mode: str) -> str:
    if mode not in {"bilinear", "nearest"}:
        raise DataError(f"interpolation {mode!r} is not supported; 'bilinear' or 'nearest'")
    return mode
