"""Hooks that compress nothing: all is sent, or nothing is."""

from __future__ import annotations

from typing import Any

from distgrad.autograd.types import Array
from distgrad.errors import CommError
from distgrad.kinds import Count
from distgrad.parallel.hooks.bucket import GradBucket
from distgrad.parallel.hooks.state import HookState, takes


def allreduce_hook(process_group: Any, bucket: GradBucket) -> Any:
    """Sum as without a hook, with the same bits; inside a wrapper in the wrapper's form."""
    return bucket.start_sum() if bucket.code is None else bucket.all_reduce(bucket.buffer())


def noop_hook(_: Any, bucket: GradBucket) -> Array:
    """Send no gradients: what a training without their transfer would take. It trains nothing.

    Ranks drift apart, so the model needs ``check_every=0``.
    """
    return bucket.buffer()


class PostLocalSGDState(HookState):
    """From batch ``start_localSGD_iter`` on every rank trains weights of its own, by itself.

    Its gradients are then means over its own samples; nothing is sent, not even who used what.
    Weights are averaged by a PeriodicModelAverager. Errors: CommError for a subgroup, or gradients
    summed inside one: each rank is a group of its own; DistgradError for a negative start.
    """

    def __init__(
        self,
        process_group: None = None,
        subgroup: None = None,
        start_localSGD_iter: Count = 0,
        post_local_gradient_allreduce: bool = False,
    ) -> None:
        super().__init__()
        del process_group
        if subgroup is not None or post_local_gradient_allreduce:
            raise CommError(
                "PostLocalSGDState: each rank is a group of its own; leave subgroup= out and say "
                "post_local_gradient_allreduce=False"
            )
        self.start_localSGD_iter = start_localSGD_iter

    def alone(self) -> bool:
        """Return whether the next batch's gradients stay with their rank."""
        return self.iter >= self.start_localSGD_iter


@takes(PostLocalSGDState)
def post_localSGD_hook(state: PostLocalSGDState, bucket: GradBucket) -> Any:  # noqa: N802
    """Sum as without a hook, as long as the state does not keep gradients with their rank."""
    return bucket.start_sum()
