"""The error function, its inverse and angles for use inside kernels: see mathematics.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from distgrad.kernels.mathematics import exp, exp_of_negative, log, polynomial, vectorised
from distgrad.kernels.scalars import bits, number
from distgrad.ops.special import ERF, ERFC

_F, _I = np.float32, np.int32
_ZERO32, _HALF32, _ONE32, _INF32 = _F(0), _F(0.5), _F(1), _F(np.inf)

# erfc(z) for z ≥ 0. In float64 t exp(p(u) - z²), t = 2 / (2 + z), u = 2t - 1 (ops/special.py); in
# float32 t p(u) exp(-z²), t = 3 / (3 + z), fitted to a relative error of 2e-9, which is half the
# work. p's even and odd powers stand apart, so that two chains of products run side by side.
# Below ½ erf has its own series, where 1 - erfc would lose digits.
_POWERS32: tuple[float, ...] = (
    0.358002303,
    0.294464828,
    0.19674277,
    0.103488695,
    0.0398429559,
    0.00894644914,
)
_POWERS32 += (-0.000408404304, -0.00102659666, -0.000161859948, 0.000108858745)
_POWERS64 = chebyshev.cheb2poly(np.array([ERFC[0] / 2, *ERFC[1:]]))
_even32, _odd32 = polynomial(_F, _POWERS32[::2]), polynomial(_F, _POWERS32[1::2])
_even64, _odd64 = polynomial(float, _POWERS64[::2]), polynomial(float, _POWERS64[1::2])
_near32, _near64 = polynomial(_F, ERF[:6]), polynomial(float, ERF)
_ROOT_HALF32, _ROOT_HALF64 = _F(math.sqrt(0.5)), math.sqrt(0.5)
_THREE32, _TEN32, _ROOT_PI32 = _F(3), _F(10), _F(1 / math.sqrt(math.pi))
_far32 = polynomial(_F, (1.0, -1 / 2, 3 / 4, -15 / 8))


def tail(x: Any) -> Any:
    """erfc(x) for x ≥ 0, with a small relative error."""
    return np.vectorize(math.erfc)(x)


def _tail32(x: Any) -> Any:
    t = _THREE32 / (_THREE32 + x)
    u = t + t - _ONE32
    q = u * u
    return t * (_even32(q) + u * _odd32(q)) * exp_of_negative(-x * x)


def _tail64(x: Any) -> Any:
    t = 2.0 / (2.0 + x)
    u = t + t - 1.0
    q = u * u
    return t * exp(_even64(q) + u * _odd64(q) - x * x)


def scaled_tail(x: Any) -> Any:
    """exp(x²) erfc(x) for x ≥ 0."""
    return np.exp(x * x) * np.vectorize(math.erfc)(x)


def _scaled_tail32(x: Any) -> Any:
    t = _THREE32 / (_THREE32 + x)
    u = t + t - _ONE32
    q = u * u
    near = t * (_even32(q) + u * _odd32(q))  # fitted up to 10; beyond, the first powers of 1 / x²
    return _ROOT_PI32 / x * _far32(_ONE32 / (x * x)) if x > _TEN32 else near


def _scaled_tail64(x: Any) -> Any:
    t = 2.0 / (2.0 + x)
    u = t + t - 1.0
    q = u * u
    return t * exp(_even64(q) + u * _odd64(q))


def normal(x: Any) -> Any:
    """The standard normal distribution function and exp(-x² / 2), which share their work."""
    return np.vectorize(math.erfc)(-x * math.sqrt(0.5)) / 2, np.exp(-x * x / 2)


def _normal32(x: Any) -> Any:
    z = abs(x) * _ROOT_HALF32
    t = _THREE32 / (_THREE32 + z)
    u = t + t - _ONE32
    q = u * u
    e = exp_of_negative(-z * z)
    rest = _HALF32 * t * (_even32(q) + u * _odd32(q)) * e
    return (rest if x < _ZERO32 else _ONE32 - rest), e


def _normal64(x: Any) -> Any:
    rest = 0.5 * tail(abs(x) * _ROOT_HALF64)
    return (rest if x < 0.0 else 1.0 - rest), exp(-0.5 * x * x)


def erf(x: Any) -> Any:
    """The error function."""
    return np.vectorize(math.erf)(x)


def _erf32(x: Any) -> Any:
    z = abs(x)
    far = _ONE32 - tail(z)
    far = far if x >= _ZERO32 else -far
    return x * _near32(x * x) if z < _HALF32 else far


def _erf64(x: Any) -> Any:
    z = abs(x)
    far = 1.0 - tail(z)
    far = far if x >= 0.0 else -far
    return x * _near64(x * x) if z < 0.5 else far


def normal_cdf(x: Any) -> Any:
    """The standard normal distribution function, with a small relative error everywhere."""
    return np.vectorize(math.erfc)(-x * math.sqrt(0.5)) / 2


def _normal_cdf32(x: Any) -> Any:
    z = x * _ROOT_HALF32
    rest = _HALF32 * tail(abs(z))
    rest = rest if x < _ZERO32 else _ONE32 - rest
    return _HALF32 + _HALF32 * z * _near32(z * z) if abs(z) < _HALF32 else rest


def _normal_cdf64(x: Any) -> Any:
    z = x * _ROOT_HALF64
    rest = 0.5 * tail(abs(z))
    rest = rest if x < 0.0 else 1.0 - rest
    return 0.5 + 0.5 * z * _near64(z * z) if abs(z) < 0.5 else rest


# The quantile of the normal distribution by Wichura's rational functions (AS 241, PPND16), of the
# distance to ½ in the middle, of √-log p in the tails.
_A: tuple[float, ...] = (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3)
_A += (1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4)
_A += (3.3430575583588128105e4, 2.5090809287301226727e3)
_B: tuple[float, ...] = (
    1.0,
    4.2313330701600911252e1,
    6.8718700749205790830e2,
    5.3941960214247511077e3,
)
_B += (2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4)
_B += (5.2264952788528545610e3,)
_C: tuple[float, ...] = (
    1.42343711074968357734e0,
    4.63033784615654529590e0,
    5.76949722146069140550e0,
)
_C += (3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1)
_C += (2.27238449892691845833e-2, 7.74545014278341407640e-4)
_D: tuple[float, ...] = (
    1.0,
    2.05319162663775882187e0,
    1.67638483018380384940e0,
    6.89767334985100004550e-1,
)
_D += (1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4)
_D += (1.05075007164441684324e-9,)
_E: tuple[float, ...] = (
    6.65790464350110377720e0,
    5.46378491116411436990e0,
    1.78482653991729133580e0,
)
_E += (2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3)
_E += (2.71155556874348757815e-5, 2.01033439929228813265e-7)
_G: tuple[float, ...] = (
    1.0,
    5.99832206555887937690e-1,
    1.36929880922735805310e-1,
    1.48753612908506148525e-2,
)
_G += (7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7)
_G += (2.04426310338993978564e-15,)
_a32, _b32, _c32 = polynomial(_F, _A), polynomial(_F, _B), polynomial(_F, _C)
_d32, _e32, _g32 = polynomial(_F, _D), polynomial(_F, _E), polynomial(_F, _G)
_a64, _b64, _c64 = polynomial(float, _A), polynomial(float, _B), polynomial(float, _C)
_d64, _e64, _g64 = polynomial(float, _D), polynomial(float, _E), polynomial(float, _G)
_NEAR32, _SQUARE32, _MIDDLE32, _FIVE32 = _F(0.425), _F(0.180625), _F(1.6), _F(5)


def quantile(y: Any, x: Any) -> Any:
    """The normal quantile of p, given y = p - ½ and x = min(p, 1 - p)."""
    raise NotImplementedError("in kernels alone")


def _quantile32(y: Any, x: Any) -> Any:
    t = _SQUARE32 - y * y
    near = y * (_a32(t) / _b32(t))
    s = np.sqrt(-log(x))
    u, v = s - _MIDDLE32, s - _FIVE32
    far = _e32(v) / _g32(v) if s > _FIVE32 else _c32(u) / _d32(u)
    far = far if x > _ZERO32 else (_INF32 if x == _ZERO32 else _F(np.nan))
    far = far if y >= _ZERO32 else -far
    return near if abs(y) <= _NEAR32 else far


def _quantile64(y: Any, x: Any) -> Any:
    t = 0.180625 - y * y
    near = y * (_a64(t) / _b64(t))
    s = np.sqrt(-log(x))
    u, v = s - 1.6, s - 5.0
    far = _e64(v) / _g64(v) if s > 5.0 else _c64(u) / _d64(u)
    far = far if x > 0.0 else (np.inf if x == 0.0 else np.nan)
    far = far if y >= 0.0 else -far
    return near if abs(y) <= 0.425 else far


# atan(t), t = low / high in [0, 1]: beyond tan(π/8) it is π/4 + atan((low - high) / (low + high)),
# so that the polynomial (Cephes', FreeBSD's) is asked for what is small. Signs are copied as bits.
_BEND32, _QUARTER32, _RIGHT32, _PI32 = _F(0.41421356), _F(math.pi / 4), _F(math.pi / 2), _F(math.pi)
_BEND64, _QUARTER64 = 0.41421356, math.pi / 4
_SIGN32, _SIGN64 = np.int32(-(1 << 31)), np.int64(-(1 << 63))
_TAIL64 = 6.123233995736766e-17  # of π/2
_atan32 = polynomial(_F, (-3.33329491539e-1, 1.99777106478e-1, -1.38776856032e-1, 8.05374449538e-2))
_atan64 = polynomial(
    float,
    (
        *(-3.33333333333329318027e-01, 1.99999999998764832476e-01, -1.42857142725034663711e-01),
        *(1.11111104054623557880e-01, -9.09088713343650656196e-02, 7.69187620504482999495e-02),
        *(-6.66107313738753120669e-02, 5.83357013379057348645e-02, -4.97687799461593236017e-02),
        *(3.65315727442169155270e-02, -1.62858201153657823623e-02),
    ),
)


def arctan2(y: Any, x: Any) -> Any:
    """The angle of the point (x, y)."""
    return np.arctan2(y, x)


def _arctan2_32(y: Any, x: Any) -> Any:
    a, b = abs(y), abs(x)
    low, high = (b if a > b else a), (a if a > b else b)
    steep = low > _BEND32 * high
    bottom = low + high if steep else high
    t = (low - high if steep else low) / bottom
    t = _ZERO32 if (bottom == _ZERO32) | (high == _INF32) else t
    q = t * t
    r = t + t * q * _atan32(q)
    r = r + _QUARTER32 if steep | ((low == _INF32) & (high == _INF32)) else r
    r = _RIGHT32 - r if a > b else r
    r = _PI32 - r if bits(x) < 0 else r
    angle = number(_I(bits(r) | (bits(y) & _SIGN32)))
    return angle if (x == x) & (y == y) else x + y


def _arctan2_64(y: Any, x: Any) -> Any:
    a, b = abs(y), abs(x)
    low, high = (b if a > b else a), (a if a > b else b)
    steep = low > _BEND64 * high
    bottom = low + high if steep else high
    t = (low - high if steep else low) / bottom
    t = 0.0 if (bottom == 0.0) | (high == np.inf) else t
    q = t * t
    r = t + t * q * _atan64(q)
    r = r + _QUARTER64 if steep | ((low == np.inf) & (high == np.inf)) else r
    r = math.pi / 2 - (r - _TAIL64) if a > b else r
    r = math.pi - (r - 2 * _TAIL64) if bits(x) < 0 else r
    angle = number(bits(r) | (bits(y) & _SIGN64))
    return angle if (x == x) & (y == y) else x + y


for _reference, _of32, _of64 in (
    (tail, _tail32, _tail64),
    (scaled_tail, _scaled_tail32, _scaled_tail64),
    (normal, _normal32, _normal64),
    (erf, _erf32, _erf64),
    (normal_cdf, _normal_cdf32, _normal_cdf64),
    (quantile, _quantile32, _quantile64),
    (arctan2, _arctan2_32, _arctan2_64),
):
    vectorised(_reference, _of32, _of64)
