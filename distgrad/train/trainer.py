"""The Trainer: the bare loop of the README with progress, evaluation, checkpoints and stopping."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from distgrad.autograd.mode import no_grad
from distgrad.autograd.tensor import Tensor
from distgrad.data import Batch, DataLoader
from distgrad.errors import DistgradError
from distgrad.nn import Module
from distgrad.observe import Progress
from distgrad.optim import AutoClip, LRScheduler, Optimizer, clip_grad_norm_
from distgrad.parallel import DistributedDataParallel, ShardSum, current_shard
from distgrad.parallel.agreement import EVERY, settings_of
from distgrad.parallel.ddp import BUCKET_MB
from distgrad.parallel.nonfinite import Nonfinite
from distgrad.parallel.reducer import Reduction
from distgrad.train import checkpoints, signals
from distgrad.train.metrics import Metric
from distgrad.train.state import TrainState
from distgrad.train.stop import MaxEpochs, MaxSteps, StopCriterion, TargetMetric

_STOPS = (signal.SIGTERM, signal.SIGUSR1)
_METERS = ("seconds", "busy", "signals")  # what the ranks share besides sums over samples


class Trainer:
    """Trains ``model`` on every rank of the current world.

    ``loss_fn(model(*inputs), target)`` is the mean loss over a shard of samples, or with
    ``reduction="sum"`` the sum; a sample is (inputs…, target). ``metrics`` are summed over
    samples. ``clip_norm`` is the largest gradient norm, or a function that clips the
    parameters' gradients (``optim.AutoClip()``, ``optim.adaptive_clip_grad_``). ``nonfinite``
    says what happens to a NaN or infinite loss or gradient: "raise" names rank, step and shard;
    "skip" leaves the step out on all ranks; "continue" goes on (as in DistributedDataParallel).
    ``checkpoint`` is a folder, written ``every`` so many steps and at the end, of which the
    newest ``keep`` stay. ``callbacks`` are called with the TrainState after each step, on every
    rank. SIGTERM and SIGUSR1 end the run after a last checkpoint.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss_fn: Callable[[Tensor, Any], Tensor],
        *,
        schedule: LRScheduler | None = None,
        clip_norm: float | Callable[[Iterable[Tensor]], object] | None = None,
        metrics: Mapping[str, Metric] | None = None,
        nonfinite: Nonfinite = "raise",
        checkpoint: str | None = None,
        every: int = 0,
        keep: int = 3,
        callbacks: Sequence[Callable[[TrainState], None]] = (),
        progress: bool = True,
        bucket_mb: float = BUCKET_MB,
        algorithm: str | None = None,
        reduction: Reduction = "mean",
        check_every: int = EVERY,
    ) -> None:
        if clip_norm is not None and not callable(clip_norm) and not clip_norm > 0:
            raise DistgradError(
                f"clip_norm={clip_norm}: the largest gradient norm must be positive; leave it out "
                f"(None) to clip nothing"
            )
        self.reduction = reduction
        self.model, self.optimizer, self.loss_fn = model, optimizer, loss_fn
        self.schedule, self.clip_norm = schedule, clip_norm
        self.metrics = dict(metrics or {})
        self.checkpoint, self.every, self.keep = checkpoint, every, keep
        self.callbacks = list(callbacks)
        self.ddp = DistributedDataParallel(
            model,
            bucket_mb=bucket_mb,
            algorithm=algorithm,
            nonfinite=nonfinite,
            reduction=reduction,
            check_every=check_every,
        )
        self.ddp.agreement.sources.append(self._settings)
        self.world = self.ddp.world
        self.state = TrainState()
        self._visible = progress and self.world.rank == 0
        self._signalled = False
        self._asked = 0.0  # ranks that were asked to stop by a signal

    def fit(
        self,
        loader: DataLoader,
        *,
        epochs: int | None = None,
        max_steps: int | None = None,
        evaluate: DataLoader | None = None,
        evaluate_every: int | None = None,
        stop: Sequence[StopCriterion] = (),
        resume: bool = False,
    ) -> TrainState:
        """Train until a criterion says stop; evaluate after each epoch or every so many steps.

        With ``resume`` the newest valid checkpoint is continued, if there is one.
        Errors: DistgradError if nothing would ever stop it; NonFiniteError; CheckpointError.
        """
        criteria: list[StopCriterion] = list(stop)
        criteria += [MaxEpochs(epochs)] if epochs is not None else []
        criteria += [MaxSteps(max_steps)] if max_steps is not None else []
        for criterion in criteria:
            if isinstance(criterion, TargetMetric) and evaluate is None:
                raise DistgradError(
                    f"TargetMetric('{criterion.name}') looks at evaluations, and there would be "
                    f"none: pass evaluate=loader to fit"
                )
        if not criteria:
            raise DistgradError("fit would never stop: pass epochs=, max_steps= or stop=[…]")
        limits = [max_steps, None if epochs is None else epochs * len(loader)]
        total = min((n for n in limits if n is not None), default=None)
        if self.checkpoint is not None:
            fresh = not resume and not self.state.step
            checkpoints.begin(self.world, self.checkpoint, fresh=fresh)
        if resume:
            self._resume(loader, criteria)
        clock = _Clock()
        bar = Progress(visible=self._visible, total=total, done=self.state.step)
        self.model.train()
        with bar, self._signals():
            # A resumed run may be over already; criteria with a memory have seen this step.
            seen = [c for c in criteria if not c.state_dict()] if self.state.step else []
            self.state.stopped = _reason(seen, self.state)
            while not self.state.stopped:
                for batch in loader:
                    self.step(batch, clock)
                    bar.step(self.state.epoch, self._shown())
                    epoch_over = loader.batch == len(loader)
                    self.state.epoch += epoch_over
                    every = evaluate_every or 0
                    if evaluate and (self.state.step % every == 0 if every else epoch_over):
                        self._evaluate_within(evaluate, clock, bar)
                    for callback in self.callbacks:
                        callback(self.state)
                    asked = "SIGTERM or SIGUSR1" if self._asked else ""
                    self.state.stopped = asked or _reason(criteria, self.state)
                    due = self.every and self.state.step % self.every == 0
                    if self.checkpoint and (due or self.state.stopped):
                        with clock.paused():
                            self._save(loader, criteria)
                    if self.state.stopped:
                        break
        return self.state

    def step(self, batch: Batch, clock: _Clock | None = None) -> None:
        """Train on one global batch: forward, backward and reduction, clipping, update."""
        self.optimizer.zero_grad()
        sums = ShardSum(self.world, "loss", *_METERS, *map(_metric, self.metrics))
        for *inputs, target in batch.shards:
            output = self.model(*inputs)
            loss = self.loss_fn(output, target)
            self.ddp.backward(loss)
            position = current_shard()
            mean = self.reduction == "mean" and position is not None
            weight = position.weight if mean and position is not None else 1.0
            sums.add(loss=weight * float(loss), **self._measured(output, target, batch.total))
        # Rank 0's clock is everyone's; a signal on any rank is heard by all.
        if clock is not None and self.world.rank == 0:
            sums.add(seconds=clock.seconds, busy=clock.seconds - clock.lost)
        sums.add(signals=float(self._signalled))
        found = sums.result()
        state = self.state
        state.loss, state.seconds, busy = found["loss"], found["seconds"], found["busy"]
        self._asked = found["signals"]
        state.metrics = {name: found[_metric(name)] for name in self.metrics}
        state.gradient_norm = self._clip()
        if self.ddp.left_out:
            state.skipped += 1
        else:
            self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        state.step += 1
        if clock is not None:
            clock.samples += batch.total
            state.samples_per_second = clock.samples / max(busy, 1e-9)

    def evaluate(self, loader: DataLoader) -> dict[str, float]:
        """Return the mean loss and metrics over all samples of ``loader``, in evaluation mode.

        Call it on every rank: each computes its shards, all get the same numbers.
        """
        modes = [(m, m.training) for m in self.model.modules()]
        self.model.eval()
        sums = ShardSum(self.world, "loss", "samples", *map(_metric, self.metrics))
        with no_grad():
            for batch in loader:
                for *inputs, target in batch.shards:
                    output = self.model(*inputs)
                    n = len(target)
                    loss = float(self.loss_fn(output, target))
                    loss *= n if self.reduction == "mean" else 1
                    sums.add(loss=loss, samples=n, **self._measured(output, target, 1))
        for m, training in modes:
            m.training = training
        found = sums.result()
        count = found["samples"]
        if not count:
            raise DistgradError(
                "evaluate: the loader gave no sample; one that is training (it stands at the end "
                "of its epoch) cannot evaluate as well: make another over the same data"
            )
        loss = found["loss"] / count if self.reduction == "mean" else found["loss"]
        return {"loss": loss, **{name: found[_metric(name)] / count for name in self.metrics}}

    # -- helpers ------------------------------------------------------------------------------

    def _settings(self) -> dict[str, Any]:
        plain = None if callable(self.clip_norm) else self.clip_norm
        own = {"Trainer(clip_norm=)": plain, "Trainer(every=)": self.every}
        return own | settings_of(0, self.optimizer)

    def _measured(self, output: Tensor, target: Any, total: int) -> dict[str, float]:
        return {_metric(k): metric(output, target) / total for k, metric in self.metrics.items()}

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

    def _shown(self) -> dict[str, float]:
        state = self.state
        numbers = {"loss": state.loss, **state.metrics, "|g|": state.gradient_norm}
        if state.skipped:
            numbers["skipped"] = state.skipped
        return {**numbers, "samples/s": state.samples_per_second}

    def _evaluate_within(self, loader: DataLoader, clock: _Clock, bar: Progress) -> None:
        with clock.paused():
            self.state.evaluation = self.evaluate(loader)
        shown = ", ".join(f"{k} {v:.4f}" for k, v in self.state.evaluation.items())
        bar.say(f"step {self.state.step}: {shown}")

    def _save(self, loader: DataLoader, criteria: Sequence[StopCriterion]) -> None:
        assert self.checkpoint is not None
        meta = {
            "state": self.state.state_dict(),
            "loader": loader.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "clip": self.clip_norm.state_dict() if isinstance(self.clip_norm, AutoClip) else None,
            "criteria": {f"{i} {type(c).__name__}": c.state_dict() for i, c in enumerate(criteria)},
        }
        checkpoints.save(
            self.world,
            self.checkpoint,
            self.state.step,
            self.model,
            self.optimizer,
            meta,
            self.keep,
        )

    def _resume(self, loader: DataLoader, criteria: Sequence[StopCriterion]) -> None:
        if self.checkpoint is None:
            raise DistgradError("resume=True needs the folder: Trainer(checkpoint=…)")
        say = print if self.world.rank == 0 else _silent
        meta = checkpoints.resume(self.world, self.checkpoint, self.model, self.optimizer, say)
        if meta is None:
            say(f"no checkpoint in {self.checkpoint} yet: starting from the beginning")
            return
        self.state.load_state_dict(meta["state"])
        loader.load_state_dict(meta["loader"])
        if self.schedule is not None and meta["schedule"] is not None:
            self.schedule.load_state_dict(meta["schedule"])
        if isinstance(self.clip_norm, AutoClip) and meta.get("clip") is not None:
            self.clip_norm.load_state_dict(meta["clip"])
        for i, criterion in enumerate(criteria):
            saved = meta["criteria"].get(f"{i} {type(criterion).__name__}")
            if saved is not None:
                criterion.load_state_dict(saved)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGUSR1 (sent by batch systems before they kill) end it after a step.

        Open MPI's mpirun kills its ranks 0.2 s after a SIGTERM; SIGUSR1 it only passes on.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # a simulated rank: signals belong to the main thread
            return

        def note(number: int, _: Any) -> None:
            self._signalled = True

        self._signalled = False  # one that ended an earlier fit is over
        with signals.noted(_STOPS, note):
            yield


class _Clock:
    """Seconds since training began, and those of them that were spent on something else."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self.lost = 0.0
        self.samples = 0

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start

    @contextmanager
    def paused(self) -> Iterator[None]:
        before = self.seconds
        yield
        self.lost += self.seconds - before


def _metric(name: str) -> str:
    """Under which name a user's metric is summed: apart from the Trainer's own."""
    return f"metric {name}"


def _reason(criteria: Sequence[StopCriterion], state: TrainState) -> str:
    # Every criterion sees every step, even when an earlier one has decided.
    reasons = [c.check(state) for c in criteria]
    return next((r for r in reasons if r), "")


def _silent(message: str) -> None:
    """Rank 0 says it."""
