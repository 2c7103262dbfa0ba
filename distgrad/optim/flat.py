"""Runs an update function over as few, as long arrays as the parameters' memory allows.

Parameters know their places: those side by side in a buffer (a bucket of the bridge, or the buffer
the optimizer makes itself) are updated as one array; where an update looks at a whole parameter,
one at a time. Of a buffer that ranks share out only the own part is moved, and its state alone is
kept. Knows no formula and no rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import is_
from typing import Any, NoReturn

import numpy as np

from distgrad.autograd.flat import (
    bind_,
    held,
    hold_,
    own_window,
    place_of,
    sharding_of,
)
from distgrad.autograd.layout import FlatBuffer, FlatLayout, Place, Sharding, Slot
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import GradError, ShapeError
from distgrad.optim.run import Run, State

Update = Callable[[Array, Array, State, int], None]


def flatten_(params: Sequence[Tensor]) -> None:
    """Move parameters into one flat buffer per dtype; those that have a place already keep it."""
    free = [p for p in params if p._place is None]
    for dtype in dict.fromkeys(p.dtype for p in free):
        same = [p for p in free if p.dtype == dtype]
        layout = FlatLayout.of(p.shape for p in same)
        values, gradients = np.empty(layout.size, dtype), np.empty(layout.size, dtype)
        bind_(same, FlatBuffer(layout, values, gradients))


class FlatParameters:
    """The parameters of one group as runs; laid out again whenever their memory has moved."""

    def __init__(
        self,
        params: Sequence[Tensor],
        state_names: Sequence[str],
        scalars: Mapping[str, float] | None = None,
    ) -> None:
        self.params = list(params)
        self.names = list(state_names)
        self.steps = [0] * len(self.params)
        self.scalars = [dict(scalars or {}) for _ in self.params]
        # Views of the runs', flat, and which of a parameter's elements they hold.
        self._state: list[tuple[slice, State]] = [(slice(0, 0), {}) for _ in self.params]
        self._runs: list[Run] = []
        flatten_(self.params)

    def __getstate__(self) -> dict[str, object]:
        """A copy lays its parameters out anew: those of a copy are no views of one buffer."""
        return vars(self) | {"_runs": []}

    def update(self, function: Update) -> None:
        """Call ``function(value, grad, state, step)`` on every run; parameters without grad stay.

        ``step`` counts from 1 for each parameter, skipped ones not counted (as in PyTorch). Arrays
        of the state are changed in place, its numbers by assignment to ``state[name]``.
        """
        for run in self.runs():
            run.settle()
            # The usual case, at the least cost: there may be thousands of parameters.
            if run.gradient is not None and run.is_in_place() and self.is_alike(run):
                step, before = self.steps[run.numbers[0]] + 1, self.scalars[run.numbers[0]]
                state = run.state | before
                function(run.value, run.gradient, state, step)
                self.count_steps(run.numbers, step, state, before)
                continue
            for first, last in self._alike(run):
                numbers = run.numbers[first:last]
                step, before = self.steps[numbers[0]] + 1, self.scalars[numbers[0]]
                state = before
                # Also for no elements: the numbers of the state move on every rank.
                for window, grad in run.gradients(first, last):
                    own = run.within(window)
                    state = {k: v[own] for k, v in run.state.items()} | before
                    function(run.value[own], grad, state, step)
                self.count_steps(numbers, step, state, before)

    def count_steps(
        self, numbers: Sequence[int], step: int, state: State, before: Mapping[str, float]
    ) -> None:
        """Note that parameters took their step number ``step``, and the state's numbers after."""
        for i in numbers:
            self.steps[i] = step
        if before:
            after = {k: state[k] for k in before}
            for i in numbers:
                self.scalars[i] = after

    def settle(self) -> None:
        """Return when the values may be written."""
        for run in self.runs():
            run.settle()

    def send_values(self) -> None:
        """Let the other ranks have the values that were written to ``Run.value``."""
        shared = [s for p in self.params if (s := sharding_of(p)) is not None]
        for sharding in shared:
            sharding.changed()
        for ranks in {id(s.ranks): s.ranks for s in shared}.values():
            ranks.send_values()

    def runs(self) -> list[Run]:
        """Return the runs, made anew if a parameter's array is no longer the one they were made of.

        The same happens when ``names`` has changed; state that is still named is kept.
        """
        for r in self._runs:
            if [*r.state] != self.names or not all(map(is_, map(held, r.params), r.arrays)):
                break
        else:
            if self._runs:
                return self._runs
        self._runs = []  # after an error all are made anew
        bring_back(self.params)
        self._runs = [self._make(numbers) for numbers in _neighbours(self.params)]
        return self._runs

    def state_of(self, i: int) -> State:
        """Return views of parameter ``i``'s state, in its shape. Errors: GradError if in parts."""
        self.runs()
        if sharding_of(self.params[i]) is not None:
            refuse_parts()
        shape = self.params[i].shape
        return {k: v.reshape(shape) for k, v in self._state[i][1].items()}

    def whole_state(self) -> list[State]:
        """Return every parameter's state, in its shape; collective where ranks share it out."""
        found: list[State] = [{} for _ in self.params]
        for run in self.runs():
            for name, own in run.state.items():
                whole = own
                if run.sharding is not None:
                    whole = np.empty(run.slots[-1].stop, own.dtype)
                    whole[run.window] = own
                    run.sharding.gather_(whole, run.places[0].slot.start)
                for i, slot in zip(run.numbers, run.slots, strict=True):
                    found[i][name] = slot.view(whole)
        return found

    def fill_state(self, i: int, entry: Mapping[str, Any] | None) -> None:
        """Let ``entry``, of whole arrays, be parameter ``i``'s state; zeros if there is none."""
        self.runs()
        window, state = self._state[i]
        for name, view in state.items():
            view[...] = np.asarray(entry[name]).reshape(-1)[window] if entry else 0

    def is_alike(self, run: Run) -> bool:
        """Whether all parameters of a run are at the same step, and have the same numbers."""
        steps = run.of_each(self.steps)
        if steps.count(steps[0]) != len(steps):
            return False
        scalars = run.of_each(self.scalars) if self.scalars[0] else ()
        return not scalars or scalars.count(scalars[0]) == len(scalars)

    def _alike(self, run: Run) -> Iterator[tuple[int, int]]:
        """Yield (first, last) of stretches that have gradients and the same step and numbers."""
        if self.is_alike(run) and run.has_all_gradients():  # without looking at each
            yield 0, len(run.params)
            return

        def key(i: int) -> tuple[float, ...]:
            number = run.numbers[i]
            if run.params[i].grad is None:
                return ()
            return (self.steps[number], *self.scalars[number].values())

        for what, stretch in groupby(range(len(run.params)), key):
            members = list(stretch)
            if what:
                yield members[0], members[-1] + 1

    def _make(self, numbers: list[int]) -> Run:
        params = [self.params[i] for i in numbers]
        places = [place for p in params if (place := place_of(p)) is not None]
        slots = FlatLayout.of(p.shape for p in params).slots
        window = slice(0, slots[-1].stop)
        if places:
            buffer = places[0].buffer
            whole = Slot((window.stop,), places[0].slot.start)
            window = own_window(buffer.sharding, whole)
            value = whole.view(buffer.values)[window]
        elif params[0].array.flags.c_contiguous:
            value = params[0].array.reshape(-1)
        else:
            raise ShapeError(
                f"the data of a parameter of shape {params[0].shape} is not contiguous in memory; "
                f"assign a contiguous array"
            )
        state = {k: np.zeros_like(value) for k in self.names}
        arrays = list(map(held, params))
        gradient = None
        if places:
            start = places[0].slot.start
            gradient = places[0].buffer.gradients[start + window.start : start + window.stop]
        run = Run(numbers, params, arrays, places, slots, window, value, state, gradient)
        for k, (i, slot) in enumerate(zip(numbers, slots, strict=True)):
            own = run.inside(k, k + 1)
            # The elements of the parameter; of one that others move none, and those begin nowhere.
            first = own.start - slot.start if own.stop > own.start else 0
            elements = slice(first, first + own.stop - own.start)
            views = {n: v[run.within(own)] for n, v in state.items()}
            self._state[i] = _taken_over(self._state[i], elements, views)
        return run


