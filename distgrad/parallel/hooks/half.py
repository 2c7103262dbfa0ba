"""16 bits a number on the wire: IEEE's half precision, or the upper half of float32 (bfloat16)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad.autograd.types import Array
from distgrad.parallel.hooks.bucket import GradBucket
from distgrad.parallel.hooks.coded import Code
from distgrad.parallel.hooks.plain import allreduce_hook
from distgrad.parallel.hooks.state import check_floats, state_type, takes

_RUN = 1 << 14  # numbers rounded at a time, so that they stay in the cache


class Float16:
    """IEEE 754 half precision, to nearest even; above 65504 it is infinite."""

    unit = 1

    def nbytes(self, count: int) -> int:
        """Return two bytes a number."""
        return 2 * count

    def encode(self, values: Array, out: Array) -> None:
        """Round."""
        with np.errstate(over="ignore", invalid="ignore"):  # not finite: the policy sees it
            out.view(np.float16)[...] = values

    def decode(self, coded: Array, out: Array) -> None:
        """Widen."""
        out[...] = coded.view(np.float16)


class BFloat16:
    """The upper 16 bits of float32, to nearest even: its range, three decimal digits."""

    unit = 1

    def nbytes(self, count: int) -> int:
        """Return two bytes a number."""
        return 2 * count

    def encode(self, values: Array, out: Array) -> None:
        """Round."""
        upper = out.view(np.uint16)
        low = np.empty(min(values.size, _RUN), np.uint32)
        for start in range(0, values.size, _RUN):
            run = values[start : start + _RUN].astype(np.float32)
            bits, odd = run.view(np.uint32), low[: run.size]
            nan = np.isnan(run)
            np.right_shift(bits, 16, out=odd)
            odd &= 1
            odd += 0x7FFF
            bits += odd
            bits >>= 16
            upper[start : start + _RUN] = bits
            if nan.any():  # the carry would make a number of it
                upper[start : start + _RUN][nan] = 0x7FC0

    def decode(self, coded: Array, out: Array) -> None:
        """Widen."""
        upper = coded.view(np.uint16)
        if out.dtype == np.float32:
            np.left_shift(upper, 16, out=out.view(np.uint32), dtype=np.uint32)
        else:
            out[...] = (upper.astype(np.uint32) << 16).view(np.float32)


FLOAT16, BFLOAT16 = Float16(), BFloat16()


def fp16_compress_hook(process_group: Any, bucket: GradBucket) -> Any:
    """Sum over half precision: each rank's gradients rounded, their sum rounded once more.

    ``process_group`` is not used. Bytes: half of float32's. A number above 65504 becomes infinite,
    which the model's ``nonfinite=`` policy treats like any other.
    """
    return fp16_compress_wrapper(allreduce_hook)(process_group, bucket)


def bf16_compress_hook(process_group: Any, bucket: GradBucket) -> Any:
    """Sum over bfloat16 as ``fp16_compress_hook`` over half precision; nothing overflows."""
    return bf16_compress_wrapper(allreduce_hook)(process_group, bucket)


def fp16_compress_wrapper(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``hook`` with all real numbers it sends in half precision; it computes as before."""
    return _sending(FLOAT16, hook, "fp16_compress_wrapper")


def bf16_compress_wrapper(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``hook`` with all real numbers it sends in bfloat16; it computes as before."""
    return _sending(BFLOAT16, hook, "bf16_compress_wrapper")


def _sending(code: Code, hook: Callable[..., Any], wrapper: str) -> Callable[..., Any]:
    def wrapped(state: Any, bucket: GradBucket) -> Any:
        check_floats(wrapped.__name__, bucket)
        bucket.code = code
        return hook(state, bucket)

    wrapped.__name__ = f"{wrapper}({getattr(hook, '__name__', type(hook).__name__)})"
    kind = state_type(hook)
    return wrapped if kind is None else takes(kind)(wrapped)
