"""What a transform is, several of them, and the draws that they share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.stream import lent_generator
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import DataError


class Transform(ABC):
    """A function of images (…, c, h, w). Errors: DataError for arrays of other numbers of axes."""

    def __call__(self, images: Any) -> Any:
        """Return the images transformed; what was given stays as it is."""
        x = images.array if isinstance(images, Tensor) else np.asarray(images)
        if x.ndim not in {3, 4}:
            raise DataError(
                f"{type(self).__name__} takes images (c, h, w) or (n, c, h, w); got shape {x.shape}"
                f"{': ToTensor() puts channels first' if x.ndim == 2 else ''}"
            )
        found = self._batch(x[None] if x.ndim == 3 else x)
        found = found[0] if x.ndim == 3 else found
        return Tensor(found) if isinstance(images, Tensor) else found

    @abstractmethod
    def _batch(self, x: Array) -> Array:
        """Return x (n, c, h, w) transformed."""


class Compose:
    """Transforms (any functions), one after the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, images: Any) -> Any:
        """Return the images after all of them."""
        for transform in self.transforms:
            images = transform(images)
        return images

    def __repr__(self) -> str:
        return f"Compose({self.transforms!r})"


class Lambda:
    """A function taken for a transform."""

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        self.lambd = lambd

    def __call__(self, images: Any) -> Any:
        """Return ``lambd(images)``."""
        return self.lambd(images)


class RandomApply(Transform):
    """Apply transforms that keep the shape to each image with probability ``p``."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: float = 0.5) -> None:
        self.inner, self.p = Compose(transforms), probability("RandomApply", p)

    def _batch(self, x: Array) -> Array:
        chosen = lent_generator().random(len(x)) < self.p
        return np.where(chosen[:, None, None, None], self.inner(x), x)


def random_boxes(
    random: np.random.Generator,
    n: int,
    h: int,
    w: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    whole: bool = True,
) -> list[tuple[int, int, int, int] | None]:
    """(top, left, height, width) for each image: the first of ten draws that fits, or None."""
    area = h * w * random.uniform(*scale, (n, 10))
    shape = np.exp(random.uniform(math.log(ratio[0]), math.log(ratio[1]), (n, 10)))
    place = random.random((n, 2))
    widths, heights = np.rint(np.sqrt(area * shape)), np.rint(np.sqrt(area / shape))
    most = 1 if whole else 0
    fits = (widths > 0) & (widths < w + most) & (heights > 0) & (heights < h + most)
    found: list[tuple[int, int, int, int] | None] = []
    for i in range(n):
        if not fits[i].any():
            found.append(None)
            continue
        k = int(np.argmax(fits[i]))
        height, width = int(heights[i, k]), int(widths[i, k])
        top, left = int(place[i, 0] * (h - height + 1)), int(place[i, 1] * (w - width + 1))
        found.append((top, left, height, width))
    return found


def two(size: int | Sequence[int]) -> tuple[int, int]:
    """A size as (h, w)."""
    pair = (size, size) if isinstance(size, int) else tuple(size)
    pair = pair * 2 if len(pair) == 1 else pair
    if len(pair) != 2 or min(pair) < 1:
        raise DataError(f"a size must be one or two whole numbers from 1 on; got {size}")
    return int(pair[0]), int(pair[1])


def interval(pair: Sequence[float]) -> tuple[float, float]:
    """A pair (low, high) of positive numbers."""
    low, high = pair
    if not 0 < low <= high:
        raise DataError(f"a range must be (low, high) with 0 < low <= high; got {pair}")
    return float(low), float(high)


def probability(name: str, p: float) -> float:
    """``p``, checked."""
    if not 0 <= p <= 1:
        raise DataError(f"{name}: p={p} is a probability; it must lie in [0, 1]")
    return p
