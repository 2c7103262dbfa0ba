"""What a training tells of itself while it runs, and to whom: the one place that knows both."""

from __future__ import annotations

from contextlib import ExitStack

from distgrad.observe import Progress, TimeSplit
from distgrad.parallel import DistributedDataParallel
from distgrad.train.clock import Clock
from distgrad.train.record import Record
from distgrad.train.state import TrainState


class Watch:
    """Those who hear of a training's steps: the terminal, the run folder, what splits its time.

    ``with watch:`` around the steps, on every rank; rank 0's terminal shows something if it is
    ``visible``. ``total`` is how many steps there will be at most, ``done`` how many there were.
    """

    def __init__(
        self,
        ddp: DistributedDataParallel,
        *,
        visible: bool,
        total: int | None,
        done: int,
        record: Record | None = None,
    ) -> None:
        self.record = record
        self.clock = Clock()
        self.bar = Progress(visible=visible, total=total, done=done)
        # Simulated ranks take turns: the time of one is the others' waiting.
        timed = ddp.world.size == 1 or ddp.world.comm.transport.timed
        self.split = TimeSplit(ddp, say=self.bar.say if visible else None) if timed else None

    def __enter__(self) -> Watch:
        with ExitStack() as stack:
            if self.record is not None:  # left last: it hears the last comparison of times
                stack.enter_context(self.record.following(self.split))
            stack.enter_context(self.bar)
            if self.split is not None:
                stack.enter_context(self.split)
            self._entered = stack.pop_all()
        self.clock = Clock(self.split)  # it starts with the steps
        return self

    def __exit__(self, *error: object) -> None:
        self._entered.__exit__(*error)  # type: ignore[arg-type]

    def step(self, state: TrainState) -> None:
        """Hear of a step."""
        self.bar.step(state.epoch, _shown(state))
        if self.record is not None:
            self.record.step(state, self.clock)

    def evaluated(self, state: TrainState) -> None:
        """Hear of an evaluation within the training."""
        shown = ", ".join(f"{k} {v:.4f}" for k, v in state.evaluation.items())
        self.bar.say(f"step {state.step}: {shown}")
        if self.record is not None:
            self.record.evaluated(state)

    def ended(self, state: TrainState) -> None:
        """Say where the time went, once the block is left without an error."""
        if self.split is not None and (said := self.split.summary()):
            self.bar.say(said)


def _shown(state: TrainState) -> dict[str, float]:
    numbers = {"loss": state.loss, **state.metrics, "|g|": state.gradient_norm}
    if state.skipped:
        numbers["skipped"] = state.skipped
    return {**numbers, "samples/s": state.samples_per_second}
