"""A line search for the strong Wolfe conditions; knows a function of one number, no parameter."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from distgrad.autograd.types import Array

_DECREASE, _CURVATURE = 1e-4, 0.9  # c₁ and c₂ of Nocedal & Wright (2006), §3.1


class Point(NamedTuple):
    """A step length t along a direction, with loss, gradient and slope (gradient · d) there."""

    t: float
    loss: float
    grad: Array
    slope: float


def strong_wolfe(
    at: Callable[[float], Point], start: Point, t: float, size: float, least: float, most: int
) -> tuple[Point, int]:
    """Return a point that satisfies the strong Wolfe conditions, and how often ``at`` was called.

    Nocedal & Wright (2006), algorithms 3.5 and 3.6, with the safeguards of minFunc, as PyTorch has
    them. ``t`` is tried first. An interval shorter than ``least`` / ``size`` (the direction's
    largest element) is not divided further; after ``most`` tries the best end is taken.
    """
    before, new = start, at(t)
    calls = 1
    for tries in range(most):
        if _too_high(new, start) or (tries > 1 and new.loss >= before.loss):
            break
        if _is_flat(new, start):
            return new, calls
        if new.slope >= 0:
            break
        t = _cubic(before, new, new.t + 0.01 * (new.t - before.t), new.t * 10)
        before, new = new, at(t)
        calls += 1
    else:
        return (start if start.loss <= new.loss else new), calls
    best, more = _zoom(at, start, [before, new], least / size if size else np.inf, most - tries)
    return best, calls + more


def _zoom(
    at: Callable[[float], Point], start: Point, ends: list[Point], least: float, most: int
) -> tuple[Point, int]:
    """Narrow an interval that holds such a point."""
    low = _lower(ends)
    slow = False
    for calls in range(most):
        high = 1 - low
        left, right = sorted(p.t for p in ends)
        if right - left < least:
            return ends[low], calls
        t = _cubic(ends[0], ends[1], left, right)
        margin = 0.1 * (right - left)
        close = min(right - t, t - left) < margin
        if close and (slow or t >= right or t <= left):
            t = right - margin if abs(t - right) < abs(t - left) else left + margin
            slow = False
        else:
            slow = close
        new = at(t)
        if _too_high(new, start) or new.loss >= ends[low].loss:
            ends[high] = new
            low = _lower(ends)
            continue
        if _is_flat(new, start):
            return new, calls + 1
        if new.slope * (ends[high].t - ends[low].t) >= 0:
            ends[high] = ends[low]
        ends[low] = new
    return ends[low], max(most, 0)


def _lower(ends: list[Point]) -> int:
    return 0 if ends[0].loss <= ends[1].loss else 1


def _too_high(p: Point, start: Point) -> bool:
    return p.loss > start.loss + _DECREASE * p.t * start.slope


def _is_flat(p: Point, start: Point) -> bool:
    return abs(p.slope) <= -_CURVATURE * start.slope


def _cubic(a: Point, b: Point, low: float, high: float) -> float:
    """Return the minimum of the cubic through both points, kept in [low, high]; else the middle."""
    if a.t > b.t:
        a, b = b, a
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2
    d2 = float(np.sqrt(square))
    with np.errstate(divide="ignore", invalid="ignore"):
        part = float(np.divide(b.slope + d2 - d1, b.slope - a.slope + 2 * d2))
    return min(max(b.t - (b.t - a.t) * part, low), high)
