"""Schedules made of schedules: one after the other, or all at once."""

from __future__ import annotations

from collections.abc import Sequence

from distgrad.errors import ShapeError
from distgrad.optim.cycle import SWALR
from distgrad.optim.optimizer import Optimizer
from distgrad.optim.schedule import LRScheduler


class SequentialLR(LRScheduler):
    """Schedules one after the other: the next begins at each milestone, counting from its start."""

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        _check_parts("SequentialLR", optimizer, schedulers)
        if len(milestones) != len(schedulers) - 1:
            raise ShapeError(
                f"SequentialLR: {len(schedulers)} schedules need {len(schedulers) - 1} milestones; "
                f"got {len(milestones)}"
            )
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        super().__init__(optimizer, last_epoch)

    def lrs(self, step: int, bases: Sequence[float]) -> list[float]:
        """Return the values of the schedule in force, for this schedule's own bases."""
        i, start = self._in_force(step)
        if i and isinstance(self.schedulers[i], SWALR):  # it starts from what it finds
            bases = self.lrs(start - 1, bases)
        return self.schedulers[i].lrs(step - start, bases)

    def momenta(self, step: int) -> list[float] | None:
        """Return those of the schedule in force."""
        i, start = self._in_force(step)
        return self.schedulers[i].momenta(step - start)

    def _in_force(self, step: int) -> tuple[int, int]:
        i = sum(step >= m for m in self.milestones)
        return i, self.milestones[i - 1] if i else 0


class ChainedScheduler(LRScheduler):
    """All at once: each schedule takes what those before it say for its base.

    Schedules that multiply (all but the cosines with ``eta_min``, cycles and SWALR) give what
    PyTorch's gives, in any order.
    """

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        if not schedulers:
            raise ShapeError("ChainedScheduler needs at least one schedule")
        optimizer = optimizer or schedulers[0].optimizer
        _check_parts("ChainedScheduler", optimizer, schedulers)
        self.schedulers = list(schedulers)
        super().__init__(optimizer)

    def lrs(self, step: int, bases: Sequence[float]) -> list[float]:
        """Return the bases, passed through all schedules."""
        found = list(bases)
        for schedule in self.schedulers:
            found = schedule.lrs(step, found)
        return found

    def momenta(self, step: int) -> list[float] | None:
        """Return those of the last schedule that has some."""
        found = [m for s in self.schedulers if (m := s.momenta(step)) is not None]
        return found[-1] if found else None


def _check_parts(who: str, optimizer: Optimizer, schedulers: Sequence[LRScheduler]) -> None:
    if not schedulers:
        raise ShapeError(f"{who} needs at least one schedule")
    for s in schedulers:
        if not isinstance(s, LRScheduler):
            raise ShapeError(f"{who} cannot step a {type(s).__name__}; step it by itself")
        if s.optimizer is not optimizer:
            raise ShapeError(f"{who}: {type(s).__name__} was made for another optimizer")
