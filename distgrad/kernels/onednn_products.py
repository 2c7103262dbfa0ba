"""Large matrix products by oneDNN, where it multiplies faster than the BLAS of NumPy's wheels does.

That is so on Intel's CPUs with AVX-512: one core of a Granite Rapids takes 0.75 to 0.97 of OpenBLAS
0.3.31's time for the products of a GPT, an MLP and an LSTM, and as long as Intel's own MKL.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from distgrad import blas
from distgrad.autograd.types import Array
from distgrad.kernels import onednn, onednn_convolution
from distgrad.kernels.intrinsics import code
from distgrad.kernels.jit import exact_kernel
from distgrad.kernels.vectors import WORD, address

_N, _T = 78, 84
"""What the library's C interface calls a matrix as it is, and a transposed one."""


class Functions(NamedTuple):
    """Where the library's product is, and OpenMP's number of threads is asked for and set."""

    multiply: int
    threads: int
    set_threads: int


def faster() -> bool:
    """Whether large products of float32 are the library's now, if it can be loaded and is right."""
    return onednn.multiplies() and blas.threads() == 1


@cache
def functions() -> Functions | None:
    """Return the library's functions, tested once; None where it is not there or not usable."""
    library = onednn_convolution.loaded()
    if library is None:
        return None
    names = "dnnl_sgemm", "omp_get_max_threads", "omp_set_num_threads"
    found = Functions(*[library.address(name) for name in names])
    if not _is_right(found):
        onednn.WRONG.append(f"oneDNN {onednn.installed()[1]} computes a wrong matrix product")
        warnings.warn(
            f"{onednn.WRONG[0]}: NumPy's BLAS multiplies instead. Install {onednn.WHEEL} anew, or "
            f"set DISTGRAD_ONEDNN=0 to say that this is meant",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return found


def _is_right(library: Functions) -> bool:
    """Compare with whole numbers, whose sums are exact."""
    m, k, n = 67, 45, 35
    a, b = (np.arange(x * y).reshape(x, y) % 13 - 6 for x, y in ((m, k), (k, n)))
    for turned in (False, True):
        left, right = (np.array(x.T if turned else x, np.float32) for x in (a, b))
        y = np.full((m, n), np.nan, np.float32)
        steps = (m, k) if turned else (k, n)
        multiply_by_library(
            left.reshape(-1), right.reshape(-1), y.reshape(-1), m, k, n, *steps, n, turned, turned,
            *library,
        )  # fmt: skip
        if not np.array_equal(y, a @ b):
            return False
    return True


@code
def _sgemm(
    typing: Any, function: Any, turn_a: Any, turn_b: Any, m: Any, n: Any, k: Any, a: Any,
    a_row: Any, b: Any, b_row: Any, c: Any, c_row: Any,
) -> Any:  # fmt: skip
    """Call dnnl_sgemm, which stands at ``function``: c = a b. Return its status, 0 if all is well.

    The address is an argument, so that what is compiled is right in other processes, too.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        letter, number, place = ir.IntType(32), ir.FloatType(), ir.FloatType().as_pointer()
        form = ir.FunctionType(
            letter,
            [letter] * 2 + [WORD] * 3 + [number] + [place, WORD] * 2 + [number, place, WORD],
        )
        call, turned, sizes = args[0], args[1:3], args[3:6]
        a, b, c = [builder.inttoptr(x, place) for x in args[6:12:2]]
        a_row, b_row, c_row = args[7:12:2]
        letters = [builder.trunc(x, letter) for x in turned]
        one, zero = ir.Constant(number, 1.0), ir.Constant(number, 0.0)
        status = builder.call(
            builder.inttoptr(call, form.as_pointer()),
            [*letters, *sizes, one, a, a_row, b, b_row, zero, c, c_row],
        )
        return builder.sext(status, WORD)

    return types.intp(*[types.intp] * 12), generate


@code
def _threads(typing: Any, function: Any) -> Any:
    """Call omp_get_max_threads."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        form = ir.FunctionType(ir.IntType(32), [])
        return builder.sext(builder.call(builder.inttoptr(args[0], form.as_pointer()), []), WORD)

    return types.intp(types.intp), generate


@code
def _set_threads(typing: Any, function: Any, count: Any) -> Any:
    """Call omp_set_num_threads."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        form = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
        count = builder.trunc(args[1], ir.IntType(32))
        builder.call(builder.inttoptr(args[0], form.as_pointer()), [count])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


@exact_kernel
def multiply_by_library(
    a: Array, b: Array, c: Array, m: int, k: int, n: int, a_row: int, b_row: int, c_row: int,
    turn_a: bool, turn_b: bool, multiply: int, threads: int, set_threads: int,
) -> None:  # fmt: skip
    """Let c, m rows of n numbers, be a b: on the calling thread alone, NaN if it cannot be done.

    Rows are so far from each other; of a factor that is turned the columns are.
    """
    before = _threads(threads)
    if before != 1:
        _set_threads(set_threads, 1)
    of_a, of_b = (_T if turn_a else _N), (_T if turn_b else _N)
    where_a, where_b, where_c = address(a, 0), address(b, 0), address(c, 0)
    status = _sgemm(multiply, of_a, of_b, m, n, k, where_a, a_row, where_b, b_row, where_c, c_row)
    if before != 1:
        _set_threads(set_threads, before)
    if status != 0:
        for i in range(m):
            c[i * c_row : i * c_row + n] = np.nan
