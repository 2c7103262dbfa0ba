"""The twin of ``np.nextafter``, for which NumPy calls C's function number by number."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.types import Array
from distgrad.kernels.arrays import flat
from distgrad.kernels.jit import exact_kernel

_BITS: dict[Any, Any] = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}
_LEAST = {whole: whole(np.iinfo(whole).min) for whole in _BITS.values()}


def nextafter(a: Array, b: Array) -> Array | None:
    """Return the numbers next to ``a`` in the direction of ``b``, of one shape and dtype."""
    whole = _BITS.get(a.dtype)
    if whole is None or b.dtype != a.dtype or a.shape != b.shape:
        return None
    x, z, y = flat(a), flat(b), np.empty(a.size, whole)
    _next(x, z, x.view(whole), z.view(whole), _LEAST[whole], y)
    return y.view(a.dtype).reshape(a.shape)


@exact_kernel
def _next(a: Array, b: Array, p: Array, q: Array, sign: int, y: Array) -> None:
    """Let y be the bits: away from 0 they grow by one, read as a whole number."""
    for i in range(y.size):
        up, down = a[i] < b[i], a[i] > b[i]
        step = 1 if up == (a[i] > 0) else -1
        from_0 = 1 if up else sign + 1  # the smallest number of either sign
        moved = from_0 if a[i] == 0 else p[i] + step
        still = p[i] if a[i] != a[i] else q[i]  # NaN stays; C returns b where both are equal
        y[i] = moved if up or down else still
