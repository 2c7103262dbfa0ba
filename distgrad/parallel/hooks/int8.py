"""One byte a number on the wire, with a scale for each block of neighbours."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from distgrad.autograd.types import Array
from distgrad.kinds import whole
from distgrad.parallel.hooks.bucket import GradBucket
from distgrad.parallel.hooks.state import HookState, check_floats, takes

_RUN = 1 << 15  # numbers coded at a time, so that they stay in the cache


class Int8:
    """x ≈ s q, |q| <= 127, with a float32 scale s = max |x| / 127 for each block.

    The error is at most s / 2. A block in which a number is not finite becomes NaN.
    """

    def __init__(self, block: int) -> None:
        self.unit = block

    def nbytes(self, count: int) -> int:
        """Return the length of the scales and the numbers, up to a multiple of four."""
        return 4 * -(-count // self.unit) + -(-count // 4) * 4

    def encode(self, values: Array, out: Array) -> None:
        """Write the scales, then the numbers."""
        scales, numbers = self._parts(values.size, out)
        step = max(1, _RUN // self.unit)
        there = values.size // self.unit  # whole blocks; the last one may be shorter
        for first in range(0, there, step):
            stop = min(first + step, there)
            run = slice(first * self.unit, stop * self.unit)
            shape = (stop - first, self.unit)
            self._encode(
                values[run].reshape(shape), numbers[run].reshape(shape), scales[first:stop]
            )
        if there < scales.size:
            rest = slice(there * self.unit, values.size)
            self._encode(values[rest][None], numbers[rest][None], scales[there:])

    def _encode(self, x: Array, q: Array, scales: Array) -> None:
        largest = np.maximum(x.max(axis=1), -x.min(axis=1))
        # In float32 already here: the error is bounded by the scale that is sent.
        with np.errstate(over="ignore", invalid="ignore"):
            scales[...] = largest / 127
        finite = np.isfinite(scales)
        usable = finite & (scales > 0)
        inverse = np.zeros(len(scales), x.dtype)
        # A denormal scale has an infinite inverse; its block is as good as zero.
        with np.errstate(over="ignore"):
            np.divide(1, scales, out=inverse, where=usable)
        inverse[~np.isfinite(inverse)] = 0
        if not finite.all():
            scales[~finite] = np.nan
            x = np.where(finite[:, None], x, 0)
        scaled = x * inverse[:, None]
        np.rint(scaled, out=scaled)
        np.clip(scaled, -127, 127, out=scaled)
        np.copyto(q, scaled, casting="unsafe")

    def decode(self, coded: Array, out: Array) -> None:
        """Multiply."""
        scales, numbers = self._parts(out.size, coded)
        there = out.size // self.unit
        cut = there * self.unit
        rows = numbers[:cut].reshape(there, self.unit)
        np.multiply(rows, scales[:there, None], out=out[:cut].reshape(there, self.unit))
        if cut < out.size:
            np.multiply(numbers[cut:], scales[-1], out=out[cut:])

    def _parts(self, count: int, coded: Array) -> tuple[Array, Array]:
        end = 4 * -(-count // self.unit)
        return coded[:end].view(np.float32), coded[end : end + count].view(np.int8)


class Int8State(HookState):
    """Settings and memory of ``int8_compress_hook``: ``block`` numbers have a scale in common.

    Errors: ShapeError for a block that is not at least 8.
    """

    def __init__(
        self, block: Annotated[int, whole(8)] = 256, use_error_feedback: bool = True
    ) -> None:
        super().__init__()
        self.block, self.use_error_feedback = block, use_error_feedback
        self.code = Int8(block)


@takes(Int8State)
def int8_compress_hook(state: Int8State, bucket: GradBucket) -> Any:
    """Sum over 8 bits: 1 + 4 / block bytes a number instead of 4.

    Each rank adds its slice of everyone's numbers and codes the sum once more; both errors are fed
    back into the next batch (the scheme of Alistarh et al. 2017, rounded to nearest).
    """
    check_floats("int8_compress_hook", bucket)
    return _rounds(state, bucket)


def _rounds(state: Int8State, bucket: GradBucket) -> Any:
    error = state.feed_back(bucket) if state.use_error_feedback else None
    yield from bucket.sum_coded(state.code, error)
