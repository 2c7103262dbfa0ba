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
    """IEEE 754 half precision, to nearest even; above 65504 it is infinite.

    By the bits (Giesen, "Float->half variants", 2012): NumPy's own conversion takes 40 times as
    long, 67 ns a number, where the result is below 2^-14, as that of most gradients is.
    """

    unit = 1

    def nbytes(self, count: int) -> int:
        """Return two bytes a number."""
        return 2 * count

    def encode(self, values: Array, out: Array) -> None:
        """Round."""
        halves = out.view(np.uint16)
        with np.errstate(over="ignore", invalid="ignore"):  # not finite: the policy sees it
            for start in range(0, values.size, _RUN):
                bits = values[start : start + _RUN].astype(np.float32).view(np.uint32)
                halves[start : start + _RUN] = _to_half(bits)

    def decode(self, coded: Array, out: Array) -> None:
        """Widen."""
        halves = coded.view(np.uint16)
        for start in range(0, halves.size, _RUN):
            bits = _from_half(halves[start : start + _RUN])
            out[start : start + _RUN] = bits.view(np.float32)


def _to_half(bits: Array) -> Array:
    """Return the bits of float32 numbers rounded to half precision."""
    size = bits & 0x7FFFFFFF
    largest = size.max()
    # The exponent's offset changes from 127 to 15; then 13 bits go, half of them rounded up.
    halves = size >> 13
    halves &= 1
    halves += size
    halves += np.uint32(0x100000000 - (112 << 23) + 0xFFF)
    halves >>= 13
    if largest >= 0x477FF000:  # 65520, from which on it is infinite
        np.minimum(halves, 0x7C00, out=halves)
        halves[size > 0x7F800000] = 0x7E00  # NaN
    # Below 2^-14 halves are multiples of 2^-24, as the numbers between 0.5 and 1 in float32.
    small = (size.view(np.float32) + np.float32(0.5)).view(np.uint32)
    small -= 0x3F000000
    np.copyto(halves, small, where=size < 0x38800000)
    sign = bits >> 16
    sign &= 0x8000
    halves |= sign
    return halves


def _from_half(halves: Array) -> Array:
    """Return the bits of half-precision numbers as those of float32."""
    size = (halves & 0x7FFF).astype(np.uint32)
    bits = size << 13
    bits += 112 << 23
    if size.max() >= 0x7C00:
        bits[size >= 0x7C00] += 112 << 23  # infinite, or NaN
    # Below 2^-14: the digits behind those of 2^-14, which is taken off again.
    small = size << 13
    small += 113 << 23
    small = (small.view(np.float32) - np.float32(2**-14)).view(np.uint32)
    np.copyto(bits, small, where=size < 0x400)
    sign = (halves & 0x8000).astype(np.uint32)
    sign <<= 16
    bits |= sign
    return bits


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
