"""Runs an update function over as few, as long arrays as the parameters' memory allows.

Parameters that lie side by side in a buffer (a bucket of the bridge, or the buffer the optimizer
makes itself) are updated as one array; where an update looks at a whole parameter, one at a time.
Knows no formula and no rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from distgrad.autograd.flat import bind_, joined
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError

State = dict[str, Any]
"""The arrays of a run or a parameter and its numbers, by PyTorch's names."""
Update = Callable[[Array, Array, State, int], Any]


def flatten_(params: Sequence[Tensor]) -> None:
    """Move parameters into one flat buffer per dtype, with a buffer for their gradients."""
    for dtype in dict.fromkeys(p.dtype for p in params):
        same = [p for p in params if p.dtype == dtype]
        if any(p._grad_buffer is not None for p in same):
            continue  # they are views of buckets already
        total = sum(p.size for p in same)
        bind_(same, np.empty(total, dtype), np.empty(total, dtype))


@dataclass
class Run:
    """Parameters side by side in memory, and the optimizer's state for them in the same order."""

    params: list[Tensor]
    values: list[Array]  # what p.data was when the run was made: another array means a new layout
    value: Array
    state: State
    starts: list[int]
    scratch: Array | None = field(default=None)

    def gradient(self, first: int, last: int) -> Array:
        """Return the gradients of params[first:last] as one flat array."""
        grads = [_gradient(p) for p in self.params[first:last]]
        flat = joined(grads)
        if flat is None:
            if self.scratch is None:
                self.scratch = np.empty_like(self.value)
            flat = self.scratch[self.starts[first] : self.starts[last]]
            np.concatenate([g.reshape(-1) for g in grads], out=flat)
        return flat


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
        self._index = {id(p): i for i, p in enumerate(self.params)}
        self._runs: list[Run] = []
        self._copied: list[State] = []  # a copy's state, until it is laid out
        flatten_(self.params)

    def __getstate__(self) -> dict[str, Any]:
        """A copy lays its parameters out anew: those of a copy are no views of one buffer."""
        state = [self.state_of(i) if self._runs else {} for i in range(len(self.params))]
        kept = {k: v for k, v in vars(self).items() if k not in {"_runs", "_index", "_copied"}}
        return {**kept, "_copied": [{k: v.reshape(-1) for k, v in s.items()} for s in state]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._index = {id(p): i for i, p in enumerate(self.params)}
        self._runs = []

    def update(self, function: Update) -> None:
        """Call ``function(value, grad, state, step)`` on every run; parameters without grad stay.

        ``step`` counts from 1 for each parameter, skipped ones not counted (as in PyTorch). Arrays
        of the state are changed in place, its numbers by assignment to ``state[name]``.
        """
        for run in self.runs():
            for first, last in self._alike(run):
                numbers = [self._index[id(p)] for p in run.params[first:last]]
                for i in numbers:
                    self.steps[i] += 1
                window = slice(run.starts[first], run.starts[last])
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
            or any(p.data is not a for p, a in zip(r.params, r.values, strict=True))
            for r in self._runs
        ):
            old = {
                id(p): {k: v[a:b] for k, v in r.state.items()}
                for r in self._runs
                for p, (a, b) in zip(r.params, pairwise(r.starts), strict=True)
            }
            old |= {id(p): s for p, s in zip(self.params, self._copied, strict=False)}
            self._copied = []
            self._runs = [self._make(params, old) for params in _adjacent(self.params)]
        return self._runs

    def state_of(self, i: int) -> State:
        """Return views of parameter ``i``'s state, in its shape."""
        p = self.params[i]
        for run in self.runs():
            for q, (a, b) in zip(run.params, pairwise(run.starts), strict=True):
                if q is p:
                    return {k: v[a:b].reshape(p.shape) for k, v in run.state.items()}
        raise KeyError(i)

    def _alike(self, run: Run) -> Iterator[tuple[int, int]]:
        """Yield (first, last) of stretches that have gradients and the same step and numbers."""

        def key(i: int) -> tuple[float, ...]:
            number = self._index[id(run.params[i])]
            if run.params[i].grad is None:
                return ()
            return (self.steps[number], *self.scalars[number].values())

        for what, stretch in groupby(range(len(run.params)), key):
            members = list(stretch)
            if what:
                yield members[0], members[-1] + 1

    def _make(self, params: list[Tensor], old: dict[int, State]) -> Run:
        flat = joined([p.data for p in params])
        if flat is None:
            raise ShapeError(
                f"the data of a parameter of shape {params[0].shape} is not contiguous in memory; "
                f"assign a contiguous array"
            )
        starts = [0, *np.cumsum([p.size for p in params]).tolist()]
        state = {k: np.zeros_like(flat) for k in self.names}
        for p, (a, b) in zip(params, pairwise(starts), strict=True):
            for k, v in old.get(id(p), {}).items():
                if k in state:
                    state[k][a:b] = v
        return Run(params, [p.data for p in params], flat, state, starts)


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
                function(p.data, grad, state, self.steps[i])
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
    g = p.grad.data
    if g.shape != p.shape or g.dtype != p.dtype:
        raise ShapeError(
            f"a gradient is {g.dtype} of {g.shape}, its parameter {p.dtype} of {p.shape}; "
            f"assign gradients of the parameter's shape and dtype"
        )
    return g


def _adjacent(params: Sequence[Tensor]) -> list[list[Tensor]]:
    """Group parameters that are consecutive views of one buffer, in the order of addresses."""
    in_memory = sorted(params, key=lambda p: p.data.__array_interface__["data"][0])
    groups: list[list[Tensor]] = []
    for p in in_memory:
        if groups and p.size and joined([groups[-1][-1].data, p.data]) is not None:
            groups[-1].append(p)
        else:
            groups.append([p])
    return groups
