"""NumPy's inner loops by address: what a ufunc does with contiguous or strided elements.

They are found through the public struct of ufuncs (``PyUFuncObject``), so a captured step that
calls them has NumPy's bits whatever processor NumPy has chosen its code for.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, NamedTuple

import numpy as np


class Loop(NamedTuple):
    """An inner loop ``(char **args, npy_intp *dimensions, npy_intp *strides, void *data)``."""

    function: int
    data: int


class _Ufunc(ctypes.Structure):
    _fields_ = (
        ("ob_refcnt", ctypes.c_ssize_t),
        ("ob_type", ctypes.c_void_p),
        ("nin", ctypes.c_int),
        ("nout", ctypes.c_int),
        ("nargs", ctypes.c_int),
        ("identity", ctypes.c_int),
        ("functions", ctypes.POINTER(ctypes.c_void_p)),
        ("data", ctypes.POINTER(ctypes.c_void_p)),
        ("ntypes", ctypes.c_int),
    )


@cache
def readable() -> bool:
    """Whether ufuncs and arrays lie in memory as this file takes it."""
    for ufunc in (np.add, np.matmul, np.tanh):
        found = _Ufunc.from_address(id(ufunc))
        told = found.nin, found.nout, found.nargs, found.ntypes, found.ob_type
        if told != (ufunc.nin, ufunc.nout, ufunc.nargs, ufunc.ntypes, id(np.ufunc)):
            return False
    a = np.arange(3.0)[1:]
    return ctypes.c_void_p.from_address(id(a) + 16).value == a.ctypes.data


@cache
def loop(ufunc: np.ufunc, dtypes: tuple[np.dtype[Any], ...]) -> Loop | None:
    """Return the loop of inputs and outputs of these dtypes; None if there is none."""
    form = "".join(d.char for d in dtypes)
    wanted = f"{form[: ufunc.nin]}->{form[ufunc.nin :]}"
    if wanted not in ufunc.types or not all(d.isnative for d in dtypes):
        return None
    number, found = ufunc.types.index(wanted), _Ufunc.from_address(id(ufunc))
    function = found.functions[number]
    return Loop(function, (found.data[number] or 0) if found.data else 0) if function else None
