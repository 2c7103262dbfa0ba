"""The table at the end of a training, as rows of words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from distgrad.observe import TimeSplit
from distgrad.observe.durations import spell_seconds
from distgrad.observe.terminal import Row, Status, distgrad_command, resuming
from distgrad.observe.terminal.words import number
from distgrad.train.monitor import Monitor
from distgrad.train.state import TrainState


class Evaluations:
    """The last evaluation of a training and its best: the one of ``best``, or the lowest loss.

    After ``done`` steps of an earlier start ``best`` knows of that one's, and the loss does not.
    """

    def __init__(self, best: Monitor | None, done: int) -> None:
        name, mode = ("loss", None) if best is None else (best.name, best.mode)
        self._monitor = Monitor("the table at the end", name, mode)
        self.last: tuple[int, Mapping[str, float]] | None = None
        self.best: tuple[int, Mapping[str, float]] | None = None
        self.since = f" (since step {done})" if done and best is None else ""
        """What is to be said of the best one, as it may not be the best of all."""
        if best is not None and best.step:
            self._monitor.load_state_dict(best.state_dict())
            self.best = best.step, {name: best.value}

    def hear(self, state: TrainState) -> None:
        """Take note of one."""
        self.last = (state.evaluation_step, dict(state.evaluation))
        if self._monitor.look(state):
            self.best = self.last


def rows(
    state: TrainState,
    status: Status,
    evaluations: Evaluations,
    *,
    seconds: float,
    steps: int,
    split: TimeSplit | None,
    folder: str | None,
    run: str | None,
) -> list[Row]:
    """Return what a training of ``steps`` steps in ``seconds`` is to be remembered for.

    ``folder`` is where it was saved, ``run`` its run folder; None leaves that out.
    """
    found = [Row("training", f"{_numbers(status.numbers)} (means of epoch {status.epoch})")]
    if evaluations.last is not None:
        found.append(Row("validation", _evaluation(evaluations.last)))
    if evaluations.best is not None and evaluations.best is not evaluations.last:
        found.append(Row("best", _evaluation(evaluations.best) + evaluations.since))
    speed = f"{number(state.samples_per_second)} samples/s"
    found.append(Row("took", f"{spell_seconds(seconds)} for {steps} steps, {speed}"))
    if split is not None and (said := split.summary()):
        found.append(Row("time", said.removeprefix("time: ")))
    if folder is not None:
        found.append(Row("saved", f"step {state.step}, in {folder}"))
        if command := resuming():
            found.append(Row("resume", command, command=True))
        else:
            found.append(Row("resume", "with fit(resume=True)"))
    if run is not None:
        command = f"{distgrad_command()} report {shlex.quote(run)}"
        found.append(Row("look at it", command, command=True))
    return found


def _evaluation(found: tuple[int, Mapping[str, float]]) -> str:
    step, numbers = found
    return f"{_numbers(numbers)} at step {step}"


def _numbers(found: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {number(value)}" for name, value in found.items())
