"""What a hook remembers between batches: error feedback, and how it is saved and resumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from distgrad.autograd.types import Array
from distgrad.errors import CommError
from distgrad.parallel.hooks.bucket import GradBucket
from distgrad.parallel.per_rank import check_ranks, gather, own
from distgrad.parallel.world import World, current_world

AnyHook = TypeVar("AnyHook", bound=Callable[..., Any])


class HookState:
    """The base of hooks' states: counts batches, keeps what compression lost, per bucket.

    Error feedback (Seide et al. 2014; Karimireddy et al. 2019): what was not sent of a gradient is
    added to the next batch's. It belongs to its rank, so ``state_dict`` is that of one rank;
    ``gather(world)``, which every rank calls, returns the state of all, from which each continues
    with the same bits. Attributes that are numbers or words are settings, compared between ranks.
    """

    def __init__(self) -> None:
        self.iter = 0
        """Batches summed so far."""
        self.errors: dict[int, Array] = {}
        """What was lost so far, by the number of the bucket."""
        self.common: dict[str, Array] = {}
        """Arrays that are the same on all ranks, by name."""
        self._spare: dict[int, Array] = {}

    def settings(self) -> dict[str, bool | int | float | str]:
        """Return what must be the same on all ranks."""
        plain = (bool, int, float, str)
        return {k: v for k, v in vars(self).items() if isinstance(v, plain) and k[0] != "_"}

    def batch_over(self) -> None:
        """Count a batch."""
        self.iter += 1

    def feed_back(self, bucket: GradBucket) -> Array:
        """Add to the buffer what was lost before; return the array for what is lost now.

        If the batch is left out, what was lost before stays. Errors: CommError if the buckets are
        others than those of the state that was loaded.
        """
        number, buffer = bucket.index(), bucket.buffer()
        old = self.errors.get(number)
        if old is None:
            self.errors[number] = old = np.zeros_like(buffer)
        elif old.size != buffer.size or old.dtype != buffer.dtype:
            raise CommError(
                f"{bucket.name} is {buffer.dtype} x {buffer.size}, but the error memory that was "
                f"loaded for it {old.dtype} x {old.size}; resume with the bucket_mb and the model "
                f"it was saved with"
            )
        else:
            np.add(buffer, old, out=buffer)
        if not bucket.may_be_left_out:
            return old
        new = self._spare.pop(number, None)
        new = np.empty_like(buffer) if new is None else new
        self.errors[number], self._spare[number] = new, old

        def take_back() -> None:
            self.errors[number], self._spare[number] = old, new

        bucket.if_left_out(take_back)
        return new

    # -- saving ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return this rank's state; ``gather`` returns that of all."""
        world = current_world()
        errors = {str(number): error for number, error in self.errors.items()}
        return {
            "iter": self.iter,
            "rank": world.rank,
            "size": world.size,
            "errors": errors,
            "common": dict(self.common),
        }

    def gather(self, world: World) -> dict[str, Any]:
        """Return the state of all ranks, on every rank; collective."""
        state = self.state_dict()
        errors = gather(world, state["errors"], "error memory of bucket")
        return state | {"rank": None, "errors": errors}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of this rank, or of all. Errors: CheckpointError if it is none."""
        world = current_world()
        of_all = check_ranks(state, world, type(self).__name__, "iter", "errors", "common")
        errors = state["errors"]
        if of_all:
            errors = own(errors, world.rank)
        self.iter = int(state["iter"])
        self.errors = {int(number): np.array(error) for number, error in errors.items()}
        self.common = {name: np.array(array) for name, array in state["common"].items()}
        self._spare.clear()


def takes(kind: type[HookState]) -> Callable[[AnyHook], AnyHook]:
    """Say of a hook that its state is a ``kind``: register_comm_hook refuses any other."""

    def marked(hook: AnyHook) -> AnyHook:
        vars(hook)["state_type"] = kind
        return hook

    return marked


def state_type(hook: Callable[..., Any]) -> type[HookState] | None:
    """Return what the state of ``hook`` has to be; None where that is the hook's own affair."""
    found: type[HookState] | None = getattr(hook, "state_type", None)
    return found


def check_floats(hook: str, bucket: GradBucket) -> None:
    """Refuse gradients that are not float32 or float64. Errors: CommError."""
    dtype = bucket.parameters()[0].dtype
    if dtype not in (np.float32, np.float64):
        raise CommError(
            f"{hook} compresses float32 and float64, and {bucket.name} is {dtype}; allreduce_hook "
            f"takes every dtype"
        )
