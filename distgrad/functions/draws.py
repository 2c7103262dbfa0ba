"""Where random numbers come from: the stream of the rank or shard, or a generator of one's own."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd import random as draw
from distgrad.autograd import stream
from distgrad.autograd.device import Device
from distgrad.autograd.types import Array, DTypeLike, Shape
from distgrad.functions.arguments import check_place


class Generator:
    """A stream of random numbers of its own, keyed by its seed: the same on every rank."""

    def __init__(self, device: Device = None) -> None:
        check_place(device)
        self.manual_seed(0)

    def manual_seed(self, seed: int) -> Generator:
        """Start again from ``seed``, and return the generator."""
        self._seed = int(seed)
        self._numbers = np.random.Generator(np.random.Philox(self._seed & 0xFFFF_FFFF_FFFF_FFFF))
        return self

    def initial_seed(self) -> int:
        """Return what it was started from."""
        return self._seed

    def numbers(self) -> np.random.Generator:
        """Return NumPy's generator of the stream."""
        return self._numbers


def numbers_of(generator: Generator | None) -> np.random.Generator:
    """Return NumPy's generator of a stream, to draw from at once: the rank's or shard's if None."""
    return stream.lent_generator() if generator is None else generator.numbers()


def normal_numbers(
    shape: Shape,
    dtype: np.dtype[Any],
    generator: Generator | None,
    mean: float = -0.0,
    std: float = 1.0,
) -> Array:
    """Return an array of numbers of a normal distribution."""
    if generator is None:
        return stream.normal(shape, dtype, mean, std)
    return np.asarray(mean + std * generator.numbers().standard_normal(shape)).astype(dtype)


def poisson_numbers(rate: Array, generator: Generator | None) -> Array:
    """Return an array of numbers of Poisson distributions with the rates ``rate``."""
    if generator is None:
        return stream.poisson(rate)
    return np.asarray(generator.numbers().poisson(rate)).astype(rate.dtype)


def integer_numbers(shape: Shape, low: int, high: int, generator: Generator | None) -> Array:
    """Return an array of whole numbers from ``low`` to ``high`` - 1."""
    if generator is None:
        return stream.integers(low, high, shape)
    return np.asarray(generator.numbers().integers(low, high, shape))


def unit_numbers(shape: Shape, dtype: np.dtype[Any], generator: Generator | None) -> Array:
    """Return an array of numbers spread evenly over [0, 1)."""
    if generator is None:
        return stream.random(shape, dtype)
    drawn: Array = uniform_numbers(shape, 0.0, 1.0, dtype, generator)
    return drawn


def uniform_numbers(
    shape: Any, low: float, high: float, dtype: DTypeLike, generator: Generator | None
) -> Any:
    """Return an array of numbers spread evenly over [low, high)."""
    if generator is None:
        return draw.uniform(shape, low=low, high=high, dtype=dtype).array
    drawn = generator.numbers().uniform(low, high, shape)
    return np.minimum(np.asarray(drawn).astype(dtype), np.nextafter(np.asarray(high, dtype), low))


def first_to_come(times: Array, count: int) -> Array:
    """Where the ``count`` smallest of each row are, in order, the first of equal ones first.

    NaN, the time of no weight, comes last: there are as many others.
    """
    if count == 1 and times.size:
        first: Array = times.argmin(1)[:, None]
        if not np.isnan(np.take_along_axis(times, first, 1)).any():
            return first
    n = times.shape[1]
    if n < _MANY or not 0 < count <= n // 8:  # sooner sorted than looked at row by row
        return np.argsort(times, 1, kind="stable")[:, :count]
    found = np.empty((len(times), count), np.intp)
    for row, to in zip(times, found, strict=True):
        last = np.partition(row, count - 1)[count - 1]
        near = (row <= last).nonzero()[0]
        to[:] = near[row[near].argsort(kind="stable")[:count]]
    return found


_MANY = 512
