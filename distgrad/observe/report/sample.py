"""Fewer points that look the same: what a screen can show of a long series, spikes included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distgrad.autograd.types import Array


@dataclass(frozen=True)
class Points:
    """A series in buckets of equally many neighbouring values; each value is in one bucket."""

    steps: Array
    """The last step of each bucket."""
    mean: Array
    """Of each bucket's finite values, as ``low`` and ``high`` are."""
    low: Array
    high: Array
    bucket: int
    """Values a bucket stands for; 1 if nothing was left out."""
    broken: Array
    """The steps whose value is NaN or infinite."""


def in_buckets(steps: Array, values: Array, most: int) -> Points:
    """Return a series as at most ``most`` buckets, each with its lowest and highest value."""
    finite = np.isfinite(values)
    broken, steps, values = steps[~finite], steps[finite], values[finite]
    bucket = max(1, -(-len(values) // most))
    starts = np.arange(0, len(values), bucket)
    if not len(starts):
        return Points(steps, values, values, values, 1, broken)
    ends = np.append(starts[1:], len(values))
    mean = np.add.reduceat(values / bucket, starts) * (bucket / (ends - starts))
    low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    return Points(steps[ends - 1], mean, low, high, bucket, broken)


def thinned(count: int, most: int) -> Array:
    """Return at most ``most`` of the numbers below ``count``, evenly, the first and last included.

    For what lies on a line between its neighbours; a spike would be lost.
    """
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def runs_of(count: int, most: int) -> list[range]:
    """Return ``count`` neighbours as at most ``most`` ranges of equal length, but for the last."""
    length = max(1, -(-count // most))
    return [range(first, min(first + length, count)) for first in range(0, count, length)]


def rounded(values: Sequence[float] | Array, digits: int = 6) -> list[float]:
    """Return values with so many significant digits, as plain numbers."""
    return [float(f"{value:.{digits}g}") for value in values]
