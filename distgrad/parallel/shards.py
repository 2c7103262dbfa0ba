"""Logical shards: how a global batch is cut and who owns which part. Integers only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from distgrad.autograd.mode import empty_shard
from distgrad.errors import LaunchError

Origin: TypeAlias = Callable[[], Mapping[str, object]]
"""Says what a batch came from (seed, epoch, data): facts, by name, that all ranks must share."""


@dataclass(frozen=True)
class ShardPosition:
    """Which part of which global batch this rank is computing."""

    step: int
    shard: int
    count: int  # samples in this shard
    total: int  # samples in the global batch
    first: bool  # whether it is this rank's first shard of the batch
    last: bool  # and whether its last
    origin: Origin | None = None

    @property
    def weight(self) -> float:
        """The share of the global batch: what turns a mean over the shard into its contribution."""
        return self.count / self.total

    @property
    def empty(self) -> bool:
        """Whether the rank has no sample of the batch: its weight is 0, it is no summand."""
        return not self.count


_entered: ContextVar[tuple[ShardPosition, ...]] = ContextVar("entered shards", default=())


def current_shard() -> ShardPosition | None:
    """Return the shard this thread is computing: of several it is in, the one entered last."""
    entered = _entered.get()
    return entered[-1] if entered else None


def enter(position: ShardPosition) -> None:
    """Be in a shard from here on."""
    _entered.set((*_entered.get(), position))
    _tell()


def leave(position: ShardPosition) -> None:
    """Be in it no longer.

    Walks may be nested (an evaluation inside a shard) or take turns (``zip`` of two), so that the
    one that is left need not be the one entered last.
    """
    _entered.set(tuple([p for p in _entered.get() if p is not position]))
    _tell()


def _tell() -> None:
    position = current_shard()
    empty_shard.set(position is not None and position.empty)


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
