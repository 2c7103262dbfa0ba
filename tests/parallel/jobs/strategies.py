"""One small training after the other, under every strategy whose bits are canonical.

Rank 0 prints the ranks of each node, and for each strategy the different hashes that ranks have.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

from zero_training import prepared

import distgrad as dg
from distgrad import optim

STEPS = 50
EPOCHS = 17  # of 3 batches
STRATEGIES: list[dict[str, Any]] = [
    *({"algorithm": how} for how in ("tree", "hierarchical", "auto")),
    *({"zero": zero} for zero in (1, 2, 3)),
]


def trained(zero: int = 0, **settings: Any) -> str:
    """Return the SHA-256 of the weights and of the optimizer's state, after 50 steps."""
    training = prepared(zero, lambda model: optim.AdamW(model.parameters(), lr=1e-2), **settings)
    for batch in islice(training.batches(EPOCHS), STEPS):
        training.backward(batch)
        dg.clip_grad_norm_(training.model.parameters(), 1.0)
        training.step()
    return " ".join(training.hashes())


if __name__ == "__main__":
    world = dg.init(shards=4)
    if world.rank == 0:
        print(json.dumps(world.comm.topology.nodes))
    for strategy in STRATEGIES:
        found = world.comm.all_gather_bytes(trained(**strategy).encode())
        if world.rank == 0:
            print(json.dumps([strategy, sorted({sha.decode() for sha in found})]), flush=True)
