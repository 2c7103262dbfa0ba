"""Sharded training (ZeRO, Rajbhandari et al. 2020): ranks share out what moves the parameters.

Each rank sums, clips and moves its slice of every bucket; then the values are brought to all, under
the next forward pass, and waited for where they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np

from distgrad.autograd.flat import held, hold_
from distgrad.autograd.layout import FlatLayout, Mover, Place, Slot
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.comm import Started
from distgrad.errors import DistgradError, GradError
from distgrad.optim.norms import rough_squares
from distgrad.parallel.shards import ShardPosition, current_shard
from distgrad.parallel.world import World
from distgrad.parallel.zero_arrival import await_, stop_waiting
from distgrad.parallel.zero_cut import Slices, Wanted, cut
from distgrad.parallel.zero_memory import Memory, OwnCopy, allocate

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

    def __init__(
        self, world: World, algorithm: str, stage: int, fleeting: Callable[..., Share]
    ) -> None:
        self._fleeting = fleeting  # makes a Share of what is fetched when it is used
        self.world, self.comm, self.algorithm, self.stage = world, world.comm, algorithm, stage
        self.memory: Memory
        self.buckets: list[Share] = []
        self.decided = False
        """Whether it is known who owns what; then the cut stays."""
        self.backward_runs = self.gives_back = False
        """Whether a backward pass is under way, and one has begun before: values may leave then."""
        self._flying: list[Started] = []
        self._begun: ShardPosition | None = None  # the shard whose backward pass began last
        self._uneven: dict[int, bool] = {}  # by the number of shards that have samples
        # Others wait for the slice of a rank that has nothing more to do.
        world.comm.transport.state.before_leaving.append(partial(_complete, self._flying))

    def allocate(self, parts: Sequence[Sequence[tuple[str, Tensor]]]) -> None:
        """Make the memory of the buckets that will be added; collective."""
        specs = [(sum(p.size for _, p in part), part[0][1].dtype) for part in parts]
        comm = self.comm
        # In one node that has the values once, there is nothing to be gained by having fewer.
        if self.stage == 3 and not comm.topology.one_node:
            self.memory = OwnCopy(comm, [])
        else:
            self.memory = allocate(comm, specs)

    @property
    def fetches(self) -> bool:
        """Whether values are fetched when they are used (zero=3, unless one node has them once)."""
        return self.stage == 3 and isinstance(self.memory, OwnCopy)

    def add(self, name: str, params: Sequence[Tensor], layout: FlatLayout, dtype: Any) -> Share:
        """Share out one more bucket."""
        if self.fetches:
            share = self._fleeting(self, name, params, layout, np.dtype(dtype))
        else:
            values = self.memory.arrays[len(self.buckets)]
            share = Share(self, name, params, layout, values)
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
            wanted.append(Wanted(share.layout.slots, whole, share.values.itemsize))
        for share, slices in zip(self.buckets, cut(wanted, self.world.size), strict=True):
            share.slices = slices
        self.decided = True

    # -- to those who clip, move and average ------------------------------------------------------

    def add_up_(self, numbers: Array) -> None:
        """Sum ``numbers``, of which all but one rank has zeros, over the ranks."""
        self.comm.all_reduce(numbers, algorithm=self.algorithm, name="numbers of the ranks' parts")

    def send_values(self) -> None:
        """Start to bring what was moved to all ranks: in forward order, as it will be read."""
        moved = [share for share in reversed(self.buckets) if share.stale]
        for share in moved:
            share.stale = False
        fetched = [share for share in moved if not share.fetched_when_read]
        works = self.memory.start([(s.values, s.slices, s.name) for s in fetched])
        for share, work in zip(fetched, works, strict=True):
            share.work = work
        self._flying.extend(work for work in dict.fromkeys(works) if not work.done)

    @contextmanager
    def values_here(self) -> Iterator[None]:
        """Have all values on all ranks."""
        with ExitStack() as stack:
            for share in reversed(self.buckets):
                stack.enter_context(share.here())
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Let all parameters be written to, on all ranks alike; after an exception they are not."""
        with self.values_here():
            private = [share.values.copy() for share in self.buckets]
        for share, array in zip(self.buckets, private, strict=True):
            share.point_to(array)
        try:
            yield
        except BaseException:
            for share in self.buckets:
                share.point_to(share.values)
            raise
        self.assign([*zip(self.buckets, private, strict=True)])
        for share in self.buckets:
            share.point_to(share.values)

    def assign(self, values: Sequence[tuple[Share, Array]]) -> None:
        """Let buckets have values that are the same on all ranks; collective."""
        for share, array in values:
            share.settle()
            share.fill(array)
        self.written()
        for share, _ in values:
            share.release()

    def written(self) -> None:
        """Return when all have written what is the same on all ranks; they may read it then."""
        self.memory.start([])
        self.comm.start_barrier(name="parameters were given values").wait()

    def optimizer_stepped(self, optimizer: Any) -> None:
        """Bring what an optimizer has moved to all ranks."""
        moved = [p for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
        members = set(map(id, moved))
        for share in self.buckets:
            if any(id(p) in members for p in share.params):
                share.changed()
        self.send_values()

    def poll(self) -> None:
        """Let what is on its way come nearer."""
        if self._flying:
            self._flying[:] = [work for work in self._flying if not work.poll()]

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
        return bool(np.isfinite(told).all()) if look else None

    def backward_started(self) -> None:
        """Note that values are needed by a backward pass from here on, each where it says so."""
        self.backward_runs = True
        self._begun = current_shard()
        if not self.keeps:
            self.gives_back = True
        for share in self.buckets:
            share.release()

    def backward_finished(self) -> None:
        """Note that no backward pass needs the values any more."""
        for share in self.buckets:
            share.release(unpin=True)
        self.backward_runs = False

    @property
    def keeps(self) -> bool:
        """Whether fetched values stay for what this rank does next in its batch.

        Fetching is collective, and ranks may have different numbers of shards of a batch: then all
        fetch each bucket once, in the order of its first use, until the backward pass of their last
        shard, which is the same on all of them.
        """
        position = current_shard()
        if position is None or (position.last and self.backward_runs):
            return False
        present = min(position.total, self.world.shards)
        if present not in self._uneven:
            counts = [max(1, min(run.stop, present) - run.start) for run in self.world.runs]
            self._uneven[present] = len(set(counts)) > 1
        return self._uneven[present]

    @property
    def all_come_by(self) -> bool:
        """Whether all ranks come to where this one is, before their last backward pass begins.

        Where they have different numbers of shards they do until the first one's backward pass.
        """
        position = current_shard()
        return not self.keeps or (
            position is not None and position.first and position is not self._begun
        )


class Share:
    """One bucket as it is shared out: who owns which slice, and how the values come back."""

    fetched_when_read = False
    """Whether values come when they are needed, not when they were moved."""

    def __init__(
        self,
        shares: Shares,
        name: str,
        params: Sequence[Tensor],
        layout: FlatLayout,
        values: Array,
    ) -> None:
        self.ranks, self.name, self.params = shares, name, params
        self.layout, self.values = layout, values
        self.slices: Slices = ()
        self.work: Started | None = None
        self.stale = False
        """Whether own values were written that the others have not."""

    # -- who owns which slice ---------------------------------------------------------------------

    @property
    def own(self) -> slice:
        """This rank's slice."""
        self.ranks.decide()
        return self.slices[self.ranks.world.rank]

    @property
    def leads(self) -> bool:
        """Whether this rank writes values that are the same on all ranks."""
        return self.ranks.memory.leads

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
                f"out in parts already: make it before the first training pass"
            )

    # -- how the values come back -----------------------------------------------------------------

    def settle(self) -> None:
        """Return when the own values may be written."""
        self._complete()
        self.ranks.memory.before_writing()

    def changed(self) -> None:
        """Note that the own values were written."""
        self.stale = True
        for p in self.params:
            await_(p)

    def arrive(self, tensor: Tensor) -> None:
        """Return when the values of ``tensor`` may be read."""
        del tensor  # they come together
        self._complete()
        for p in self.params:
            stop_waiting(p)
        self.ranks.poll()

    def detached(self, tensor: Tensor) -> Array:
        """Return the values as an array that may be kept."""
        self.arrive(tensor)
        return held(tensor)

    @contextmanager
    def here(self) -> Iterator[None]:
        """Have all values on this rank."""
        self._complete()
        yield

    def release(self, *, unpin: bool = False) -> None:
        """Give back the memory of values that other ranks keep, if that is wanted."""

    def assign(self, places: Sequence[Place], arrays: Sequence[Array]) -> None:
        """Let some parameters have values that are the same on all ranks; collective."""
        self.settle()
        for place, array in zip(places, arrays, strict=True):
            if self.leads:
                place.slot.view(self.values)[...] = array
        self.ranks.written()

    def fill(self, values: Array) -> None:
        """Have values that are the same on all ranks, while nobody reads them."""
        if self.leads:
            np.copyto(self.values, values)

    def point_to(self, values: Array) -> None:
        """Let the parameters be views of ``values``, which may be written to unless their own."""
        for p in self.params:
            place = p._place
            assert place is not None
            stop_waiting(p)
            hold_(p, place.value if values is self.values else place.slot.view(values))

    def _complete(self) -> None:
        if self.work is not None:
            self.work.wait()
            self.work = None

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


def _complete(works: list[Started]) -> None:
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
