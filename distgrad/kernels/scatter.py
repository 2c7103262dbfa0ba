"""Twin of the embedding: rows are looked up by NumPy, their gradients added by a kernel."""

from __future__ import annotations

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array
from distgrad.kernels.arrays import dense, suits
from distgrad.kernels.jit import kernel
from distgrad.ops.indexing import checked_rows


def embedding(indices: Array, weight: Array, *, padding_idx: int | None = None) -> OpResult | None:
    """The twin of ``ops.embedding``."""
    if not suits(weight) or weight.ndim != 2:
        return None
    rows = checked_rows(indices, weight)
    flat_rows = np.array(rows, np.int64).reshape(-1)

    def vjp(g: Array) -> Array:
        d = np.zeros(weight.shape, weight.dtype)
        if flat_rows.size:
            _add_rows(dense(g).reshape(flat_rows.size, -1), flat_rows, d)
        if padding_idx is not None:
            d[padding_idx] = 0
        return d

    return weight[rows], (None, vjp)


@kernel
def _add_rows(g: Array, rows: Array, d: Array) -> None:
    for i in range(rows.size):
        r = rows[i]
        for j in range(d.shape[1]):
            d[r, j] += g[i, j]
