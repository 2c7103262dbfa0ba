"""Parameters that are updated one by one, each in its own shape: matrices, norms, factors.

Of those that ranks share out each is moved by one rank, which alone keeps its state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.flat import held, own_window, place_of, sharding_of
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.optim.flat import Update, bring_back, refuse_others, refuse_parts
from distgrad.optim.run import State, gradient_of


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
        self._made: list[list[str]] = [[] for _ in self.params]  # the names that were asked for
        self._elsewhere = [False] * len(self.params)  # whether another rank has the state

    def update(self, function: Update) -> None:
        """Call ``function(value, grad, state, step)`` on every parameter that has a gradient.

        All are contiguous, so that sums over them do not depend on where they came from.
        """
        bring_back(self.params)
        for i, p in enumerate(self.params):
            if p.grad is None:
                continue
            self.steps[i] += 1
            sharding = sharding_of(p)
            if sharding is not None:
                sharding.settle()
                if not _is_own(p):
                    self._state[i], self._made[i], self._elsewhere[i] = {}, [], True
                    continue
            state = {**self._own_state(i), **self.scalars[i]}
            grad = np.asarray(gradient_of(p), order="C")
            if p.size:
                own = _own_array(p)
                value = np.asarray(own, order="C")  # what is transposed is not the rule
                function(value, grad, state, self.steps[i])
                if value is not own:
                    own[...] = value
            self.scalars[i] = {k: state[k] for k in self.scalars[i]}

    def state_of(self, i: int) -> State:
        """Return parameter ``i``'s state arrays. Errors: GradError if they are on other ranks."""
        if sharding_of(self.params[i]) is not None:
            refuse_parts()
        return self._own_state(i)

    def whole_state(self) -> list[State]:
        """Return every parameter's state; collective where ranks share parameters out."""
        found: list[State] = []
        for i, p in enumerate(self.params):
            place = place_of(p)
            if place is None or place.buffer.sharding is None:
                found.append(self._own_state(i))
                continue
            own = self._own_state(i) if _is_own(p) else {}
            shapes = {name: self._shape_of(name, p.shape) for name in self.names}
            whole = {
                name: np.array(own.get(name, np.empty(shape, p.dtype)))
                for name, shape in shapes.items()
                if shape is not None
            }
            numbers = np.array([*self.scalars[i].values()])
            for array in (*whole.values(), numbers):
                place.buffer.sharding.send_(array, place.slot)
            self.scalars[i] = dict(zip(self.scalars[i], numbers.tolist(), strict=True))
            found.append(whole)
        return found

    def fill_state(self, i: int, entry: Mapping[str, Any] | None) -> None:
        """Let ``entry``, of whole arrays, be parameter ``i``'s state; zeros if there is none."""
        self._state[i], self._made[i] = {}, []
        self._elsewhere[i] = not _is_own(self.params[i])
        if not self._elsewhere[i]:
            for name, view in self._own_state(i).items():
                view[...] = np.asarray(entry[name]) if entry else 0

    def _own_state(self, i: int) -> State:
        """Return parameter ``i``'s state arrays, made on first use.

        Errors: GradError if another rank had them, before the parameters were shared otherwise.
        """
        if self._elsewhere[i]:
            refuse_others()
        p, state = self.params[i], self._state[i]
        if self._made[i] != self.names:
            for name in self.names:
                shape = self._shape_of(name, p.shape)
                if shape is not None and name not in state:
                    state[name] = np.zeros(shape, p.dtype)
            self._made[i] = [*self.names]
        return {name: state[name] for name in self.names if name in state}


def _is_own(p: Tensor) -> bool:
    """Whether this rank moves all of ``p``."""
    place = place_of(p)
    if place is None or place.buffer.sharding is None:
        return True
    window = own_window(place.buffer.sharding, place.slot)
    return bool(window.stop - window.start == place.value.size)


def _own_array(p: Tensor) -> Array:
    """Return the memory of a parameter, to be written to."""
    place = place_of(p)
    return held(p) if place is None else place.slot.view(place.buffer.values)
