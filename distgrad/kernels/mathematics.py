"""Functions for use inside kernels that LLVM can vectorise: polynomials, no branches.

Each is right to a few units in the last place. Where they are called in a kernel of float32 the
numbers are float32 throughout.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.extending import overload

from distgrad.kernels.compiler import parts
from distgrad.kernels.intrinsics import code
from distgrad.kernels.scalars import bits, least, most, number

_F, _I = np.float32, np.int32


# No reordering inside: adding and subtracting the magic number would be taken for nothing. Inlined
# always: a loop over a call is not vectorised.
_HOW: dict[str, Any] = {
    "fastmath": {"contract"},
    "error_model": "numpy",
    "forceinline": True,
    **parts,
}


def vectorised(reference: Callable[..., Any], of32: Any, of64: Any) -> None:
    """Let kernels that call ``reference`` run one of these in its place."""

    def choose(x: Any) -> Any:
        return of32 if x == numba.types.float32 else of64

    def choose_of_two(y: Any, x: Any) -> Any:
        return of32 if x == numba.types.float32 else of64

    two = len(inspect.signature(reference).parameters) == 2
    overload(reference, jit_options=_HOW)(choose_of_two if two else choose)


def polynomial(dtype: Callable[[float], Any], coefficients: Iterable[float]) -> Any:
    """Return c0 + x (c1 + x (…)) for use in a kernel. A loop over them would not be vectorised."""
    names = {f"c{k}": dtype(c) for k, c in enumerate(coefficients)}
    *lower, text = names
    for name in reversed(lower):
        text = f"{name} + x * ({text})"
    return numba.njit(**_HOW)(eval(f"lambda x: {text}", names))


@code
def fma(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """x y + z of float64, rounded once, whatever the processor."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    real = numba.types.float64
    return real(real, real, real), generate


# exp(x) = 2ⁿ exp(r), n = round(x / ln 2), |r| ≤ ln 2 / 2; exp(r) by Taylor's polynomial. Adding 1.5
# times two to the number of fraction bits rounds x / ln 2 to n and leaves n in the lowest bits;
# shifted into the exponent they make 2ⁿ. (2.0 ** n would call a library function, and abort.)
_SHIFT32, _MAGIC32 = np.int32(23), np.float32(12582912.0)
_LOG2E32, _LN2_HI32, _LN2_LO32 = _F(1 / math.log(2)), _F(0.693359375), _F(-2.12194440e-4)
_LOW32, _HIGH32, _BIAS32 = _F(-87.0), _F(88.3), np.int32(127)
_A2, _A3, _A4, _A5, _A6, _A7 = (np.float32(1 / math.factorial(k)) for k in range(2, 8))
_ZERO32, _HALF32, _ONE32, _TWO32 = _F(0), _F(0.5), _F(1), _F(2)
_INF32 = _F(np.inf)

_SHIFT64, _MAGIC64 = np.int64(52), 6755399441055744.0
_LOG2E64, _LN2_HI64, _LN2_LO64 = 1 / math.log(2), 6.93145751953125e-1, 1.42860682030941723212e-6
_LOW64, _HIGH64, _BIAS64 = -708.0, 709.0, np.int64(1023)
_B2, _B3, _B4, _B5, _B6, _B7 = (1 / math.factorial(k) for k in range(2, 8))
_B8, _B9, _B10, _B11, _B12, _B13 = (1 / math.factorial(k) for k in range(8, 14))


class Exponential(NamedTuple):
    """What ``exp`` is computed with: for kernels that write it down otherwise."""

    low: float
    log2e: float
    magic: float
    ln2_high: float
    ln2_low: float
    polynomial: tuple[float, ...]
    shift: int
    bias: int


EXP = {
    "f4": Exponential(
        low=float(_LOW32),
        log2e=float(_LOG2E32),
        magic=float(_MAGIC32),
        ln2_high=float(_LN2_HI32),
        ln2_low=float(_LN2_LO32),
        polynomial=tuple([float(c) for c in (_A2, _A3, _A4, _A5, _A6, _A7)]),
        shift=int(_SHIFT32),
        bias=int(_BIAS32),
    ),
    "f8": Exponential(
        low=_LOW64,
        log2e=_LOG2E64,
        magic=_MAGIC64,
        ln2_high=_LN2_HI64,
        ln2_low=_LN2_LO64,
        polynomial=(_B2, _B3, _B4, _B5, _B6, _B7, _B8, _B9, _B10, _B11, _B12, _B13),
        shift=int(_SHIFT64),
        bias=int(_BIAS64),
    ),
}


def exp(x: Any) -> Any:
    """e ** x: 0 below -87 (float32) or -708, infinity above 88.3 or 709; NaN stays NaN."""
    return np.exp(x)


