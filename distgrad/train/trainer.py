"""The Trainer: the bare loop of the README with progress, evaluation, checkpoints and stopping."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Annotated, Any, TypeAlias

from distgrad.arguments import checked
from distgrad.autograd.tensor import Tensor
from distgrad.capture import capture as record
from distgrad.data import Batch, DataLoader
from distgrad.errors import DistgradError
from distgrad.kinds import Integer, Kind, Positive, Steps, Times, number, whole
from distgrad.nn import Module
from distgrad.observe import Progress, Run, TimeSplit
from distgrad.observe.run.layout import checkpoints_of
from distgrad.optim import LRScheduler, Optimizer, ReduceLROnPlateau, clip_grad_norm_
from distgrad.parallel import DistributedDataParallel, ShardSum, current_shard
from distgrad.parallel.agreement import EVERY, settings_of
from distgrad.parallel.ddp import BucketMB
from distgrad.parallel.nonfinite import Nonfinite
from distgrad.parallel.reducer import Reduction
from distgrad.parallel.zero import ZeroStage
from distgrad.tracing import traced
from distgrad.train import checkpoints
from distgrad.train.clock import Clock
from distgrad.train.evaluation import check_order, means, predictions
from distgrad.train.lr_find import LRFind, lr_find
from distgrad.train.metrics import Metric, measured, named
from distgrad.train.monitor import Mode, Monitor
from distgrad.train.parts import Parts, Stateful, Weights, check_also_saved
from distgrad.train.plateau import plateau_of
from distgrad.train.record import check_names, learning_rate, record_of
from distgrad.train.signals import StopRequests
from distgrad.train.state import TrainState
from distgrad.train.stop import Criteria, StopCriterion
from distgrad.train.watch import Watch, evaluation_of

# Shapes of shards: two lengths in a whole batch, two in the last one, and as many again where
# sequences are cut.
_PROGRAMS = 16
Loader: TypeAlias = Annotated[
    DataLoader, Kind("a distgrad.data.DataLoader", lambda v: hasattr(v, "batches"))
]


class Trainer:
    """Trains ``model`` on every rank of the current world.

    ``loss_fn(model(*inputs), target)`` is the mean loss over a shard of samples, or with
    ``reduction="sum"`` the sum; a sample is (inputs…, target). ``metrics`` are summed over
    samples. ``clip_norm`` is the largest gradient norm, or a function that clips the
    parameters' gradients (``optim.AutoClip()``, ``optim.adaptive_clip_grad_``). ``schedule`` is
    stepped after each step; a ReduceLROnPlateau after each evaluation, by its loss or by what
    ``best`` names. ``nonfinite``
    says what happens to a NaN or infinite loss or gradient: "raise" names rank, step and shard;
    "skip" leaves the step out on all ranks; "continue" goes on (as in DistributedDataParallel).
    ``checkpoint`` is a folder, written ``every`` so many steps and at the end, of which the
    newest ``keep`` stay; ``best`` names what of the evaluations decides which one stays, too, in
    its folder ``best``: "loss", or a metric with ``best_mode`` "max" or "min" (``load_best`` takes
    its weights); ``also_saved`` are objects of yours that belong into it, by name: an
    average of the weights, a second optimizer, a communication hook's state, whatever has
    ``state_dict`` (called on every rank; ``gather`` of what differs between ranks) and
    ``load_state_dict``. ``run`` is a folder for all that the training leaves (docs/run-folder.md),
    with a line of metrics every ``log_every`` steps; ``checkpoint`` is then ``checkpoints`` in it.
    ``callbacks`` are called with the TrainState after each step, on every rank.
    ``progress=False`` shows nothing of it (docs/terminal.md). Ctrl-C, SIGTERM and SIGUSR1 end
    ``fit`` after the step, with a last checkpoint.
    ``zero`` shares out what moves the parameters, with the same bits (as in
    DistributedDataParallel): a checkpoint resumes under any other stage and number of ranks.
    ``capture`` records forward and backward once for each shape of a shard and replays them, with
    the same bits (``dg.capture``, which says what model and loss then cannot do).
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss_fn: Callable[[Tensor, Any], Tensor],
        *,
        schedule: LRScheduler | ReduceLROnPlateau | None = None,
        clip_norm: Positive | Callable[[Iterable[Tensor]], object] | None = None,
        metrics: Mapping[str, Metric] | None = None,
        nonfinite: Nonfinite = "raise",
        checkpoint: str | None = None,
        every: Times = 0,
        keep: Steps = 3,
        best: str | None = None,
        best_mode: Mode | None = None,
        also_saved: Mapping[str, Stateful] | None = None,
        run: str | os.PathLike[str] | Run | None = None,
        log_every: Steps = 10,
        callbacks: Sequence[Callable[[TrainState], None]] = (),
        progress: bool = True,
        bucket_mb: BucketMB | None = None,
        algorithm: str | None = None,
        reduction: Reduction = "mean",
        check_every: Times = EVERY,
        zero: ZeroStage = 0,
        capture: bool = False,
    ) -> None:
        self.reduction = reduction
        self.model, self.optimizer, self.loss_fn = model, optimizer, loss_fn
        self.schedule, self.clip_norm = schedule, clip_norm
        self.metrics = dict(metrics or {})
        run = Run(run) if isinstance(run, str | os.PathLike) else run
        self.run = run if run is not None and run.kept else None
        """What the training leaves in a folder, if one was asked for."""
        self.log_every = log_every
        if self.run is not None:
            check_names(self.metrics)
            self.run.model = self.run.model or model
            checkpoint = checkpoint or str(checkpoints_of(self.run.folder))
        self.checkpoint, self.every, self.keep = checkpoint, every, keep
        if best is not None and checkpoint is None:
            raise DistgradError(f"best={best!r} needs the folder: Trainer(run=…) or (checkpoint=…)")
        self.best = None if best is None else Monitor("Trainer(best=)", best, best_mode)
        """The best evaluation so far, if one was asked for."""
        self._plateau = plateau_of(schedule, self.best)
        self.also_saved = check_also_saved(also_saved or {})
        self.callbacks = list(callbacks)
        self.ddp = DistributedDataParallel(
            model,
            bucket_mb=bucket_mb,
            algorithm=algorithm,
            nonfinite=nonfinite,
            reduction=reduction,
            check_every=check_every,
            zero=zero,
        )
        self.ddp.agreement.sources.append(self._settings)
        self.world = self.ddp.world
        self.state = TrainState()
        self.time_split: TimeSplit | None = None
        """Where the time of the last ``fit`` went; it is said at the end."""
        self._visible = progress
        self._watch: Watch | None = None
        self._requests = StopRequests(self.world)
        learn: Callable[..., tuple[Tensor, Tensor]] = self._forward_and_backward
        self._learn = record(learn, most=_PROGRAMS) if capture else learn

    @checked
    def fit(
        self,
        loader: Loader,
        *,
        epochs: Times | None = None,
        max_steps: Times | None = None,
        evaluate: Loader | None = None,
        evaluate_every: Times | None = None,
        stop: Sequence[StopCriterion] = (),
        resume: bool = False,
    ) -> TrainState:
        """Train until a criterion says stop; evaluate after each epoch or every so many steps.

        With ``resume`` the newest valid checkpoint is continued, if there is one. ``stopped`` says
        why it ended: a criterion, or the signal that came.
        Errors: Interrupted after a Ctrl-C, on all ranks; DistgradError if nothing would ever stop
        it, or for one loader that trains and evaluates; NonFiniteError; CheckpointError.
        """
        if evaluate is loader:
            raise DistgradError(
                "fit(loader, evaluate=loader): one loader cannot train and evaluate, which would "
                "move each other's place in the data; make a second DataLoader over the same data"
            )
        evaluated = evaluate is not None
        for asked in (self.best, self._plateau):
            if asked is not None and not evaluated:
                raise DistgradError(
                    f"{asked.whose} looks at evaluations, and there would be none: pass "
                    f"evaluate=loader to fit"
                )
        criteria = Criteria(stop, epochs=epochs, max_steps=max_steps, evaluated=evaluated)
        parts = self._parts(loader, criteria)
        checkpoints.begin(self.world, self.checkpoint, parts, resume=resume, step=self.state.step)
        total = criteria.most_steps(len(loader))
        watch = self._watch = Watch(
            self.ddp,
            visible=self._visible,
            total=total,
            done=self.state.step,
            per_epoch=len(loader),
            folder=self.checkpoint,
            best=self.best,
            record=record_of(self, loader, total, resume),
        )
        self.time_split = watch.split
        self.model.train()
        with self._requests.awaited():
            with watch:
                self._run(loader, criteria, parts, watch, evaluate, evaluate_every)
            watch.ended(self.state)
            self._requests.end(self.state, self.checkpoint, watch.say)
        return self.state

    def step(self, batch: Batch, clock: Clock | None = None) -> None:
        """Train on one global batch: forward, backward and reduction, clipping, update."""
        self.optimizer.zero_grad()
        meters = ("seconds", "busy", *self._requests.names)
        sums = ShardSum(self.world, "loss", *meters, *map(named, self.metrics))
        for sample in batch.shards:
            output, loss = self._learn(*sample)
            position = current_shard()
            mean = self.reduction == "mean" and position is not None
            weight = position.weight if mean and position is not None else 1.0
            metrics = measured(self.metrics, output, sample[-1], batch.total)
            sums.add(loss=weight * float(loss), **metrics)
        # Rank 0's clock is everyone's; a signal on any rank is heard by all.
        if clock is not None and self.world.rank == 0:
            sums.add(seconds=clock.seconds, busy=clock.seconds - clock.lost)
        sums.add(**self._requests.own())
        found = sums.result()
        self._requests.hear(found)
        state = self.state
        state.loss, state.seconds, busy = found["loss"], found["seconds"], found["busy"]
        state.metrics = {name: found[named(name)] for name in self.metrics}
        state.gradient_norm = self._clip()
        if self.ddp.left_out:
            state.skipped += 1
        else:
            self.optimizer.step()
        state.learning_rate = learning_rate(self.optimizer)
        if not isinstance(self.schedule, ReduceLROnPlateau | None):
            self.schedule.step()
        state.step += 1
        if clock is not None:
            clock.samples += batch.total
            state.samples_per_second = clock.samples / max(busy, 1e-9)

    @traced("evaluation")
    @checked
    def evaluate(self, loader: Loader) -> dict[str, float]:
        """Return the mean loss and metrics over all samples of ``loader``, in evaluation mode.

        Call it on every rank: each computes its shards, all get the same numbers. A loader that was
        left half-way is read whole, and stays where it was.
        """
        with self._shown(loader) as batches:
            return means(self.ddp, batches, self.loss_fn, self.metrics, self.reduction)

    @traced("evaluation")
    @checked
    def predict(self, loader: Loader, *, inputs: Integer | None = None) -> Any:
        """Return the model's outputs for all samples of ``loader``, in its order, on every rank.

        Arrays of as many rows as there are samples, in the structure that the model returns, in
        evaluation mode. A sample is (inputs…, target), of which the target is not looked at, or one
        input alone; ``inputs`` is how many they are otherwise. Call it on every rank.
        Errors: DistgradError for a loader that shuffles, or outputs that no array can hold.
        """
        check_order(loader)
        with self._shown(loader) as batches:
            return predictions(self.ddp, batches, inputs)

    def _shown(self, loader: DataLoader) -> AbstractContextManager[Iterable[Batch]]:
        return evaluation_of(loader, self._watch, self.world.rank, visible=self._visible)

    @checked
    def lr_find(
        self,
        loader: Loader,
        *,
        min_lr: Positive = 1e-8,
        max_lr: Positive = 1.0,
        num_training: Annotated[int, whole(2, quotients=True)] = 100,
        early_stop_threshold: Annotated[float, number(1, without=[1])] = 4.0,
    ) -> LRFind:
        """Return the loss at growing learning rates, from ``num_training`` steps that are undone.

        It ends early at ``early_stop_threshold`` times the best loss, or where the loss is not
        finite. ``lr_find(loader).suggestion()`` is a rate to begin with. Call it on every rank,
        before ``fit``. Of several groups of parameters the first has the rate, and the others keep
        their ratio to it. Source: Smith 2017, "Cyclical learning rates", section 3.3; the names
        are Lightning's. Errors: DistgradError for limits that are none.
        """
        parts, schedule = self._parts(loader), self.schedule
        bar = Progress(rank=self.world.rank, total=num_training, visible=self._visible)
        self.schedule = None  # it would set the rate
        try:
            return lr_find(
                *(self.step, self.optimizer, self.state, loader, parts, bar),
                min_lr=min_lr,
                max_lr=max_lr,
                num_training=num_training,
                early_stop_threshold=early_stop_threshold,
            )
        finally:
            self.schedule = schedule

    def load_best(self) -> str:
        """Give the model the weights of the best evaluation; return its checkpoint's name.

        Call it on every rank. Errors: DistgradError without ``checkpoint`` or before there is one;
        CheckpointError.
        """
        folder = None if self.checkpoint is None else checkpoints.best_of(self.checkpoint)
        found = "" if folder is None else checkpoints.load_weights(self.world, folder, self.model)
        if not found:
            raise DistgradError(
                f"load_best: there is no checkpoint in {folder}: it takes Trainer(checkpoint=…, "
                f"best=…) and an evaluation"
            )
        return found

    def _forward_and_backward(self, *sample: Any) -> tuple[Tensor, Tensor]:
        *inputs, target = sample
        output = self.model(*inputs)
        loss = self.loss_fn(output, target)
        self.ddp.backward(loss)
        return output, loss

    # -- helpers ------------------------------------------------------------------------------

    def _run(
        self,
        loader: DataLoader,
        criteria: Criteria,
        parts: Parts,
        watch: Watch,
        evaluate: DataLoader | None,
        evaluate_every: int | None,
    ) -> None:
        state, clock = self.state, watch.clock
        over = state.step or criteria.most_steps(len(loader)) == 0
        state.stopped = criteria.check_again(state) if over else ""
        while not state.stopped:
            for batch in loader.batches():
                self.step(batch, clock)
                watch.step(state)
                epoch_over = loader.batch == len(loader)
                state.epoch += epoch_over
                due = state.step % evaluate_every == 0 if evaluate_every else epoch_over
                if evaluate is not None and due:
                    with clock.paused():
                        state.evaluation = self.evaluate(evaluate)
                    state.evaluation_step = state.step
                    watch.evaluated(state)
                    if self._plateau is not None:
                        self._plateau.look(state)
                for callback in self.callbacks:
                    callback(state)
                reason = criteria.check(state)
                state.stopped = self._requests.reason or reason
                self._save_if_due(parts, clock)
                if state.stopped:
                    break

    def _settings(self) -> dict[str, Any]:
        plain = None if callable(self.clip_norm) else self.clip_norm
        own = {"Trainer(clip_norm=)": plain, "Trainer(every=)": self.every}
        return own | settings_of(0, self.optimizer)

    def _clip(self) -> float:
        """Clip the gradients and return their 2-norm before that; NaN if they were left out."""
        if self.ddp.left_out:
            return math.nan
        clip = self.clip_norm
        if not callable(clip):
            return clip_grad_norm_(self.model.parameters(), clip or math.inf)
        norm = clip_grad_norm_(self.model.parameters(), math.inf)
        clip(self.model.parameters())
        return norm

    def _save_if_due(self, parts: Parts, clock: Clock) -> None:
        if self.checkpoint is None:
            return
        best = self.best is not None and self.best.look(self.state)
        due = self.every and self.state.step % self.every == 0
        folders = {checkpoints.best_of(self.checkpoint): 1} if best else {}
        if due or self.state.stopped:
            folders[self.checkpoint] = self.keep
        for folder, keep in folders.items():
            with clock.paused():
                if self.run is not None:  # a resume has all lines up to here
                    self.run.flush()
                checkpoints.save(self.world, folder, self.state.step, parts, keep)

    def _parts(self, loader: DataLoader, criteria: Criteria | None = None) -> Parts:
        """Return all that a step changes, by the names under which it is saved."""
        clip: object = self.clip_norm
        parts: dict[str, Stateful | None] = {
            "model": Weights(self.model),
            "optimizer": self.optimizer,
            "state": self.state,
            "loader": loader,
            "criteria": criteria,
            "schedule": self.schedule,
            "best_evaluation": self.best,
            "clip": clip if isinstance(clip, Stateful) else None,
        }
        return {name: p for name, p in parts.items() if p is not None} | self.also_saved
