"""What happens to a batch whose loss or gradient is NaN or infinite: one policy for all loops.

"raise"     NonFiniteError. A loss raises on its own rank, naming rank, step and shard, and ends the
            job; a gradient raises on all ranks after the reduction, naming the parameters.
"skip"      The batch is left out on all ranks: its gradients are dropped, so that
            ``optimizer.step()`` changes nothing, and running statistics that are not finite are
            not applied.
"continue"  Nothing is looked at.

Ranks agree without a message of their own: the reduced gradients are the same everywhere, and a
shard whose loss is not finite hands in NaNs where its flags would be. (Where gradients are shared
out, zero=1 and more, they tell each other with the flags.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal, TypeAlias

import numpy as np

from distgrad.autograd.flat import own_window
from distgrad.autograd.types import Array
from distgrad.comm import Call
from distgrad.errors import NonFiniteError
from distgrad.optim.norms import rough_squares
from distgrad.parallel.bucket import Bucket
from distgrad.parallel.compiled import note_rough_squares
from distgrad.parallel.shards import current_shard
from distgrad.parallel.world import World

_YES = np.ones(1, bool)
Nonfinite: TypeAlias = Literal["raise", "skip", "continue"]


class Verdict:
    """Whether the norm of the reduced gradients, and every shard's loss, is a finite number.

    In one node each rank looks at the slices that it sums while it has them in its cache, and all
    read what each has found; sums made otherwise every rank looks at for itself, as soon as they
    are there. Collective.
    """

    def __init__(self, world: World, buckets: Sequence[Bucket]) -> None:
        self._looked = np.zeros(len(buckets), bool)
        self._own = [0.0] * len(buckets)
        for i, bucket in enumerate(buckets):
            bucket.gradients.after = partial(self._look_at_all, i, bucket.gradients.local)
        shared = [b.gradients.shared for b in buckets if b.gradients.shared is not None]
        found = None
        if shared and world.comm.topology.one_node:
            found = world.comm.share_once([(len(buckets) * world.size, np.dtype(float))])
        self._numbers: Array = np.zeros((len(buckets), 0))  # by bucket and rank
        if found is not None:
            self._numbers = found[0].reshape(len(buckets), world.size)
            for i, array in enumerate(shared):
                array.after.append(partial(self._look, i, world.rank))

    def _look(self, bucket: int, rank: int, own: Array) -> Sequence[Call]:
        number, looked = self._numbers[bucket, rank : rank + 1], self._looked[bucket : bucket + 1]
        return [(note_rough_squares, number, own), (np.copyto, looked, _YES)]

    def _look_at_all(self, bucket: int, whole: Array) -> None:
        if not self._looked[bucket]:
            self._own[bucket] = rough_squares(whole)

    def finite(self) -> bool:
        """Tell, once all buckets of a batch are summed; the same on all ranks.

        The numbers are written again when all ranks sum the next batch: who is there has read.
        """
        total = 0.0
        looked = self._looked.tolist()
        for there, found, own in zip(looked, self._numbers.tolist(), self._own, strict=True):
            total += sum(found) if there else own
        self.restart()
        return math.isfinite(total)

    def restart(self) -> None:
        """Forget what was seen of the last batch."""
        self._looked[:] = False


def raise_nonfinite(buckets: Sequence[Bucket], world: World) -> None:
    """Raise the NonFiniteError of reduced gradients that are not finite."""
    bad = _nonfinite(buckets)
    shown = ", ".join(f"'{n}'" for n in bad[-3:][::-1])  # buckets run from the last layer back
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    what = f"of {shown}{more} are NaN or infinite" if bad else "have a norm that overflows"
    raise NonFiniteError(
        f"[rank {world.rank}/{world.size}] the gradients {what}{where()}, of losses that are "
        f"finite; `with dg.detect_anomaly():` names the operation, nonfinite='skip' leaves such "
        f"batches out"
    )


def _nonfinite(buckets: Sequence[Bucket]) -> list[str]:
    """Return the names of the parameters whose gradients are not finite, the same on all ranks."""
    bad = []
    for b in buckets:
        own = [p.gradient.reshape(-1)[own_window(b.share, p.slot)] for p in b.places]
        found = np.array([float(not np.isfinite(g).all()) for g in own])
        if b.share is not None:
            b.share.ranks.add_up_(found)
        bad += [name for name, count in zip(b.names, found, strict=True) if count]
    return bad


def where() -> str:
    """Return the step of the shard that is being computed, for a message; empty outside."""
    position = current_shard()
    return "" if position is None else f" at step {position.step}"
