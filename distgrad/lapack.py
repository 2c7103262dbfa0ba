"""LAPACK's LU factorisation, which NumPy has and does not show: called in NumPy's own library.

Where that cannot be found, or does not answer as it should, there is none.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache, partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from distgrad import blas

Array: TypeAlias = npt.NDArray[Any]
_LETTERS = {"f": "s", "d": "d", "F": "c", "D": "z"}
_NAMES = ("scipy_{}getrf_64_", "{}getrf_64_", "scipy_{}getrf_", "{}getrf_")


def has_lu(dtype: np.dtype[Any]) -> bool:
    """Whether ``lu`` takes matrices of this dtype."""
    return _getrf(dtype.char) is not None


def lu(a: Array) -> tuple[Array, Array]:
    """L and U of each matrix (…, m, n) in one, and which row each was exchanged with, from 0 on."""
    function = _getrf(a.dtype.char)
    assert function is not None, "has_lu says where there is none"
    m, n = a.shape[-2:]
    columns = np.array(a.swapaxes(-1, -2), order="C")  # LAPACK's matrices lie in columns
    pivots = np.empty((*a.shape[:-2], min(m, n)), np.int64)
    for place in np.ndindex(a.shape[:-2]):
        function(columns[place], pivots[place])
    return columns.swapaxes(-1, -2), pivots - 1


@cache
def _getrf(char: str) -> Callable[[Array, Array], None] | None:
    """Return what factors a matrix (n, m) of columns in place, pivots from 1 on beside it."""
    path = blas.file()
    if char not in _LETTERS or path is None:
        return None
    library = ctypes.CDLL(path)  # loaded already
    for name in _NAMES:
        function = getattr(library, name.format(_LETTERS[char]), None)
        if function is not None:
            return _checked(function, char)
    return None


def _checked(function: Any, char: str) -> Callable[[Array, Array], None] | None:
    """Return a call of getrf once its whole numbers are known: they have 32 or 64 bits."""

    def call(columns: Array, pivots: Array, whole: Any = np.int64) -> None:
        # Of a small number's 64 bits the first 32 are the same number.
        n, m = columns.shape
        sizes = [ctypes.byref(ctypes.c_int64(k)) for k in (m, n, max(m, 1))]
        own = pivots if whole is np.int64 else np.empty(pivots.shape, whole)
        rows, columns_, leading = sizes
        info = ctypes.byref(ctypes.c_int64(0))
        function(
            rows, columns_, columns.ctypes.data_as(ctypes.c_void_p), leading,
            own.ctypes.data_as(ctypes.c_void_p), info,
        )  # fmt: skip
        pivots[...] = own

    for whole in (np.int64, np.int32):
        a, pivots = np.array([[1, 2], [4, 4]], char), np.zeros(2, np.int64)
        call(a, pivots, whole)
        if pivots.tolist() == [2, 2] and a.tolist() == [[2, 0.5], [4, 2]]:
            return partial(call, whole=whole)
    return None
