"""The largest gradients alone, by number and value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np

from distgrad.autograd.types import Array
from distgrad.kinds import number
from distgrad.parallel.hooks.bucket import GradBucket
from distgrad.parallel.hooks.state import HookState, check_floats, takes

_SAMPLE = 1 << 12  # numbers looked at to guess where the largest begin


class TopKState(HookState):
    """Settings and memory of ``topk_hook``: the share of each bucket that is sent, from 0 to 1.

    Errors: DistgradError for a ratio outside (0, 1].
    """

    def __init__(
        self,
        ratio: Annotated[float, number(0, 1, without=[0])] = 0.01,
        use_error_feedback: bool = True,
    ) -> None:
        super().__init__()
        self.ratio, self.use_error_feedback = ratio, use_error_feedback


@takes(TopKState)
def topk_hook(state: TopKState, bucket: GradBucket) -> Any:
    """Sum the ``ratio`` largest numbers of each rank; the rest is fed back (Stich et al. 2018).

    Every rank gets every other's: (size - 1) * 8 * ratio bytes a float32 number, so it pays up to
    about 1 / ratio ranks.
    """
    check_floats("topk_hook", bucket)
    return _rounds(state, bucket)


def _rounds(state: TopKState, bucket: GradBucket) -> Iterator[Any]:
    error = state.feed_back(bucket) if state.use_error_feedback else None
    buffer = bucket.buffer()
    chosen = largest(buffer, max(1, round(state.ratio * buffer.size)))
    values = buffer[chosen]
    everyones = yield from bucket.all_gather(chosen)
    found = yield from bucket.all_gather(values)
    if error is not None:
        np.copyto(error, buffer)
        error[chosen] -= found[bucket.rank]  # what was sent, which a wrapper may have rounded
    buffer[...] = 0
    for numbers, sent in zip(everyones, found, strict=True):
        buffer[numbers] += sent


def largest(values: Array, k: int) -> Array:
    """Return the numbers (int32, ascending) of the k largest |values|; NaN is the largest."""
    kind = np.dtype(f"u{values.itemsize}").type
    # As integers the bits of non-negative floats are in their order, and those of NaN above all.
    keys = values.view(kind) & (np.iinfo(kind).max >> kind(1))
    candidates = _candidates(keys, k)
    if candidates.size > k:
        candidates = candidates[np.argpartition(keys[candidates], -k)[-k:]]
        candidates.sort()
    return candidates.astype(np.int32)


def _candidates(keys: Array, k: int) -> Array:
    """Return the numbers of at least k keys, the k largest among them: few, by a sample."""
    if keys.size > 4 * _SAMPLE:
        sample = keys[:: keys.size // _SAMPLE]
        wanted = round(1.5 * k / keys.size * sample.size) + 16
        if wanted < sample.size // 2:
            found = np.flatnonzero(keys >= np.partition(sample, -wanted)[-wanted])
            if found.size >= k:
                return found
    return np.arange(keys.size)
