"""Parameters side by side in memory that an optimizer moves at once, and their gradients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, repeat
from operator import is_, is_not, itemgetter
from typing import Any, TypeAlias

import numpy as np

from distgrad.autograd.flat import gradient_held, held
from distgrad.autograd.layout import Place, Sharding, Slot
from distgrad.autograd.parts import PartialGradient
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError

State = dict[str, Any]
"""The arrays of a run or a parameter and its numbers, by PyTorch's names."""

# Elements of a gradient: what costs more to copy than to be moved by itself.
_SHORT = 1 << 14
_Cut: TypeAlias = tuple[int, int, slice, slice]
"""From which parameter to which; which of the run's elements, and which of their gradients'."""


@dataclass
class Run:
    """Parameters side by side in memory, and the optimizer's state for them in the same order.

    Where ranks share their buffer out, ``value`` and ``state`` are the own part of it.
    """

    numbers: list[int]  # of the parameters
    params: list[Tensor]
    arrays: list[Array]  # their memory when the run was made: another array means a new layout
    places: list[Place]  # none if it is one parameter that lies outside all buffers
    slots: Sequence[Slot]  # in the whole of the run
    window: slice  # which of the elements of the whole are in ``value`` and the arrays of ``state``
    value: Array
    state: State
    gradient: Array | None  # where backward leaves all gradients, side by side, as one array

    def __post_init__(self) -> None:
        self._wanted = [place.gradient for place in self.places]
        self._pick = itemgetter(*self.numbers)
        self._cuts: dict[tuple[int, int], list[_Cut]] = {}  # of what is nowhere in place

    def is_in_place(self) -> bool:
        """Whether every parameter has a gradient, at its place."""
        if self.gradient is None or not self.has_all_gradients():
            return False
        grads = map(held, map(gradient_held, self.params))  # type: ignore[arg-type]
        return all(map(is_, grads, self._wanted))

    def has_all_gradients(self) -> bool:
        """Whether every parameter has a gradient, wherever."""
        return all(map(is_not, map(gradient_held, self.params), repeat(None)))

    def of_each(self, listed: list[Any]) -> tuple[Any, ...]:
        """Return what is listed for all parameters of the group, for those of this run."""
        found = self._pick(listed)
        return found if len(self.numbers) > 1 else (found,)

    @property
    def sharding(self) -> Sharding | None:
        """How it is shared out."""
        return self.places[0].buffer.sharding if self.places else None

    def settle(self) -> None:
        """Return when ``value`` may be written."""
        sharding = self.sharding
        if sharding is not None:
            sharding.settle()

    def inside(self, first: int, last: int) -> slice:
        """Return the own elements of params[first:last], counted from the whole's first."""
        start = min(max(self.slots[first].start, self.window.start), self.window.stop)
        stop = max(min(self.slots[last - 1].stop, self.window.stop), start)
        return slice(start, stop)

    def within(self, window: slice) -> slice:
        """Return where the elements ``window`` of the whole are in ``value``."""
        return slice(window.start - self.window.start, window.stop - self.window.start)

    def changed(self) -> None:
        """Note that ``value`` was written, and the other ranks have an old one."""
        if self.sharding is not None:
            self.sharding.changed()

    def gradients(self, first: int, last: int) -> Iterator[tuple[slice, Array]]:
        """Yield those of params[first:last] as few arrays, and which elements of the whole.

        Where backward has left them side by side they are one array. Of others the long ones are
        taken as they are, and short ones are copied together.
        """
        grads = [held(p.grad) for p in self.params[first:last] if p.grad is not None]
        wanted = [place.gradient for place in self.places[first:last]]
        in_place = [*map(is_, grads, wanted)] if wanted else [False] * len(grads)
        if all(in_place):
            yield self._in_place(first, last)
            return
        grads = gradients_of(self.params[first:last], grads)
        if any(in_place):
            cuts = self._cut(first, last, in_place)
        else:  # all assigned by the user, and so again in the next step
            if (first, last) not in self._cuts:
                self._cuts[first, last] = [*self._cut(first, last, in_place)]
            cuts = self._cuts[first, last]
        for start, stop, window, elements in cuts:
            if in_place[start]:
                yield self._in_place(first + start, first + stop)
            elif stop - start == 1:
                yield window, grads[start].reshape(-1)[elements]
            else:
                yield window, np.concatenate(grads[start:stop], axis=None)[elements]

    def _cut(self, first: int, last: int, in_place: Sequence[bool]) -> Iterable[_Cut]:
        """Cut params[first:last] into those in place, long ones, and short ones side by side."""

        def kind(k: int) -> int:
            slot = self.slots[first + k]
            return -1 if in_place[k] else k if slot.stop - slot.start > _SHORT else -2

        for _, numbers in groupby(range(last - first), kind):
            start, *more = numbers
            stop = start + len(more) + 1
            window = self.inside(first + start, first + stop)
            begin = self.slots[first + start].start
            yield start, stop, window, slice(window.start - begin, window.stop - begin)

    def _in_place(self, first: int, last: int) -> tuple[slice, Array]:
        window, start = self.inside(first, last), self.places[0].slot.start
        gradients = self.places[0].buffer.gradients
        return window, gradients[start + window.start : start + window.stop]


def gradients_of(params: Sequence[Tensor], grads: list[Array]) -> list[Array]:
    """Return ``gradient_of`` each, sooner where ``grads``, their memory, is as it should be."""
    values = [*map(held, params)]
    if [g.shape for g in grads] == [a.shape for a in values] and all(
        map(is_, [g.dtype for g in grads], [a.dtype for a in values])
    ):
        return grads
    return [gradient_of(p) for p in params]


def gradient_of(p: Tensor) -> Array:
    """Return the memory of a gradient, of which this rank may have a part. Errors: ShapeError."""
    assert p.grad is not None
    g = held(p.grad) if isinstance(p.grad, PartialGradient) else p.grad.array
    if g.shape != p.shape or g.dtype != p.dtype:
        raise ShapeError(
            f"a gradient is {g.dtype} of {g.shape}, its parameter {p.dtype} of {p.shape}; "
            f"assign gradients of the parameter's shape and dtype"
        )
    return g
