"""What happens to a batch whose loss or gradient is NaN or infinite: one policy for all loops.

"raise"     NonFiniteError. A loss raises on its own rank, naming rank, step and shard, and ends the
            job; a gradient raises on all ranks after the reduction, naming the parameters.
"skip"      The batch is left out on all ranks: its gradients are dropped, so that
            ``optimizer.step()`` changes nothing, and running statistics that are not finite are
            not applied.
"continue"  Nothing is looked at.

Ranks agree without a message of their own: the reduced gradients are the same everywhere, and a
shard whose loss is not finite hands in NaNs where its flags would be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from distgrad.errors import DistgradError, NonFiniteError
from distgrad.optim.norms import rough_squares
from distgrad.parallel.bucket import Bucket
from distgrad.parallel.shards import current_shard
from distgrad.parallel.world import World

Nonfinite: TypeAlias = Literal["raise", "skip", "continue"]


def check_policy(nonfinite: str) -> None:
    """Refuse a policy that does not exist. Errors: DistgradError."""
    if nonfinite not in ("raise", "skip", "continue"):
        raise DistgradError(f"nonfinite={nonfinite!r}: choose 'raise', 'skip' or 'continue'")


def all_finite(buckets: Sequence[Bucket]) -> bool:
    """Whether the norm of the reduced gradients, and every shard's loss, is a finite number."""
    return math.isfinite(sum(rough_squares(b.gradients.local) for b in buckets))


def raise_nonfinite(buckets: Sequence[Bucket], world: World) -> None:
    """Raise the NonFiniteError of reduced gradients that are not finite."""
    named = [pair for b in buckets for pair in zip(b.names, b.views, strict=True)]
    bad = [n for n, g in named if not np.isfinite(g).all()]
    shown = ", ".join(f"'{n}'" for n in bad[-3:][::-1])  # buckets run from the last layer back
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    what = f"of {shown}{more} are NaN or infinite" if bad else "have a norm that overflows"
    raise NonFiniteError(
        f"[rank {world.rank}/{world.size}] the gradients {what}{where()}, of losses that are "
        f"finite; `with dg.detect_anomaly():` names the operation, nonfinite='skip' leaves such "
        f"batches out"
    )


def where() -> str:
    """Return the step of the shard that is being computed, for a message; empty outside."""
    position = current_shard()
    return "" if position is None else f" at step {position.step}"
