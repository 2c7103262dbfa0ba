"""Twin of the embedding: rows are looked up by NumPy, their gradients added by a kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.kernels.arrays import dense, suits
from distgrad.kernels.jit import kernel
from distgrad.ops.indexing import checked_rows


def embedding(indices: Any, weight: Any, *, padding_idx: int | None = None) -> Any:
    """The twin of ``ops.embedding``."""
    if not suits(weight) or weight.ndim != 2:
        return None
    rows = checked_rows(indices, weight)
    flat_rows = np.array(rows, np.int64).reshape(-1)

    def vjp(g: Any) -> Any:
        d = np.zeros(weight.shape, weight.dtype)
        if flat_rows.size:
            _add_rows(dense(g).reshape(flat_rows.size, -1), flat_rows, d)
        if padding_idx is not None:
            d[padding_idx] = 0
        return d

    return weight[rows], (None, vjp)


@kernel
def _add_rows(g: Any, rows: Any, d: Any) -> None:
    for i in range(rows.size):
        r = rows[i]
        for j in range(d.shape[1]):
            d[r, j] += g[i, j]
