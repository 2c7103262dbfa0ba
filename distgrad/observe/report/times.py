"""Where the ranks' time went, as the report shows it: in all, over the steps, and who was slow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from typing import TypeAlias

import numpy as np

from distgrad.autograd.types import Array
from distgrad.comm.stacks import spelled
from distgrad.observe.durations import spell_seconds
from distgrad.observe.report.sample import runs_of
from distgrad.observe.report.words import spell_share
from distgrad.observe.run import Part
from distgrad.observe.run.read import Row
from distgrad.observe.time.table import Share, Shares

PARTS = ("compute", "data", "waiting", "transfer", "hidden")
"""Of a rank's time; ``hidden`` is a part of ``compute``, the others sum up to all of it."""

Machine: TypeAlias = tuple[str, int, str]
"""A rank's host, threads and cores; 0 and "" if that is not known."""

_STRETCHES = 200  # over the steps
_RANKS = 32  # that are shown over the steps one by one: the first, or the busiest
_ENOUGH = 1.0  # seconds of training below which nobody is accused


@dataclass(frozen=True)
class TimeGroup:
    """Neighbouring parts of a run on the same ranks and hosts, as one."""

    first: int
    """Of its steps; ``last`` is the last."""
    last: int
    shares: Shares
    parts: Array
    """(rank, part): what each of ``PARTS`` is of the rank's time, 0 to 1."""
    starts: list[int]
    """Of each stretch, the step after which it begins; it goes up to the next of ``ends``."""
    ends: list[int]
    steps: list[float]
    """Of each stretch, seconds a step."""
    mean: Array
    """(stretch, part), on the average of all ranks."""
    chosen: list[int]
    """The ranks in ``by_rank``."""
    by_rank: Array
    """(rank, stretch, part)."""

    @property
    def described(self) -> str:
        """Where the time went, in a sentence."""
        return self.shares.described()

    @property
    def accusations(self) -> list[str]:
        """Who held the others up, and what it cost; [] if nobody did."""
        return self.shares.accusations() if self.shares.seconds >= _ENOUGH else []

    @property
    def words(self) -> str:
        """The text alternative of what is drawn over the steps."""
        parts = self.parts.mean(axis=0)
        told = ", ".join(f"{n} {spell_share(p)}" for n, p in zip(PARTS, parts, strict=True))
        slowest = int(np.argmax(self.steps))
        return (
            f"Where the time of {spelled(range(len(self.shares.ranks)))} went from step "
            f"{self.first + 1:,} to {self.last:,}: {told} (a part of compute). The slowest steps "
            f"were those up to {self.ends[slowest]:,}: {spell_seconds(self.steps[slowest])} each."
        )


def time_groups(rows: Sequence[Row], parts: Sequence[Part]) -> list[TimeGroup]:
    """Return the groups of some stretches of a run, in order; [] if its time was not split."""
    groups = groupby(rows, lambda row: _machines(row, parts))
    return [_group([*those], machines) for machines, those in groups]


def _machines(row: Row, parts: Sequence[Part]) -> tuple[Machine, ...]:
    """Return those of the ranks of a stretch; a run.json that lacks its part names none."""
    count = len(row["ranks"])
    if row["part"] < len(parts):
        part = parts[row["part"]]
        if len(part.hosts) == len(part.threads) == len(part.cores) == count:
            return tuple(zip(part.hosts, part.threads, part.cores, strict=True))
    return (("unknown", 0, ""),) * count


def _group(rows: Sequence[Row], machines: tuple[Machine, ...]) -> TimeGroup:
    stretches = [_shares(row, machines) for row in rows]
    merged, starts, ends = [], [], []
    for run in runs_of(len(rows), _STRETCHES):
        merged.append(reduce(Shares.plus, (stretches[i] for i in run)))
        starts.append(rows[run[0]]["step"] - rows[run[0]]["steps"])
        ends.append(rows[run[-1]]["step"])
    whole = reduce(Shares.plus, merged)
    table = np.array([_parts(shares) for shares in merged])  # stretch, rank, part
    chosen = _chosen(whole)
    return TimeGroup(
        first=starts[0],
        last=ends[-1],
        shares=whole,
        parts=np.array(_parts(whole)),
        starts=starts,
        ends=ends,
        steps=[shares.step for shares in merged],
        mean=table.mean(axis=1),
        chosen=chosen,
        by_rank=table[:, chosen].swapaxes(0, 1),
    )


def _shares(row: Row, machines: tuple[Machine, ...]) -> Shares:
    pairs = zip(machines, row["ranks"], strict=True)
    return Shares(
        tuple(Share(host, row["steps"], *split, *means) for (host, *means), split in pairs)
    )


def _parts(shares: Shares) -> list[tuple[float, ...]]:
    """Return what each of ``PARTS`` is of every rank's time."""
    found: list[tuple[float, ...]] = []
    for share in shares.ranks:
        compute, waiting, transfer, data = shares.of(share)
        hidden = min(share.hidden / max(share.seconds, 1e-9), compute)
        found.append((compute, data, waiting, transfer, hidden))
    return found


def _chosen(shares: Shares) -> list[int]:
    ranks = range(len(shares.ranks))
    if len(ranks) <= _RANKS:
        return [*ranks]
    busy = {rank: share.seconds - share.held_up for rank, share in enumerate(shares.ranks)}
    return sorted(sorted(ranks, key=busy.__getitem__)[-_RANKS:])
