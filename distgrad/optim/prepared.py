"""An optimizer's step as moves of long arrays that are known beforehand: see ``capture``.

Each time it is asked whether the step would make the same moves, now with which numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from contextlib import suppress
from operator import is_
from typing import Any

import numpy as np

from distgrad.autograd.types import Array
from distgrad.optim.flat import FlatParameters
from distgrad.optim.hooks import is_hooked
from distgrad.optim.optimizer import Group, Optimizer, numbers_of
from distgrad.optim.run import Run
from distgrad.optim.update import Formula, Unmoved

step_of_all = Optimizer.step.__wrapped__  # type: ignore[attr-defined]
"""The function that a recorder is told of for an optimizer that has no ``step`` of its own."""
_STRANGE = (TypeError, AttributeError, ValueError, LookupError, ArithmeticError)
"""What an update raises that does with an Unmoved what is for arrays alone."""
_AHEAD = 16
"""Steps whose numbers are found together: one at a time each would find cold caches."""


class Move:
    """(value, *state) = formula(value, numbers[0] * grad, *state, *numbers[1:]), by element.

    It is what the optimizer's update says of a run of parameters that lie side by side.
    """

    def __init__(self, store: FlatParameters, run: Run, optimizer: Optimizer, group: Group) -> None:
        """Errors: TypeError for what is more than a move, or as the update raises."""
        self.store, self.run = store, run
        dtype = run.value.dtype
        if dtype.kind != "f":
            raise TypeError("complex numbers, which move as real ones")
        self._value, self._grad = Unmoved(dtype), Unmoved(dtype)
        self._arrays: dict[str, Any] = {name: Unmoved(dtype) for name in run.state}
        self._step = 0
        self._state: dict[str, Any] = self._arrays
        self._before: Mapping[str, float] = {}
        step = store.steps[run.numbers[0]] + 1
        self.formula, self._order, numbers = self._asked(optimizer, group, step)
        self.numbers = np.empty(len(numbers), dtype)
        """Of the dtype of the value, and where ``ready`` leaves those of the step to come."""
        self._pack: Any = struct.Struct(f"={len(numbers)}{dtype.char}").pack_into
        self._ahead: dict[int, tuple[float, ...]] = {}
        """The numbers of steps to come, as long as the settings stay."""

    @property
    def arrays(self) -> list[Array]:
        """The value, the gradient, and the arrays of the state in the formula's order."""
        names = [next(n for n, a in self._arrays.items() if a is x) for x in self._order]
        gradient = self.run.gradient
        assert gradient is not None
        return [self.run.value, gradient, *[self.run.state[name] for name in names]]

    def ready(self, optimizer: Optimizer, group: Group, steady: bool) -> bool:
        """Find the numbers of the step to come; False if it is another move.

        The settings are ``steady`` if they are those of the call before.
        """
        if self.run.sharding is not None or not self.store.is_alike(self.run):
            return False
        if not steady:
            self._ahead.clear()
        step = self.store.steps[self.run.numbers[0]] + 1
        numbers = self._ahead.pop(step, None)
        try:
            if numbers is None:
                numbers = self._found(optimizer, group, step, _AHEAD if steady else 1)
            if numbers is None:
                return False
            self._pack(self.numbers, 0, *numbers)
        except _STRANGE:
            return False  # if it is wrong, the step itself says so
        self._step = step
        return True

    def _found(
        self, optimizer: Optimizer, group: Group, step: int, count: int
    ) -> tuple[float, ...] | None:
        """Return a step's numbers, None if it is another move, and keep those of the next ones."""
        formula, order, numbers = self._asked(optimizer, group, step)
        if formula is not self.formula or order != self._order:
            return None
        known = self._value.later
        if known is not None:
            with suppress(*_STRANGE):  # of a later step, which says so itself
                for later in range(step + 1, step + count):
                    self._ahead[later] = (numbers[0], *known(later))
        return numbers

    def done(self) -> None:
        """Count the step, which has been taken."""
        self.store.count_steps(self.run.numbers, self._step, self._state, self._before)

    def _asked(
        self, optimizer: Optimizer, group: Group, step: int
    ) -> tuple[Formula, Any, tuple[float, ...]]:
        self._before = self.store.scalars[self.run.numbers[0]]
        self._state = self._arrays | self._before if self._before else self._arrays
        value, grad = self._value, self._grad
        value.moves.clear()
        if group.get("maximize") and not optimizer.maximizes:
            raise TypeError("a gradient with another sign is another array")
        optimizer.update(value, grad, self._state, step, group)  # type: ignore[arg-type]
        if len(value.moves) != 1 or value.moves[0][1] is not grad:
            raise TypeError("more than one move")
        formula, _, order, numbers = value.moves[0]
        return formula, order, numbers


class PreparedStep:
    """The moves of ``optimizer``, whose parameters all get their gradients at their places."""

    def __init__(self, optimizer: Optimizer) -> None:
        """Errors: TypeError for a step that is more than moves of long arrays."""
        self.optimizer = optimizer
        self._groups: list[tuple[FlatParameters, list[Run], list[Move]]] = []
        self._seen: list[list[Any]] = [[] for _ in optimizer.param_groups]
        """What was in the groups at the last step; not of one with Tensors, which may change."""
        listeners = {p._listener for group in optimizer.param_groups for p in group["params"]}
        self._listeners: set[Any] = listeners - {None}  # a program fits these alone
        # A user's update may count its calls: it is not called but for a step.
        if not type(optimizer).__module__.startswith("distgrad."):
            raise TypeError("an optimizer of the user's")
        for group, store in zip(optimizer.param_groups, optimizer._stores, strict=True):
            if not isinstance(store, FlatParameters):
                raise TypeError("whole parameters")
            runs = store.runs()
            for run in runs:
                if run.sharding is not None or run.gradient is None or not store.is_alike(run):
                    raise TypeError("parameters that do not move as one array")
            settings = numbers_of(group)
            moves = [Move(store, run, optimizer, settings) for run in runs]
            self._groups.append((store, runs, moves))

    @property
    def moves(self) -> list[Move]:
        """All of them."""
        return [move for _, _, moves in self._groups for move in moves]

    def ready(self, in_place: bool = False) -> bool:
        """Find the numbers of the step to come; False if the step itself has to be called.

        Whether all arrays are ``in_place``, as they were at the step before, is known or looked at.
        """
        optimizer = self.optimizer
        if is_hooked(optimizer) or len(optimizer.param_groups) != len(self._groups):
            return False
        for i, group in enumerate(optimizer.param_groups):
            store, runs, moves = self._groups[i]
            settings, before = group, self._seen[i]
            steady = len(before) == len(group) and all(map(is_, group.values(), before))
            if not steady:
                store.names = optimizer.state_names(group)
                settings = numbers_of(group)
                self._seen[i] = [*group.values()] if settings is group else []
            known = in_place and steady and store._runs is runs
            if not known and store.runs() is not runs:  # they have moved
                return False
            for move in moves:
                if not move.ready(optimizer, settings, steady):
                    return False
        return True

    def done(self) -> None:
        """Count the step, which has been taken, and tell who listens."""
        for _, _, moves in self._groups:
            for move in moves:
                move.done()
        if not self.optimizer._inside:
            for listener in self._listeners:
                listener.optimizer_stepped(self.optimizer)
