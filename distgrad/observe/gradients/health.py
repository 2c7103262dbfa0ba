"""GradientHealth: which layer's gradients vanish or explode, at which step, because of which rank.

It looks at gradients between the reduction and clipping; it changes nothing.
"""

from __future__ import annotations

import os
import textwrap
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Protocol

import numpy as np

from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.kinds import Steps, number
from distgrad.nn import Module
from distgrad.observe.gradients.diagnosis import ADVICE, KINDS, Limits, Measured, diagnose
from distgrad.observe.gradients.heatmap import draw_heat_map
from distgrad.observe.gradients.layers import Copies, Layers, finite_or_infinity
from distgrad.observe.gradients.problems import Problem, Problems
from distgrad.parallel.observers import watch
from distgrad.parallel.world import World


class _State(Protocol):
    step: int


class GradientHealth:
    """Watches a model's gradient, weight and update norms by layer, on every rank alike.

    Call ``observe()`` after ``optimizer.step()``, or give it to ``Trainer(callbacks=[health])``.
    Every ``every``-th step is measured, and any step that ``nonfinite="raise"`` or "skip" found
    not to be finite; the newest ``history`` of them are kept. A layer is *vanishing* when the ratio
    of its gradient's to its weights' norm is below ``vanishing`` times the median layer's (of those
    with weight matrices, embeddings left out), *dead* when its gradient is exactly 0, both for
    ``patience`` observed steps in a row; *exploding* when its gradient's norm is above
    ``exploding`` times its own median so far and √exploding times that of the whole gradient, or
    ``exploding`` times the norm of all weights. The model may be distributed before or after;
    without DistributedDataParallel every backward pass overwrites what the last one since
    ``observe()`` showed, and no rank is named.
    Errors: GradError for a model without trained parameters; ShapeError for bad settings.
    """

    def __init__(
        self,
        model: Module,
        *,
        every: Steps = 10,
        history: int = 1000,
        vanishing: Annotated[float, number(0, 1, without=[0, 1])] = 1e-2,
        exploding: Annotated[float, number(1, without=[1])] = 100.0,
        patience: Steps = 3,
    ) -> None:
        if history < patience:
            raise ShapeError(f"GradientHealth: {history=} must be at least {patience=}")
        self.every = every
        self._layers = Layers(model)
        self._limits = Limits(vanishing, exploding, self._layers.compared)
        self._before = Copies(self._layers)
        self._measured: deque[Measured] = deque(maxlen=history)
        self._updates: deque[Array] = deque(maxlen=history)
        self._problems = Problems(self._layers.names, patience, history)
        self.listeners: list[Callable[[int, dict[str, float], list[Problem]], None]] = []
        """Called after each observed step: its number, the gradients' norms, what was wrong."""
        self._step = 0  # of the batch to come
        self._due = True  # whether that one is measured
        self._local: dict[int, Array] = {}
        self._pending: Measured | None = None
        self._world: World | None = None
        watch(model, self)

    # -- what was seen ------------------------------------------------------------------------

    @property
    def layers(self) -> list[str]:
        """The layers' names: the rows of the matrices."""
        return list(self._layers.names)

    @property
    def steps(self) -> list[int]:
        """The observed steps, from 0: the columns of the matrices."""
        return [m.step for m in self._measured]

    @property
    def gradient_norms(self) -> Array:
        """Norms before clipping (layer, step): NaN without gradient, infinity if not finite."""
        return self._matrix([m.gradient for m in self._measured])

    @property
    def weight_norms(self) -> Array:
        """Norms of the weights before the step (layer, step)."""
        return self._matrix([m.weight for m in self._measured])

    @property
    def update_norms(self) -> Array:
        """Norms of what the optimizer added (layer, step); NaN where no step followed."""
        return self._matrix(list(self._updates))

    @property
    def problems(self) -> list[Problem]:
        """What was found, by first step."""
        order = {layer: i for i, layer in enumerate(self._layers.names)}
        return sorted(self._problems.found.values(), key=lambda p: (p.step, order.get(p.layer, -1)))

    def report(self) -> str:
        """Return what was found and what usually helps, and the norms of the last observed step."""
        if not self._measured:
            return "Gradient health: nothing observed; call observe() after optimizer.step()"
        n, last = len(self._measured), self._measured[-1]
        lines = [f"Gradient health: {len(self._layers)} layers, steps {self.steps[0]} to "
                 f"{last.step}, {n} of them observed"]  # fmt: skip
        for kind in KINDS:
            those = [p for p in self.problems if p.kind == kind]
            lines += [f"  {p}" for p in those]
            lines += _wrapped(f"What usually helps: {ADVICE[kind]}.") if those else []
        if not self._problems.found:
            lines.append("  No layer vanishes, explodes, is dead or not finite.")
        width = max(map(len, self._layers.names))
        lines.append(f"  {'Step ' + str(last.step):{width}}  gradient    weight    update")
        rows = zip(self._layers.names, last.gradient, last.weight, self._updates[-1], strict=True)
        lines += [f"  {name:{width}}  {g:8.1e}  {w:8.1e}  {u:8.1e}" for name, g, w, u in rows]
        return "\n".join(lines)

    def heat_map(self, path: str | os.PathLike[str]) -> None:
        """Draw log10 of the gradient norms, layer × observed step, with the problems marked.

        A PNG (or what the path's ending says). Errors: DistgradError without matplotlib, or if
        nothing was observed.
        """
        draw_heat_map(
            path, self.layers, self.steps, self.gradient_norms, list(self._problems.marks)
        )

    # -- how it is told -----------------------------------------------------------------------

    def observe(self, step: int | None = None) -> None:
        """Note that the optimizer's step is over; ``step`` is its number, by default counted.

        Needs no talk between ranks: call it on all of them.
        """
        number = self._step if step is None else step
        if self._pending is not None:
            self._record(self._pending, number, self._before.moved())
        self._step = number + 1
        self._due = self._step % self.every == 0

    def __call__(self, state: _State) -> None:
        """Observe as a callback of the Trainer."""
        self.observe(state.step - 1)

    def shard_ready(
        self,
        names: Sequence[str],
        gradients: Sequence[Array],
        shard: int,
        weight: float,
        loss_nonfinite: bool,
    ) -> None:
        """Measure a shard's own gradient, before it is summed."""
        if self._due or loss_nonfinite:
            rows = self._local.setdefault(shard, np.zeros(len(self._layers)))
            if loss_nonfinite:
                rows[...] = np.inf
            else:
                seen = np.zeros_like(rows)
                self._layers.add_squares(seen, zip(names, gradients, strict=True))
                rows += seen / weight**2

    def batch_ready(
        self, gradients: Mapping[str, Array | None], finite: bool | None, world: World | None
    ) -> None:
        """Measure the batch's gradient and gather what the ranks saw."""
        local, self._local = self._local, {}
        self._world = world
        if not self._due and finite is not False:
            return
        weight = self._layers.norms({n: p.array for n, p in self._layers.params.items()})
        grads = self._layers.norms(gradients)
        shards, local_norms = self._gathered(local, world)
        self._pending = Measured(self._step, grads, weight, shards, local_norms, finite)
        if finite is False:
            # Nothing follows: under "raise" observe is never called, under "skip" nothing moves.
            self._record(self._pending, self._step, np.full(len(grads), np.nan))
        else:
            self._before.take()

    # -- helpers ------------------------------------------------------------------------------

    def _gathered(self, local: dict[int, Array], world: World | None) -> tuple[Array, Array]:
        """Return all ranks' shards and the norms of their gradients (shard, layer)."""
        rows = np.array([[s, *local[s]] for s in sorted(local)]).reshape(-1, 1 + len(self._layers))
        if world is not None:
            parts = world.comm.all_gather_bytes(rows.tobytes(), name="GradientHealth")
            rows = np.frombuffer(b"".join(parts)).reshape(-1, rows.shape[1])
        return rows[:, 0].astype(int), finite_or_infinity(np.sqrt(rows[:, 1:]))

    def _record(self, measured: Measured, step: int, update: Array) -> None:
        self._pending = None
        now = replace(measured, step=step)
        found = diagnose(now, [m.gradient for m in self._measured], self._limits)
        self._measured.append(now)
        self._updates.append(update)
        runs = [] if self._world is None else self._world.runs
        self._problems.add(step, found, runs)
        if self.listeners:
            norms = dict(zip(self._layers.names, now.gradient.tolist(), strict=True))
            wrong = [problem for problem in self.problems if problem.last == step]
            for listener in self.listeners:
                listener(step, norms, wrong)

    def _matrix(self, columns: list[Array]) -> Array:
        return np.stack(columns, axis=1) if columns else np.empty((len(self._layers), 0))


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 88, initial_indent="    ", subsequent_indent="    ")
