"""Runs an update function over as few, as long arrays as the parameters' memory allows.

Parameters know their places: those side by side in a buffer (a bucket of the bridge, or the buffer
the optimizer makes itself) are updated as one array; where an update looks at a whole parameter,
one at a time. Knows no formula and no rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from distgrad.autograd.flat import bind_, place_of
from distgrad.autograd.layout import FlatBuffer, FlatLayout, Place, Slot, span
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError

State = dict[str, Any]
"""The arrays of a run or a parameter and its numbers, by PyTorch's names."""
Update = Callable[[Array, Array, State, int], None]


def flatten_(params: Sequence[Tensor]) -> None:
    """Move parameters into one flat buffer per dtype; those that have a place already keep it."""
    free = [p for p in params if p._place is None]
    for dtype in dict.fromkeys(p.dtype for p in free):
        same = [p for p in free if p.dtype == dtype]
        layout = FlatLayout.of(p.shape for p in same)
        values, gradients = np.empty(layout.size, dtype), np.empty(layout.size, dtype)
        bind_(same, FlatBuffer(layout, values, gradients))


@dataclass
class Run:
    """Parameters side by side in memory, and the optimizer's state for them in the same order."""

    numbers: list[int]  # of the parameters
    params: list[Tensor]
    arrays: list[Array]  # what p.array was when the run was made: another array means a new layout
    places: list[Place]  # none if it is one parameter that lies outside all buffers
    slots: Sequence[Slot]  # in ``value`` and the arrays of ``state``
    value: Array
    state: State

    def gradient(self, first: int, last: int) -> Array:
        """Return the gradients of params[first:last] as one flat array."""
        grads = [_gradient(p) for p in self.params[first:last]]
        places = self.places[first:last]
        if places and all(g is place.gradient for g, place in zip(grads, places, strict=True)):
            return places[0].buffer.gradients[span([place.slot for place in places])]
        flat = [g.reshape(-1) for g in grads]
        return flat[0] if len(flat) == 1 else np.concatenate(flat)


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
        self._state: list[State] = [{} for _ in self.params]  # views of the runs'
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
            for first, last in self._alike(run):
                numbers = run.numbers[first:last]
                for i in numbers:
                    self.steps[i] += 1
                window = span(run.slots[first:last])
                state = {k: v[window] for k, v in run.state.items()}
                state |= self.scalars[numbers[0]]
                grad = run.gradient(first, last)
                function(run.value[window], grad, state, self.steps[numbers[0]])
                for i in numbers:
                    self.scalars[i] = {k: state[k] for k in self.scalars[i]}

    def runs(self) -> list[Run]:
        """Return the runs, made anew if a parameter's array is no longer the one they were made of.

        The same happens when ``names`` has changed; state that is still named is kept.
        """
        if not self._runs or any(
            list(r.state) != self.names
            or any(p.array is not a for p, a in zip(r.params, r.arrays, strict=True))
            for r in self._runs
        ):
            self._runs = []  # after an error all are made anew
            self._runs = [self._make(numbers) for numbers in _neighbours(self.params)]
        return self._runs

    def state_of(self, i: int) -> State:
        """Return views of parameter ``i``'s state, in its shape."""
        self.runs()
        return self._state[i]

    def _alike(self, run: Run) -> Iterator[tuple[int, int]]:
        """Yield (first, last) of stretches that have gradients and the same step and numbers."""

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
        if places:
            value = places[0].buffer.values[span([place.slot for place in places])]
        elif params[0].array.flags.c_contiguous:
            value = params[0].array.reshape(-1)
        else:
            raise ShapeError(
                f"the data of a parameter of shape {params[0].shape} is not contiguous in memory; "
                f"assign a contiguous array"
            )
        slots = FlatLayout.of(p.shape for p in params).slots
        state = {k: np.zeros_like(value) for k in self.names}
        for i, slot in zip(numbers, slots, strict=True):
            views = {k: slot.view(v) for k, v in state.items()}
            for k in views.keys() & self._state[i].keys():
                views[k][...] = self._state[i][k]
            self._state[i] = views
        return Run(numbers, params, [p.array for p in params], places, slots, value, state)


class SeparateParameters:
    """The parameters of one group, each updated by itself and in its own shape.

    ``shape_of(name, shape)`` is the shape of the state array ``name`` of a parameter of ``shape``,
    None where the parameter has no such state.
    """

    def __init__(
        self,
        params: Sequence[Tensor],
        state_names: Sequence[str],
        scalars: Mapping[str, float],
        shape_of: Callable[[str, tuple[int, ...]], tuple[int, ...] | None],
    ) -> None:
        self.params = list(params)
        self.names = list(state_names)
        self.steps = [0] * len(self.params)
        self.scalars = [dict(scalars) for _ in self.params]
        self._shape_of = shape_of
        self._state: list[State] = [{} for _ in self.params]

    def update(self, function: Update) -> None:
        """Call ``function(value, grad, state, step)`` on every parameter that has a gradient.

        The gradient is contiguous, so that sums over it do not depend on where it came from.
        """
        for i, p in enumerate(self.params):
            if p.grad is None:
                continue
            self.steps[i] += 1
            state = {**self.state_of(i), **self.scalars[i]}
            grad = np.asarray(_gradient(p), order="C")
            if p.size:
                function(p.array, grad, state, self.steps[i])
            self.scalars[i] = {k: state[k] for k in self.scalars[i]}

    def state_of(self, i: int) -> State:
        """Return parameter ``i``'s state arrays, made on first use."""
        p, state = self.params[i], self._state[i]
        shapes = {name: self._shape_of(name, p.shape) for name in self.names}
        for name, shape in shapes.items():
            if shape is not None and name not in state:
                state[name] = np.zeros(shape, p.dtype)
        return {name: state[name] for name, shape in shapes.items() if shape is not None}


def _gradient(p: Tensor) -> Array:
    assert p.grad is not None
    g = p.grad.array
    if g.shape != p.shape or g.dtype != p.dtype:
        raise ShapeError(
            f"a gradient is {g.dtype} of {g.shape}, its parameter {p.dtype} of {p.shape}; "
            f"assign gradients of the parameter's shape and dtype"
        )
    return g


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
