"""Hooks that compress nothing."""

from __future__ import annotations

from typing import Any

from distgrad.autograd.types import Array
from distgrad.parallel.hooks.bucket import GradBucket


def allreduce_hook(process_group: Any, bucket: GradBucket) -> Any:
    """Sum as without a hook, with the same bits; inside a wrapper in the wrapper's form."""
    return bucket.start_sum() if bucket.code is None else bucket.all_reduce(bucket.buffer())


def noop_hook(_: Any, bucket: GradBucket) -> Array:
    """Send no gradients: what a training without their transfer would take. It trains nothing.

    Ranks drift apart, so the model needs ``check_every=0``.
    """
    return bucket.buffer()
