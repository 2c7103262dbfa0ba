"""Runs an update function over as few, as long arrays as the parameters' memory allows.

Parameters that lie side by side in a buffer (a bucket of the bridge, or the buffer the optimizer
makes itself) are updated as one array. Knows no formula and no rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from distgrad.autograd.flat import bind_, joined
from distgrad.autograd.tensor import Array, Tensor
from distgrad.errors import ShapeError

State = dict[str, Array]


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
        members = self.params[first:last]
        grads = [p.grad.data for p in members if p.grad is not None]
        for p, g in zip(members, grads, strict=True):
            if g.shape != p.shape or g.dtype != p.dtype:
                raise ShapeError(
                    f"a gradient is {g.dtype} of {g.shape}, its parameter {p.dtype} of {p.shape}; "
                    f"assign gradients of the parameter's shape and dtype"
                )
        flat = joined(grads)
        if flat is None:
            if self.scratch is None:
                self.scratch = np.empty_like(self.value)
            flat = self.scratch[self.starts[first] : self.starts[last]]
            np.concatenate([g.reshape(-1) for g in grads], out=flat)
        return flat


class FlatParameters:
    """The parameters of one group as runs; laid out again whenever their memory has moved."""

    def __init__(self, params: Sequence[Tensor], state_names: Sequence[str]) -> None:
        self.params = list(params)
        self.names = list(state_names)
        self.steps = [0] * len(self.params)
        self._index = {id(p): i for i, p in enumerate(self.params)}
        self._runs: list[Run] = []
        flatten_(self.params)

    def update(self, function: Callable[[Array, Array, State, int], Any]) -> None:
        """Call ``function(value, grad, state, step)`` on every run; parameters without grad stay.

        ``step`` counts from 1 for each parameter, skipped ones not counted (as in PyTorch).
        """
        for run in self.runs():
            for first, last in self._alike(run):
                for p in run.params[first:last]:
                    self.steps[self._index[id(p)]] += 1
                window = slice(run.starts[first], run.starts[last])
                step = self.steps[self._index[id(run.params[first])]]
                state = {k: v[window] for k, v in run.state.items()}
                function(run.value[window], run.gradient(first, last), state, step)

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
        """Yield (first, last) of stretches that have gradients and are at the same step."""

        def key(i: int) -> int:
            p = run.params[i]
            return -1 if p.grad is None else self.steps[self._index[id(p)]]

        for step, stretch in groupby(range(len(run.params)), key):
            members = list(stretch)
            if step >= 0:
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
