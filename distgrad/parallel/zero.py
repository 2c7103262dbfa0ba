"""Sharded training (ZeRO, Rajbhandari et al. 2020): ranks share out what moves the parameters.

Each rank sums, clips and moves its slice of every bucket; then the values are brought to all, under
the next forward pass, and waited for where they are read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np

from distgrad.autograd.layout import FlatLayout, Mover, Slot
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.comm import Work
from distgrad.errors import DistgradError, GradError
from distgrad.optim.norms import rough_squares
from distgrad.parallel.world import World
from distgrad.parallel.zero_arrival import await_, stop_waiting
from distgrad.parallel.zero_cut import Slices, Wanted, cut
from distgrad.parallel.zero_memory import OverMessages

Stage: TypeAlias = Literal[0, 1, 2, 3]


def check_stage(zero: int) -> None:
    """Refuse a stage that does not exist. Errors: DistgradError."""
    if type(zero) is not int or not 0 <= zero <= 3:
        raise DistgradError(
            f"zero={zero!r}: 0 (every rank moves all parameters), 1 (ranks share out optimizer "
            f"state), 2 (and gradients) or 3 (and parameters)"
        )


class Shares:
    """The buckets of one model, shared out; ``Ranks`` to those who clip and move."""

    def __init__(self, world: World, algorithm: str, stage: int) -> None:
        self.world, self.comm, self.algorithm, self.stage = world, world.comm, algorithm, stage
        self.memory = OverMessages(world.comm)
        self.buckets: list[Share] = []
        self.decided = False
        """Whether it is known who owns what; then the cut stays."""
        self._flying: list[Work] = []
        # Others wait for the slice of a rank that has nothing more to do.
        world.comm.transport.state.before_leaving.append(partial(_complete, self._flying))

    def add(self, name: str, params: Sequence[Tensor], layout: FlatLayout, dtype: Any) -> Share:
        """Share out one more bucket."""
        share = Share(self, name, params, layout, np.dtype(dtype))
        self.buckets.append(share)
        return share

    def decide(self) -> None:
        """Cut the buckets for the optimizers that hold their parameters now.

        Errors: GradError for one that cannot move a part of them.
        """
        if self.decided:
            return
        wanted = []
        for share in self.buckets:
            needs = [{m.needs for m in _movers(p)} for p in share.params]
            for p in share.params:
                for mover in _movers(p):
                    _check_alone(mover)
            whole = ["parameters" in found for found in needs]
            wanted.append(Wanted(share.layout.slots, whole, share.dtype.itemsize))
        for share, slices in zip(self.buckets, cut(wanted, self.world.size), strict=True):
            share.slices = slices
        self.decided = True

    # -- to those who clip, move and average ------------------------------------------------------

    def add_up_(self, numbers: Array) -> None:
        """Sum ``numbers``, of which all but one rank has zeros, over the ranks."""
        self.comm.all_reduce(numbers, algorithm=self.algorithm, name="numbers of the ranks' parts")

    def send_values(self) -> None:
        """Start to bring what was moved to all ranks: in forward order, as it will be read."""
        for share in reversed(self.buckets):
            share.start()

    @contextmanager
    def values_here(self) -> Iterator[None]:
        """Have all values on all ranks."""
        self.send_values()
        for share in self.buckets:
            share.settle()
        yield

    def optimizer_stepped(self, optimizer: Any) -> None:
        """Bring the values of a bucket to all ranks once everyone who holds it has moved it."""
        moved = [p for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
        members = set(map(id, moved))
        for share in reversed(self.buckets):
            if any(id(p) in members for p in share.params):
                share.moved_by(optimizer)

    def poll(self) -> None:
        """Let what is on its way come nearer."""
        if self._flying:
            self._flying[:] = [work for work in self._flying if not work.poll()]

    def launched(self, work: Work) -> None:
        """Keep an eye on a gather."""
        if not work.done:
            self._flying.append(work)

    # -- to the reducer ---------------------------------------------------------------------------

    def agree(self, locals_: Sequence[Array], look: bool) -> bool | None:
        """Tell all ranks who used what, and (``look``) whether all sums are finite numbers.

        ``locals_`` are the buckets' sums, of which each rank has its slice, flags behind them.
        """
        numbers = [np.zeros(1)]
        for share, local in zip(self.buckets, locals_, strict=True):
            if look:
                numbers[0] += rough_squares(local[share.own])
            flags = local[share.layout.size :]
            numbers.append(np.real(flags) if share.has_flags else np.zeros(flags.size))
        told = np.concatenate(numbers).astype(np.float64)
        self.add_up_(told)
        start = 1
        for share, local in zip(self.buckets, locals_, strict=True):
            stop = start + local.size - share.layout.size
            local[share.layout.size :] = told[start:stop]
            start = stop
        return bool(np.isfinite(told).all()) and math.isfinite(float(told[0])) if look else None


class Share:
    """One bucket as it is shared out: who owns which slice, and how the values come back."""

    def __init__(
        self,
        shares: Shares,
        name: str,
        params: Sequence[Tensor],
        layout: FlatLayout,
        dtype: np.dtype[Any],
    ) -> None:
        self.ranks, self.name, self.params = shares, name, params
        self.layout, self.dtype = layout, dtype
        self.values: Array = np.empty(layout.size, dtype)
        self.slices: Slices = ()
        self.work: Work | None = None
        self._pending = False  # own values were written that the others have not
        self._movers: set[int] = set()  # who has written them

    # -- who owns which slice ---------------------------------------------------------------------

    @property
    def own(self) -> slice:
        """This rank's slice."""
        self.ranks.decide()
        return self.slices[self.ranks.world.rank]

    @property
    def summed(self) -> Slices:
        """The slices with the flags, which belong to the last one."""
        self.ranks.decide()
        end, flags = self.layout.size, len(self.params)
        last = self._last
        return tuple(
            slice(s.start if s.stop > s.start else end, end + flags) if rank == last else s
            for rank, s in enumerate(self.slices)
        )

    @property
    def has_flags(self) -> bool:
        """Whether this rank has the sums of the flags."""
        return self.ranks.world.rank == self._last

    @property
    def _last(self) -> int:
        stops = [(s.stop > s.start) and s.stop == self.layout.size for s in self.slices]
        return stops.index(True) if True in stops else 0

    def _owners(self, slot: Slot) -> list[int]:
        self.ranks.decide()
        return [
            rank
            for rank, s in enumerate(self.slices)
            if max(s.start, slot.start) < min(s.stop, slot.stop)
        ]

    def is_cut(self, slot: Slot) -> bool:
        """Whether several ranks have a part of the array in ``slot``."""
        return len(self._owners(slot)) > 1

    def admit(self, slot: Slot, mover: Mover) -> None:
        """Refuse an optimizer that comes too late, or would need the whole gradient."""
        _check_alone(mover)
        if self.ranks.decided and mover.needs == "parameters" and self.is_cut(slot):
            raise GradError(
                f"{mover.name} looks at whole parameters, and one of shape {slot.shape} is shared "
                f"out in parts already: make it before the first backward pass"
            )

    # -- how the values come back -----------------------------------------------------------------

    def settle(self) -> None:
        """Return when nothing is on its way into the values."""
        if self.work is not None:
            self.work.wait()
            self.work = None

    def changed(self) -> None:
        """Note that the own values were written."""
        self._pending = True
        for p in self.params:
            await_(p)

    def moved_by(self, optimizer: Any) -> None:
        """Note that ``optimizer`` has moved the own values; the last of its like sends them."""
        self.changed()
        self._movers.add(id(optimizer))
        holders = {id(m.optimizer()) for p in self.params for m in _movers(p)}
        if holders <= self._movers:
            self.start()

    def start(self) -> None:
        """Start to bring the values to all ranks, if they were written."""
        if not self._pending:
            return
        self.settle()
        self._pending = False
        self._movers.clear()
        self.work = self.ranks.memory.start(self.values, self.slices, self.name)
        self.ranks.launched(self.work)

    def arrive(self, tensor: Tensor) -> None:
        """Return when the values of ``tensor`` may be read."""
        if self._pending:
            self.ranks.send_values()  # all, in an order that does not depend on who reads what
        self.settle()
        stop_waiting(tensor)
        self.ranks.poll()

    # -- in parts and in one piece ----------------------------------------------------------------

    def gather_(self, array: Array, start: int) -> None:
        """Fill ``array``, elements ``start`` … of the bucket, with each rank's part of it."""
        self.ranks.decide()

        def inside(s: slice) -> slice:
            first = min(max(s.start - start, 0), array.size)
            return slice(first, max(min(s.stop - start, array.size), first))

        slices = [inside(s) for s in self.slices]
        self.ranks.comm.all_gather(array, slices=slices, name=f"parts of {self.name}")

    def send_(self, array: Array, slot: Slot) -> None:
        """Copy the array of the rank that keeps ``slot`` to all."""
        owner = (self._owners(slot) or [0])[0]
        self.ranks.comm.broadcast(array, owner, name=f"a state of {self.name}")


def _complete(works: list[Work]) -> None:
    for work in works:
        work.wait()


def _movers(p: Tensor) -> Iterable[Mover]:
    return [m for m in getattr(p, "_movers", ()) if m.optimizer() is not None]


def _check_alone(mover: Mover) -> None:
    if mover.needs == "everything":
        raise GradError(
            f"{mover.name} has a step of its own, which needs all gradients on every rank: train "
            f"with zero=0, or write its update(value, grad, state, step, group)"
        )
