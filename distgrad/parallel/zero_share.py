"""One bucket as its ranks share it out: who owns which slice, and how the values come back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np

from distgrad.autograd.flat import held, hold_, own_window
from distgrad.autograd.layout import FlatLayout, Mover, Part, Place, Ranks, Slot
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.comm import Call, Communicator, Started
from distgrad.errors import GradError
from distgrad.parallel.world import World
from distgrad.parallel.zero_arrival import await_, stop_waiting
from distgrad.parallel.zero_cut import Slices
from distgrad.parallel.zero_memory import Memory
from distgrad.parallel.zero_told import Report, Told


class Model(Ranks, Protocol):
    """What a bucket asks those of all buckets of its model (``zero.Shares``)."""

    world: World
    comm: Communicator
    memory: Memory
    told: Told
    stage: int
    look: bool
    decided: bool

    def decide(self) -> None:
        """Have the buckets cut."""

    def written(self) -> None:
        """Return when all have written what is the same on all ranks."""

    def poll(self) -> None:
        """Let what is on its way come nearer."""


class Share:
    """A bucket of ``Shares``; the optimizers' Sharding."""

    fetched_when_read = False
    """Whether values come when they are needed, not when they were moved."""

    def __init__(
        self,
        model: Model,
        name: str,
        params: Sequence[Tensor],
        layout: FlatLayout,
        values: Array,
    ) -> None:
        self.ranks, self.name, self.params = model, name, params
        self.layout, self.values = layout, values
        self.slices: Slices = ()
        self.members = frozenset(map(id, params))
        self.report: Report
        self._summed: Slices = ()
        self._has_flags = False  # whether this rank has the sums of the flags
        self.work: Started | None = None
        self.stale = False
        """Whether own values were written that the others have not."""
        self.places: Sequence[Place] = ()
        self.sums: Array = np.zeros(0)
        """The gradients, of which this rank has its slice, and behind them who used what."""
        self._parts: dict[int, Part] = {}  # by the number (``id``) of the slot

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
        return self._summed

    def take(self, slices: Slices) -> None:
        """Take over who owns what."""
        end, flags = self.layout.size, len(self.params)
        reach = [s.stop > s.start and s.stop == end for s in slices]
        last = reach.index(True) if True in reach else 0
        self.slices = slices
        self._summed = tuple(
            slice(s.start if s.stop > s.start else end, end + flags) if rank == last else s
            for rank, s in enumerate(slices)
        )
        self._has_flags = self.ranks.world.rank == last

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
        check_alone(mover)
        if self.ranks.decided and mover.needs == "parameters" and self.is_cut(slot):
            raise GradError(
                f"{mover.name} looks at whole parameters, and one of shape {slot.shape} is shared "
                f"out in parts already: make it before the first training pass, and before a "
                f"state of others is loaded"
            )

    # -- the gradients ----------------------------------------------------------------------------

    def part(self, place: Place) -> Part:
        """Return this rank's elements of the gradient at ``place``."""
        found = self._parts.get(id(place.slot))
        if found is None:
            self.ranks.decide()
            found = Part.of(place, own_window(self, place.slot), self)
            self._parts[id(place.slot)] = found
        return found

    def squares_of(self, slot: Slot) -> list[float] | None:
        """Return the sum of the squares of each block of the gradient in ``slot``, if known."""
        report = self.report
        return report.heard[report.squares[id(slot)]] if report.fresh else None

    def gradients_change(self) -> None:
        """Note that own gradients are about to be written to."""
        self.report.fresh = False

    def report_in(self, numbers: Array, first: int) -> None:
        """Tell in ``numbers``, from number ``first`` on, what others need of this rank's slice."""
        parts = [self.part(place) for place in self.places]
        flags = self.sums[self.layout.size :]
        self.report = Report(numbers, first, self.places, parts, flags, self._has_flags)

    def tell(self) -> None:
        """Tell of the own slice, whose sum is there."""
        self.ranks.told.tell(self.report, self.ranks.look)

    def summed_slice(self, own: Array) -> Sequence[Call]:
        """Return the calls that tell of the own slice once it is summed, to those of the node."""
        del own
        return self.report.calls(self.ranks.look) if self.ranks.told.common else ()

    # -- how the values come back -----------------------------------------------------------------

    def settle(self) -> None:
        """Return when the own values may be written."""
        if self.work is not None:
            self._complete()
        self.ranks.memory.before_writing()

    def changed(self) -> None:
        """Note that the own values were written."""
        self.stale = True
        self.report.fresh = False  # updates may have the gradients for scratch memory

    def sent(self, work: Started) -> None:
        """Let readers wait until ``work`` has brought the values."""
        self.work = work
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


def check_alone(mover: Mover) -> None:
    """Refuse an optimizer that cannot move a part of its parameters. Errors: GradError."""
    if mover.needs == "everything":
        raise GradError(
            f"{mover.name} has a step of its own, which needs all gradients on every rank: train "
            f"with zero=0, or write its update(value, grad, state, step, group)"
        )
