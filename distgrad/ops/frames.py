"""Overlapping frames of a line, and frames added up to a line: each is the other's adjoint."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.ops.helpers import data_of, either


def _lines(rng: np.random.Generator) -> list[Sample]:
    settings = [{"size": 3, "hop": 1}, {"size": 4, "hop": 3}, {"size": 2, "hop": 4}]
    return [((rng.normal(size=(2, 9)),), s) for s in settings]


@op("... n -> ... f w", samples=_lines)
def frames(x: Array, *, size: int, hop: int) -> OpResult:
    """The frames of ``size`` elements that begin every ``hop``, whole ones alone."""
    n = x.shape[-1]
    if not 0 < size <= n or hop < 1:
        raise ShapeError(f"frames of {size} elements, every {hop}, do not lie in a line of {n}")
    spread = np.lib.stride_tricks.sliding_window_view(data_of(x), size, -1)
    cut = np.ascontiguousarray(spread[..., ::hop, :])
    return cut, lambda g: either(overlap, g, hop=hop, length=n)


def _frames(rng: np.random.Generator) -> list[Sample]:
    settings = [((4, 3), 1, 6), ((2, 3), 2, 7), ((3, 2), 4, 10)]
    return [((rng.normal(size=(2, *s)),), {"hop": h, "length": n}) for s, h, n in settings]


@op("... f w -> ... n", samples=_frames)
def overlap(y: Array, *, hop: int, length: int) -> OpResult:
    """The sums of frames that begin every ``hop`` in a line of ``length`` elements."""
    count, size = y.shape[-2:]
    if hop < 1 or not hop * (count - 1) + size <= length:
        raise ShapeError(f"{count} frames of {size}, every {hop}, do not lie in a line of {length}")
    # In rows of a hop each frame is a piece of row after row: that of all frames is added at once,
    # the last piece first, so that each element is a sum of earlier frames, then later ones.
    pieces = -(-size // hop)
    rows = np.zeros((*y.shape[:-2], max(count + pieces, -(-length // hop)), hop), y.dtype)
    values = data_of(y)
    for i in reversed(range(pieces)):
        piece = values[..., i * hop : (i + 1) * hop]
        rows[..., i : i + count, : piece.shape[-1]] += piece
    whole: Any = rows.reshape(*y.shape[:-2], rows.shape[-2] * hop)[..., :length]
    return whole, lambda g: either(frames, g, size=size, hop=hop)[..., :count, :]