def _exp32(x: Any) -> Any:
    z = least(most(x, _LOW32), _HIGH32)
    t = z * _LOG2E32 + _MAGIC32
    n = t - _MAGIC32
    r = (z - n * _LN2_HI32) - n * _LN2_LO32
    p = _A2 + r * (_A3 + r * (_A4 + r * (_A5 + r * (_A6 + r * _A7))))
    y = _ONE32 + (r + r * r * p)
    y *= number(_I((bits(t) + _BIAS32) << _SHIFT32))
    y = y if x >= _LOW32 else _ZERO32
    y = y if x <= _HIGH32 else _INF32
    return y if x == x else x


def _exp64(x: Any) -> Any:
    z = least(most(x, _LOW64), _HIGH64)
    t = z * _LOG2E64 + _MAGIC64
    n = t - _MAGIC64
    r = (z - n * _LN2_HI64) - n * _LN2_LO64
    p = _B8 + r * (_B9 + r * (_B10 + r * (_B11 + r * (_B12 + r * _B13))))
    p = _B2 + r * (_B3 + r * (_B4 + r * (_B5 + r * (_B6 + r * (_B7 + r * p)))))
    y = 1.0 + (r + r * r * p)
    y *= number((bits(t) + _BIAS64) << _SHIFT64)
    y = y if x >= _LOW64 else 0.0
    y = y if x <= _HIGH64 else np.inf
    return y if x == x else x


def exp_of_negative(x: Any) -> Any:
    """e ** x for x ≤ 0 (NaN becomes anything), at two thirds of the price of ``exp``."""
    return np.exp(x)


def _exp_of_negative32(x: Any) -> Any:
    z = most(x, _LOW32)
    t = z * _LOG2E32 + _MAGIC32
    n = t - _MAGIC32
    r = (z - n * _LN2_HI32) - n * _LN2_LO32
    p = _A2 + r * (_A3 + r * (_A4 + r * (_A5 + r * (_A6 + r * _A7))))
    y = _ONE32 + (r + r * r * p)
    y *= number(_I((bits(t) + _BIAS32) << _SHIFT32))
    return y if x >= _LOW32 else _ZERO32


def expm1(x: Any) -> Any:
    """e ** x - 1, exact for small x; -1 below -87 (float32) or -708, infinite as ``exp`` is."""
    return np.expm1(x)


def _expm1_32(x: Any) -> Any:
    z = least(most(x, _LOW32), _HIGH32)
    t = z * _LOG2E32 + _MAGIC32
    n = t - _MAGIC32
    r = (z - n * _LN2_HI32) - n * _LN2_LO32
    p = _A2 + r * (_A3 + r * (_A4 + r * (_A5 + r * (_A6 + r * _A7))))
    s = number(_I((bits(t) + _BIAS32) << _SHIFT32))
    y = s * (r + r * r * p) + (s - _ONE32)
    y = y if x <= _HIGH32 else _INF32
    return y if x == x else x


def _expm1_64(x: Any) -> Any:
    z = least(most(x, _LOW64), _HIGH64)
    t = z * _LOG2E64 + _MAGIC64
    n = t - _MAGIC64
    r = (z - n * _LN2_HI64) - n * _LN2_LO64
    p = _B8 + r * (_B9 + r * (_B10 + r * (_B11 + r * (_B12 + r * _B13))))
    p = _B2 + r * (_B3 + r * (_B4 + r * (_B5 + r * (_B6 + r * (_B7 + r * p)))))
    s = number((bits(t) + _BIAS64) << _SHIFT64)
    y = s * (r + r * r * p) + (s - 1.0)
    y = y if x <= _HIGH64 else np.inf
    return y if x == x else x


# log(x) = n ln 2 + log(m), x = 2ⁿ m, m in [√½, √2): subtracting the bits of √½ before n is shifted
# out of the exponent puts m where it has to be. log(m) by the minimax polynomials of Cephes
# (float32) and of FreeBSD's libm, in s = (m - 1) / (m + 1).
_ROOT32, _MANTISSA32 = np.int32(0x3F3504F3), np.int32(0x007FFFFF)
_L1, _L2, _L3 = _F(3.3333331174e-1), _F(-2.4999993993e-1), _F(2.0000714765e-1)
_L4, _L5, _L6 = _F(-1.6668057665e-1), _F(1.4249322787e-1), _F(-1.2420140846e-1)
_L7, _L8, _L9 = _F(1.1676998740e-1), _F(-1.1514610310e-1), _F(7.0376836292e-2)
_TINY32, _SCALE32, _LIFT32 = _F(1.1754944e-38), _F(8388608.0), _F(23)

_ROOT64, _MANTISSA64 = np.int64(0x3FE6A09E667F3BCD), np.int64(0x000FFFFFFFFFFFFF)
_M1, _M2, _M3 = 6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01
_M4, _M5, _M6 = 2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01
_M7 = 1.479819860511658591e-01
_LN2_HIGH64, _LN2_LOW64 = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_TINY64, _SCALE64, _LIFT64 = 2.2250738585072014e-308, 4503599627370496.0, 52.0


def log(x: Any) -> Any:
    """The natural logarithm: -infinity at 0, NaN below."""
    return np.log(x)


