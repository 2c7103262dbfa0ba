"""What a training tells of itself while it runs, and to whom: the one place that knows both."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext

from distgrad.data import Batch, DataLoader
from distgrad.observe import Progress, TimeSplit
from distgrad.observe.evaluation import evaluation
from distgrad.parallel import DistributedDataParallel
from distgrad.train import summary
from distgrad.train.clock import Clock
from distgrad.train.monitor import Monitor
from distgrad.train.record import Record
from distgrad.train.signals import STOPS
from distgrad.train.state import TrainState


class Watch:
    """Those who hear of a training's steps: the terminal, the run folder, what splits its time.

    ``with watch:`` around the steps, on every rank; rank 0's terminal shows something if it is
    ``visible``. ``total`` is how many steps there will be at most, ``done`` how many there were,
    ``per_epoch`` how many make an epoch; ``folder`` is that of the checkpoints,
    ``best`` what makes an evaluation the best one.
    """

    def __init__(
        self,
        ddp: DistributedDataParallel,
        *,
        visible: bool,
        total: int | None,
        done: int,
        per_epoch: int,
        folder: str | None,
        best: Monitor | None = None,
        record: Record | None = None,
    ) -> None:
        rank = ddp.world.rank
        self.record = record
        self.clock = Clock()
        self.bar = Progress(rank=rank, total=total, done=done, per_epoch=per_epoch, visible=visible)
        self._tells = visible and rank == 0
        self.say: Callable[[str], None] = self.bar.say if visible else ddp.world.print
        """Shows a message, on rank 0."""
        # Simulated ranks take turns: the time of one is the others' waiting.
        timed = ddp.world.size == 1 or ddp.world.comm.transport.timed
        self.split = TimeSplit(ddp, say=self.bar.say if self._tells else None) if timed else None
        self._evaluations = summary.Evaluations(best, done)
        self._folder, self._done = folder, done
        self.inside = False
        """Whether the steps are under way."""

    def __enter__(self) -> Watch:
        with ExitStack() as stack:
            if self.record is not None:  # left last: it hears the last comparison of times
                stack.enter_context(self.record.following(self.split))
            stack.enter_context(self.bar)
            if self.split is not None:
                stack.enter_context(self.split)
            self._entered = stack.pop_all()
        self.clock = Clock(self.split)  # it starts with the steps
        self.inside = True
        return self

    def __exit__(self, *error: object) -> None:
        self.inside = False
        self._entered.__exit__(*error)  # type: ignore[arg-type]

    def step(self, state: TrainState) -> None:
        """Hear of a step."""
        numbers = {"loss": state.loss, **state.metrics, "gradient_norm": state.gradient_norm}
        rate = state.samples_per_second
        self.bar.step(state.epoch, numbers, rate=rate, skipped=state.skipped)
        if self.record is not None:
            self.record.step(state, self.clock)

    def evaluated(self, state: TrainState) -> None:
        """Hear of an evaluation within the training."""
        self._evaluations.hear(state)
        self.bar.evaluated(state.evaluation)
        if self.record is not None:
            self.record.evaluated(state)

    def ended(self, state: TrainState) -> None:
        """Sum up the training, once the block is left without an error."""
        steps = state.step - self._done
        if not steps or not self._tells:
            return
        rows = summary.rows(
            state,
            self.bar.status(),
            self._evaluations,
            seconds=self.clock.seconds,
            steps=steps,
            split=self.split,
            # Where a signal has ended it, that says what was saved.
            folder=None if state.stopped in STOPS.values() else self._folder,
            run=None if self.record is None else str(self.record.run.folder),
        )
        self.bar.table(f"stopped at step {state.step}: {state.stopped}", rows)


def evaluation_of(
    loader: DataLoader, watch: Watch | None, rank: int, *, visible: bool
) -> AbstractContextManager[Iterable[Batch]]:
    """Return the context that gives an evaluation's batches, and shows it if it takes long.

    That is in the live line of the training that ``watch`` is of, if it is under way.
    """
    try:
        total: int | None = len(loader)
    except TypeError:  # a stream's
        total = None
    if watch is not None and watch.inside:
        return nullcontext(watch.bar.evaluating(loader.whole(), total))
    return evaluation(loader.whole(), total, rank=rank, visible=visible)
