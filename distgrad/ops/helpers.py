"""What several ops share: values outside the tape, closures that hold arrays or Tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.mode import empty_shard
from distgrad.autograd.op import Op
from distgrad.autograd.tensor import Array, Tensor
from distgrad.errors import ShapeError


def conjugate(z: Any) -> Any:
    """The conjugate of complex numbers; real ones as they are, at no cost."""
    if isinstance(z, int | float | complex):
        return z.conjugate()  # np.conj would make an array of it, whose dtype is no longer weak
    return np.conj(z) if z.dtype.kind == "c" else z


def data_of(a: Any) -> Any:
    """Return the array of a Tensor (or the array itself), for what no gradient flows through."""
    return a.data if isinstance(a, Tensor) else a


def either(op: Op, *inputs: Any, **settings: Any) -> Any:
    """Run ``op`` on arrays or Tensors alike: a gradient closure may hold either."""
    if any(isinstance(x, Tensor) for x in inputs):
        return op(*inputs, **settings)
    return op.function(*inputs, **settings)[0]


def mean_count(n: Any) -> Any:
    """What the sum of ``n`` terms, or of terms of weight ``n``, is divided by for their mean.

    The mean over nothing is NaN, as in NumPy and PyTorch; in an empty shard it is 0.
    """
    if type(n) is int and n:
        return n
    # Not 0: 0 / 0 is NaN too, but with a warning.
    nothing = 1 if empty_shard.get() else math.nan
    return nothing if type(n) is int else np.where(data_of(n) == 0, nothing, n)


def integers(values: Any, what: str) -> Array:
    """Return ``values`` as an integer array. Errors: ShapeError for another dtype."""
    array = np.asarray(data_of(values))
    if array.dtype.kind not in "iu":
        raise ShapeError(f"{what} must be integers; got dtype {array.dtype}: use .astype(np.int64)")
    return array


def first_outside(values: Array, count: int) -> tuple[int, str] | None:
    """Return the first of ``values`` that is not in 0..count-1, and its index in words."""
    outside = (values < 0) | (values >= count)
    if not outside.any():
        return None
    at = np.unravel_index(int(np.argmax(outside)), values.shape)
    return int(values[at]), ", ".join(str(int(i)) for i in at) or "()"
