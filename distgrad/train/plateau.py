"""ReduceLROnPlateau as a Trainer's schedule: stepped by what the evaluations say."""

from __future__ import annotations

from distgrad.errors import DistgradError
from distgrad.optim import LRScheduler, ReduceLROnPlateau
from distgrad.train.monitor import Monitor
from distgrad.train.state import TrainState


class Plateau:
    """Steps ``schedule`` after each evaluation, by the number ``name`` of it."""

    whose = "Trainer(schedule=ReduceLROnPlateau(…))"

    def __init__(self, schedule: ReduceLROnPlateau, name: str) -> None:
        self.schedule, self.name = schedule, name

    def look(self, state: TrainState) -> None:
        """Follow the evaluation that was just made."""
        self.schedule.step(state.evaluation[self.name])


def plateau_of(
    schedule: LRScheduler | ReduceLROnPlateau | None, best: Monitor | None
) -> Plateau | None:
    """Return what steps a schedule that follows evaluations; None for one that follows steps.

    It follows what ``best`` names, the loss if nothing is named. Errors: DistgradError if its
    ``mode`` calls good what is bad.
    """
    if not isinstance(schedule, ReduceLROnPlateau):
        return None
    name, good = ("loss", "min") if best is None else (best.name, best.mode or "min")
    if schedule.mode != good:
        raise DistgradError(
            f"{Plateau.whose} has mode={schedule.mode!r} and follows '{name}', of which the best "
            f"is the {good}: say ReduceLROnPlateau(mode={good!r}), or name another number of the "
            f"evaluations with best= and best_mode={schedule.mode!r}"
        )
    return Plateau(schedule, name)