def _taken_over(old: tuple[slice, State], window: slice, views: State) -> tuple[slice, State]:
    """Fill ``views``, of a parameter's elements ``window``, with the state that there was."""
    before, state = old
    for name in views.keys() & state.keys():
        if not before.start <= window.start <= window.stop <= before.stop:
            refuse_others()
        views[name][...] = state[name][window.start - before.start : window.stop - before.start]
    return window, views


def refuse_parts() -> NoReturn:
    """Refuse to show a state of which this rank has a part."""
    raise GradError(
        "the optimizer's state is shared out over the ranks (zero=1 or more): state_dict(), called "
        "on every rank, returns all of it"
    )


def refuse_others() -> NoReturn:
    """Refuse to go on with parameters whose state is, or may be, on other ranks."""
    raise GradError(
        "an optimizer's state is shared out over the ranks, and now its parameters are not, or "
        "otherwise: load a state_dict() made before into a new optimizer"
    )


def bring_back(params: Sequence[Tensor]) -> None:
    """Put data that were assigned to parameters into the buffers that ranks share out.

    Errors: ShapeError for data of another shape or dtype.
    """
    given: dict[Sharding, list[tuple[Tensor, Place]]] = {}
    for p in params:
        place, array = p._place, held(p)
        if place is None or place.buffer.sharding is None or array is place.value:
            continue
        if array.shape != place.value.shape or array.dtype != place.value.dtype:
            raise ShapeError(
                f"a parameter of {place.value.dtype} {place.value.shape} was given data of "
                f"{array.dtype} {array.shape}, while ranks share it out (zero=1 or more): give "
                f"it data of the same shape and dtype"
            )
        given.setdefault(place.buffer.sharding, []).append((p, place))
    for sharding, pairs in given.items():
        sharding.assign([place for _, place in pairs], [held(p) for p, _ in pairs])
        for p, place in pairs:
            hold_(p, place.value)


def _neighbours(params: Sequence[Tensor]) -> list[list[int]]:
    """Group the numbers of parameters that follow each other in a buffer; others stand alone."""
    groups: list[list[int]] = []
    placed: dict[FlatBuffer, list[tuple[int, int, int]]] = {}
    for i, p in enumerate(params):
        place = place_of(p)
        if place is None:
            groups.append([i])
        else:
            placed.setdefault(place.buffer, []).append((place.slot.start, place.slot.stop, i))
    for members in placed.values():
        end = -1
        for start, stop, i in sorted(members):
            if start != end:
                groups.append([])
            groups[-1].append(i)
            end = stop
    return groups
