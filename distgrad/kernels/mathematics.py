"""Functions for use inside kernels that LLVM can vectorise: exp as a polynomial, no branches."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba.extending import overload

# exp(x) = 2ⁿ exp(r), n = round(x / ln 2), |r| ≤ ln 2 / 2; exp(r) by Taylor's polynomial. Adding 1.5
# times two to the number of fraction bits rounds x / ln 2 to n and leaves n in the lowest bits;
# shifted into the exponent they make 2ⁿ. (2.0 ** n would call a library function, and abort.)
_F, _I = np.float32, np.int32
_SHIFT32, _MAGIC32 = np.int32(23), np.float32(12582912.0)
_LOG2E32, _LN2_HI32, _LN2_LO32 = _F(1 / math.log(2)), _F(0.693359375), _F(-2.12194440e-4)
_LOW32, _HIGH32, _ONE32 = _F(-87.0), _F(88.3), np.int32(127)
_A2, _A3, _A4, _A5, _A6, _A7 = (np.float32(1 / math.factorial(k)) for k in range(2, 8))
_F1, _F0 = np.float32(1), np.float32(0)

_SHIFT64, _MAGIC64 = np.int64(52), 6755399441055744.0
_LOG2E64, _LN2_HI64, _LN2_LO64 = 1 / math.log(2), 6.93145751953125e-1, 1.42860682030941723212e-6
_LOW64, _HIGH64, _ONE64 = -708.0, 709.0, np.int64(1023)
_B2, _B3, _B4, _B5, _B6, _B7 = (1 / math.factorial(k) for k in range(2, 8))
_B8, _B9, _B10, _B11, _B12, _B13 = (1 / math.factorial(k) for k in range(8, 14))


def exp(x: Any) -> Any:
    """e ** x: 0 below -87 (float32) or -708, infinity above 88.3 or 709; NaN stays NaN."""
    return np.exp(x)


def _exp32(x: Any) -> Any:
    z = min(max(x, _LOW32), _HIGH32)
    t = z * _LOG2E32 + _MAGIC32
    n = t - _MAGIC32
    r = (z - n * _LN2_HI32) - n * _LN2_LO32
    p = _A2 + r * (_A3 + r * (_A4 + r * (_A5 + r * (_A6 + r * _A7))))
    y = _F1 + (r + r * r * p)
    y *= _I((np.float32(t).view(np.int32) + _ONE32) << _SHIFT32).view(np.float32)
    y = y if x >= _LOW32 else _F0
    y = y if x <= _HIGH32 else _F(np.inf)
    return y if x == x else x


def _exp64(x: Any) -> Any:
    z = min(max(x, _LOW64), _HIGH64)
    t = z * _LOG2E64 + _MAGIC64
    n = t - _MAGIC64
    r = (z - n * _LN2_HI64) - n * _LN2_LO64
    p = _B8 + r * (_B9 + r * (_B10 + r * (_B11 + r * (_B12 + r * _B13))))
    p = _B2 + r * (_B3 + r * (_B4 + r * (_B5 + r * (_B6 + r * (_B7 + r * p)))))
    y = 1.0 + (r + r * r * p)
    y *= np.int64((np.float64(t).view(np.int64) + _ONE64) << _SHIFT64).view(np.float64)
    y = y if x >= _LOW64 else 0.0
    y = y if x <= _HIGH64 else np.inf
    return y if x == x else x


def _choose(x: Any) -> Any:
    return _exp32 if x == numba.types.float32 else _exp64


# No reordering inside: adding and subtracting the magic number would be taken for nothing.
overload(exp, jit_options={"fastmath": {"contract"}, "error_model": "numpy"})(_choose)
