"""A batch whose gradients stay with their rank: the local steps of local SGD and DiLoCo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from distgrad.autograd.types import Array
from distgrad.comm import Part
from distgrad.comm.quick import add_up
from distgrad.parallel.exchange import Exchange
from distgrad.parallel.future import Future, Pending
from distgrad.parallel.shards import split


@dataclass(frozen=True)
class Alone(Exchange):
    """Nothing is sent: a rank's sum is that of its own summands, times ``scale``."""

    scale: float
    alone: ClassVar[bool] = True

    def start(self, parts: Sequence[Part], out: Array, name: str) -> Pending:
        """Write the sum of this rank's parts to ``out``; complete at once."""
        del name
        add_up([array for _, _, array in parts], out)
        np.multiply(out, self.scale, out=out)
        done = Future()
        done.set_result(out)
        return done


def alone(exchange: Exchange, total: int, shards: int) -> Alone:
    """Return the exchange in which this rank's samples of the batch of ``total`` stand for all.

    Its gradients are then an estimate of the global batch's: of means a mean over its samples.
    """
    own = sum(len(split(total, shards)[shard]) for shard in exchange.run if shard < shards)
    scale = total / max(own, 1)
    settings = (exchange.algorithm, exchange.runs, exchange.absent, exchange.canonical)
    return Alone(exchange.comm, *settings, scale)
