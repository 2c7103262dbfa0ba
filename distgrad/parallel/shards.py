"""Logical shards: how a global batch is cut and who owns which part. Integers only."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from itertools import pairwise

from distgrad.errors import LaunchError


@dataclass(frozen=True)
class ShardPosition:
    """Which part of which global batch this rank is computing."""

    step: int
    shard: int
    count: int  # samples in this shard
    total: int  # samples in the global batch
    last: bool  # whether it is this rank's last shard of the batch

    @property
    def weight(self) -> float:
        """The share of the global batch: what turns a mean over the shard into its contribution."""
        return self.count / self.total


current_shard: ContextVar[ShardPosition | None] = ContextVar("current_shard", default=None)


def split(total: int, shards: int) -> list[range]:
    """Return the sample range of each shard; the first ``total % shards`` are one longer."""
    share, longer = divmod(total, shards)
    starts = [s * share + min(s, longer) for s in range(shards + 1)]
    return [range(a, b) for a, b in pairwise(starts)]


def absent(total: int, shards: int) -> range:
    """Return the shards that get no sample of a batch of ``total``."""
    return range(min(total, shards), shards)


def runs(shards: int, size: int) -> list[range]:
    """Return the contiguous shards of each rank: r owns ``range(r S // N, (r + 1) S // N)``."""
    return [range(r * shards // size, (r + 1) * shards // size) for r in range(size)]


def check_shards(shards: int | None, size: int) -> int:
    """Return the number of shards of a world of ``size`` ranks. Errors: LaunchError."""
    if shards is None:
        return size
    if shards < 1 or shards & (shards - 1):
        raise LaunchError(
            f"shards={shards}: the number of logical shards must be a power of two (1, 2, 4, …)"
        )
    if size > shards:
        raise LaunchError(
            f"{size} ranks were started but there are only {shards} logical shards, and a rank "
            f"owns at least one: start at most {shards} ranks, or ask for shards={_next(size)}"
        )
    return shards


def _next(n: int) -> int:
    return 1 << (n - 1).bit_length()
