"""The gradient-noise scale: how large a batch still pays (McCandlish et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.types import Array
from distgrad.errors import GradError
from distgrad.kinds import Decay, Steps
from distgrad.nn import Module
from distgrad.optim.norms import squares
from distgrad.parallel.observers import watch
from distgrad.parallel.shards import current_shard
from distgrad.parallel.sums import tree_sum
from distgrad.parallel.world import World


class GradientNoiseScale:
    """Estimates B_simple = tr(Σ) / |G|², in samples, from the shards' gradients of each batch.

    Far below it a batch twice as large saves almost half of the steps; far above it, almost
    none. Every ``every``-th batch is measured; ``beta`` is the decay of the two running means. The
    model must be distributed, with at least two logical shards, and train on a DataLoader's
    batches. The same value on all ranks, and on any number of ranks under ``dg.init(shards=…)``.
    McCandlish et al. 2018, arXiv 1812.06162, appendix A.1.
    Errors: ShapeError for bad settings.
    """

    def __init__(self, model: Module, *, every: Steps = 1, beta: Decay = 0.95) -> None:
        self.every, self.beta = every, beta
        self.batches = 0
        """Batches seen so far."""
        self._weight = self._noise = self._signal = 0.0  # of the running means, not yet divided
        self._shards: dict[int, Array] = {}
        self._total = 0
        watch(model, self)

    @property
    def noise(self) -> float:
        """tr(Σ): the variance of one sample's gradient, summed over the parameters."""
        return self._noise / self._weight if self._weight else math.nan

    @property
    def signal(self) -> float:
        """|G|²: the squared norm of the true gradient."""
        return self._signal / self._weight if self._weight else math.nan

    @property
    def value(self) -> float:
        """The noise scale in samples; NaN before the first batch, infinity if no signal is left."""
        if not self._weight:
            return math.nan
        return self._noise / self._signal if self._signal > 0 else math.inf

    def shard_ready(
        self,
        names: Sequence[str],
        gradients: Sequence[Array],
        shard: int,
        weight: float,
        loss_nonfinite: bool,
    ) -> None:
        """Measure a shard's own gradient, before it is summed."""
        if self.batches % self.every:
            return
        position = current_shard()
        if position is None:
            raise GradError(
                "GradientNoiseScale has to know how many samples a gradient is of: loop over "
                "`for x, y in batch.shards` of a dg.data.DataLoader batch, or over "
                "`dg.own_shards(…)`"
            )
        # The gradients carry the shard's weight w: squares / w² is its own, and counts w times.
        seen = self._shards.setdefault(shard, np.array([0.0, 1.0, position.total]))
        seen[0] += sum(squares(g) for g in gradients) / weight

    def batch_ready(
        self, gradients: Mapping[str, Array | None], finite: bool | None, world: World | None
    ) -> None:
        """Update the two running means from a measured batch."""
        self.batches += 1
        if (self.batches - 1) % self.every:
            return
        if world is None or world.shards < 2:
            raise GradError(
                "GradientNoiseScale compares the gradients of shards, and there is only one: "
                "distribute the model and start more ranks, or dg.init(shards=8)"
            )
        local = {s: self._shards.get(s, np.zeros(3)) for s in world.my_shards}
        self._shards = {}
        small, shards, totals = tree_sum(world, local, "gradient noise").tolist()
        large = sum(squares(g) for g in gradients.values() if g is not None)
        if shards < 2 or not math.isfinite(small + large):
            return
        total = totals / shards
        # The mean shard has total / shards samples, as each counts by its own.
        self._add(small, total / shards, large, total)

    def _add(self, small: float, few: float, large: float, many: float) -> None:
        """Add unbiased estimates from the mean squared norms of gradients of two batch sizes."""
        signal = (many * large - few * small) / (many - few)
        noise = (small - large) / (1 / few - 1 / many)
        b = self.beta
        self._weight = b * self._weight + (1 - b)
        self._signal = b * self._signal + (1 - b) * signal
        self._noise = b * self._noise + (1 - b) * noise

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run continues from."""
        means = {"weight": self._weight, "signal": self._signal, "noise": self._noise}
        return {"batches": self.batches, **means}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.batches = int(state_dict["batches"])
        self._weight, self._signal, self._noise = (
            float(state_dict[name]) for name in ("weight", "signal", "noise")
        )
