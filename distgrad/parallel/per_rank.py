"""State that differs between ranks, saved: each rank's own, or that of all in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.errors import CheckpointError
from distgrad.parallel.world import World


def gather(world: World, tree: Any, name: str) -> Any:
    """Return ``tree`` with each array in it as a row for every rank; collective.

    A tree is mappings and lists of arrays and of what is the same on all ranks.
    """
    if isinstance(tree, Tensor):
        tree = tree.array
    if isinstance(tree, np.ndarray):
        rows = np.empty((world.size, *tree.shape), tree.dtype)
        rows[world.rank] = tree
        cut = [slice(r * tree.size, (r + 1) * tree.size) for r in range(world.size)]
        world.comm.all_gather(rows, slices=cut, name=name)
        return rows
    if isinstance(tree, Mapping):
        return {key: gather(world, value, f"{name}.{key}") for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [gather(world, value, f"{name}.{i}") for i, value in enumerate(tree)]
    return tree


def own(tree: Any, rank: int) -> Any:
    """Return what ``gather`` was given on ``rank``."""
    if isinstance(tree, np.ndarray):
        return tree[rank].copy()
    if isinstance(tree, Mapping):
        return {key: own(value, rank) for key, value in tree.items()}
    return [own(value, rank) for value in tree] if isinstance(tree, list) else tree


def check_ranks(state: Mapping[str, Any], world: World, what: str, *parts: str) -> bool:
    """Return whether ``state`` is that of all ranks. Errors: CheckpointError if it is not for this.

    ``state["size"]`` is the number of ranks that saved it, ``state["rank"]`` whose it is; ``parts``
    are what else has to be in it.
    """
    lacking = [part for part in ("rank", "size", *parts) if part not in state]
    if lacking:
        raise CheckpointError(
            f"this is no state of a {what}: it has no {', '.join(map(repr, lacking))}; load what "
            f"its state_dict() or gather(world) returned"
        )
    if state["size"] != world.size:
        raise CheckpointError(
            f"the {what} was saved by {state['size']} ranks and this run has {world.size}: what it "
            f"holds belongs to its rank. Resume on {state['size']} ranks, or begin with a new one: "
            f"that is another run"
        )
    if state["rank"] not in (None, world.rank):
        raise CheckpointError(
            f"the {what} is that of rank {state['rank']} and this is rank {world.rank}; save "
            f"gather(world), which holds all, or each rank's own"
        )
    return state["rank"] is None
