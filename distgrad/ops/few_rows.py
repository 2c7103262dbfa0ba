"""x Wᵀ of few rows, by the form that the BLAS computes faster: (W xᵀ)ᵀ.

OpenBLAS copies the large factor in pieces before it multiplies; its AVX-512 kernels take twice as
long to copy W as the left factor's transpose as to copy it as the right factor, and few rows do not
make up for that. Both forms have the same bits there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.blas import AVX512, kernels

_WORTHWHILE = 1 << 20  # multiplications: below, OpenBLAS multiplies without copying
_MOST_ROWS = 160
# Rows that are powers of two apart share few places of a cache when they are turned.
_GAP = 16


def turned_is_faster(x: Any, weight: Any) -> bool:
    """Whether ``turned`` is faster than x Wᵀ of these two matrices; by their shapes and the BLAS.

    Measured on a Zen 5 (float32, one thread): 128 rows of 1024, W of 1024 × 1024 takes 0.85 of the
    time, 64 rows 0.75, 16 rows 0.5. AVX2 kernels and float64 gain nothing.
    """
    rows = x.shape[0]
    return (
        rows * weight.size >= _WORTHWHILE
        and 1 < rows <= _MOST_ROWS
        and weight.ndim == 2
        # What is saved grows with W, what it costs with the result.
        and 4 * rows <= min(weight.shape)
        and not isinstance(x, Tensor)
        and not isinstance(weight, Tensor)
        and x.dtype == weight.dtype == np.float32
        and weight.flags.c_contiguous
        and kernels() in AVX512
    )


def turned(x: Array, weight: Array, bias: Array | None) -> Array:
    """Return x Wᵀ + b (b may be None), computed as (W xᵀ)ᵀ."""
    rows, outputs = x.shape[0], weight.shape[0]
    columns = np.empty((outputs, rows + _GAP), x.dtype)[:, :rows]
    np.matmul(weight, x.T, out=columns)
    y = np.empty((rows, outputs), x.dtype)
    if bias is None:
        np.copyto(y, columns.T)
        return y
    if bias.dtype != y.dtype:
        return np.add(columns.T, bias, order="C")
    return np.add(columns.T, bias, out=y)