def _log32(x: Any) -> Any:
    small = x < _TINY32
    z = x * _SCALE32 if small else x
    k = _I(bits(z) - _ROOT32)  # numba adds two int32 to an int64
    n = np.float32(_I(k >> _SHIFT32))
    m = number(_I((k & _MANTISSA32) + _ROOT32))
    n = n - _LIFT32 if small else n
    f = m - _ONE32
    q = f * f
    p = _L5 + f * (_L6 + f * (_L7 + f * (_L8 + f * _L9)))
    p = f * q * (_L1 + f * (_L2 + f * (_L3 + f * (_L4 + f * p))))
    y = f + (p + n * _LN2_LO32 - _HALF32 * q) + n * _LN2_HI32
    y = y if x > _ZERO32 else (-_INF32 if x == _ZERO32 else _F(np.nan))
    return y if x < _INF32 else x


def _log64(x: Any) -> Any:
    small = x < _TINY64
    z = x * _SCALE64 if small else x
    k = bits(z) - _ROOT64
    n: Any = np.float64(k >> _SHIFT64)
    m = number((k & _MANTISSA64) + _ROOT64)
    n = n - _LIFT64 if small else n
    f = m - 1.0
    s = f / (2.0 + f)
    q = s * s
    r = q * (_M1 + q * (_M2 + q * (_M3 + q * (_M4 + q * (_M5 + q * (_M6 + q * _M7))))))
    half = 0.5 * f * f
    y = (s * (half + r) + n * _LN2_LOW64) - half + f + n * _LN2_HIGH64
    y = y if x > 0.0 else (-np.inf if x == 0.0 else np.nan)
    return y if x < np.inf else x


def log1p(x: Any) -> Any:
    """log(1 + x), exact for small x."""
    return np.log1p(x)


def _log1p32(x: Any) -> Any:
    # What rounding 1 + x loses comes back as its share of the slope.
    u = _ONE32 + x
    y = log(u) + (x - (u - _ONE32)) / u
    y = y if u > _ZERO32 else log(u)
    return y if x < _INF32 else x


def _log1p64(x: Any) -> Any:
    u = 1.0 + x
    y = log(u) + (x - (u - 1.0)) / u
    y = y if u > 0.0 else log(u)
    return y if x < np.inf else x


def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    return np.tanh(x)


_FLAT32, _FLAT64 = _F(9.5), 19.5  # from here on it is ±1


def _tanh32(x: Any) -> Any:
    e = expm1(_TWO32 * least(abs(x), _FLAT32))
    y = e / (e + _TWO32)
    y = y if x >= _ZERO32 else -y
    return y if x == x else x


def _tanh64(x: Any) -> Any:
    e = expm1(2.0 * least(abs(x), _FLAT64))
    y = e / (e + 2.0)
    y = y if x >= 0.0 else -y
    return y if x == x else x


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def _sigmoid32(x: Any) -> Any:
    return _ONE32 / (_ONE32 + exp(-x))


def _sigmoid64(x: Any) -> Any:
    return 1.0 / (1.0 + exp(-x))


for _reference, _of32, _of64 in (
    (exp, _exp32, _exp64),
    (exp_of_negative, _exp_of_negative32, _exp64),
    (expm1, _expm1_32, _expm1_64),
    (log, _log32, _log64),
    (log1p, _log1p32, _log1p64),
    (tanh, _tanh32, _tanh64),
    (sigmoid, _sigmoid32, _sigmoid64),
):
    vectorised(_reference, _of32, _of64)


# -- the largest of many --------------------------------------------------------------------------

_SIGN32, _REST32 = _I(31), _I(0x7FFFFFFF)
_SIGN64, _REST64 = np.int64(63), np.int64(2**63 - 1)


def rank(x: Any) -> Any:
    """A whole number in the order of x (NaN is above or below all), of which ``unrank`` gives x.

    Of whole numbers LLVM finds the largest in vectors, of floats not: one may be NaN.
    """
    k = np.asarray(x).view(f"i{np.asarray(x).itemsize}")
    return np.where(k < 0, k ^ np.iinfo(k.dtype).max, k)


def _rank32(x: Any) -> Any:
    k = bits(x)
    return _I(k ^ _I(_I(k >> _SIGN32) & _REST32))


def _rank64(x: Any) -> Any:
    k = bits(x)
    return k ^ ((k >> _SIGN64) & _REST64)


def unrank(k: Any) -> Any:
    """The number whose ``rank`` is k."""
    k = rank(np.asarray(k).view(f"f{np.asarray(k).itemsize}"))
    return k.view(f"f{k.itemsize}")


def _unrank32(k: Any) -> Any:
    return number(_I(k ^ _I(_I(k >> _SIGN32) & _REST32)))


def _unrank64(k: Any) -> Any:
    return number(k ^ ((k >> _SIGN64) & _REST64))


vectorised(rank, _rank32, _rank64)


@overload(unrank, jit_options=_HOW)  # type: ignore[untyped-decorator]
def _unrank(k: Any) -> Any:
    return _unrank32 if k == numba.types.int32 else _unrank64
