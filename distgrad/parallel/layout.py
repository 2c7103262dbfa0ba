"""FlatLayout: which parameter lies where in which bucket. Integers only, the same on every rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Slot:
    """Where one parameter lies."""

    name: str
    shape: tuple[int, ...]
    bucket: int
    start: int

    @property
    def stop(self) -> int:
        """One past its last element in the bucket."""
        return self.start + math.prod(self.shape)


@dataclass(frozen=True)
class FlatLayout:
    """Parameters in buckets, in the order in which backward is expected to finish them."""

    slots: tuple[Slot, ...]
    dtypes: tuple[str, ...]  # of each bucket
    sizes: tuple[int, ...]  # of each bucket, in elements

    def members(self, bucket: int) -> tuple[Slot, ...]:
        """Return the slots of one bucket, in memory order."""
        return tuple(s for s in self.slots if s.bucket == bucket)


def make_layout(
    tensors: Sequence[tuple[str, tuple[int, ...], str, int]], bucket_bytes: int
) -> FlatLayout:
    """Cut (name, shape, dtype, item size) tensors, last first, into buckets of ``bucket_bytes``.

    A bucket holds one dtype and at least one tensor; a larger tensor has a bucket of its own.
    """
    slots: list[Slot] = []
    dtypes: list[str] = []
    sizes: list[int] = []
    for name, shape, dtype, itemsize in reversed(tensors):
        count = math.prod(shape)
        fits = (
            dtypes
            and dtypes[-1] == dtype
            and sizes[-1]
            and (sizes[-1] + count) * itemsize <= bucket_bytes
        )
        if not fits:
            dtypes.append(dtype)
            sizes.append(0)
        slots.append(Slot(name, shape, len(sizes) - 1, sizes[-1]))
        sizes[-1] += count
    return FlatLayout(tuple(slots), tuple(dtypes), tuple(sizes))
