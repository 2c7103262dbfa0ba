"""Tensors as views of flat buffers, so that long arrays are updated instead of many small ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array


def bind_(tensors: Sequence[Tensor], values: Array, gradients: Array | None) -> None:
    """Make ``tensors`` consecutive views of ``values`` (1-D), keeping what they hold.

    Their gradients will be written to the same places of ``gradients``. All tensors have the
    buffers' dtype; the buffers are at least as long as the tensors together.
    """
    start = 0
    for t in tensors:
        end = start + t.size
        view = values[start:end].reshape(t.shape)
        np.copyto(view, t.data)
        t.data = view
        if gradients is not None:
            t._grad_buffer = gradients[start:end].reshape(t.shape)
        start = end


def joined(arrays: Sequence[Array]) -> Array | None:
    """Return consecutive views of one flat buffer as one flat view; None if they are not that."""
    first = arrays[0]
    if len(arrays) == 1:
        return first.reshape(-1) if first.flags.c_contiguous else None
    base = first.base
    if not isinstance(base, np.ndarray) or base.ndim != 1 or base.dtype != first.dtype:
        return None
    start = expected = _address(first)
    for a in arrays:
        if a.base is not base or _address(a) != expected or not a.flags.c_contiguous:
            return None
        expected += a.nbytes
    offset = (start - _address(base)) // base.itemsize
    if base.strides != (base.itemsize,):
        return None
    view: Array = base[offset : offset + (expected - start) // base.itemsize]
    return view


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
