"""Examples of distgrad's functions that work element by element."""

import numpy as np

import distgrad as dg

x = dg.tensor([-1.0, 0.5, 2.0])
y = dg.tensor([2.0, 3.0, 4.0])
n = dg.tensor([12, 7, -5])
m = dg.tensor([4, 3, 2])
z = dg.tensor([3 + 4j, 1 - 1j])
yes = dg.tensor([True, True, False])
no = dg.tensor([True, False, False])

# Examples

dg.abs(x)

dg.acos(dg.tensor([1.0, 0.0]))

dg.acosh(dg.tensor([1.0, 2.0]))

dg.add(x, y, alpha=10)

dg.addcdiv(x, y, dg.tensor([1.0, 2.0, 4.0]), value=0.5)

dg.addcmul(x, y, y, value=0.1)

dg.angle(z)

dg.arcsin(dg.tensor([0.0, 1.0]))

dg.arcsinh(x)

dg.arctan(x)

dg.arctan2(x, y)

dg.arctanh(dg.tensor([0.0, 0.5]))

dg.bitwise_and(n, m)

dg.bitwise_left_shift(n, 2)

dg.bitwise_not(n)

dg.bitwise_or(n, m)

dg.bitwise_right_shift(n, 1)

dg.bitwise_xor(n, m)

dg.ceil(x)

dg.clamp(x, min=0.0, max=1.0)

dg.clamp_max(x, 1.0)

dg.clamp_min(x, 0.0)

dg.complex(x, y)

dg.conj(z)

dg.conj_physical(z)

dg.copysign(y, x)

dg.cos(x)

dg.cosh(x)

dg.deg2rad(dg.tensor([0.0, 90.0, 180.0]))

dg.digamma(y)

dg.div(x, y, rounding_mode="floor")

dg.eq(n, dg.tensor([12, 0, -5]))

dg.erf(x)

dg.erfc(x)

dg.erfinv(dg.tensor([0.0, 0.5]))

dg.exp(x)

dg.exp2(x)

dg.expm1(x)

dg.fix(dg.tensor([-1.7, 1.7]))

dg.float_power(n, 2)

# float_power_: of float64
dg.float_power_(dg.tensor([2.0, 3.0], dtype=dg.float64), 2)

dg.floor(x)

dg.floor_divide(n, m)

dg.fmax(x, dg.tensor([0.0, np.nan, 1.0]))

dg.fmin(x, dg.tensor([0.0, np.nan, 1.0]))

dg.fmod(n, m)

dg.frac(dg.tensor([-1.25, 2.5]))

dg.frexp(dg.tensor([6.0, 0.75]))

dg.gcd(n, m)

dg.ge(x, 0.5)

dg.greater(x, 0.5)

dg.heaviside(x, dg.tensor(0.5))

dg.hypot(dg.tensor([3.0, 5.0]), dg.tensor([4.0, 12.0]))

dg.i0(x)

dg.igamma(y, dg.tensor([1.0, 2.0, 3.0]))

dg.igammac(y, dg.tensor([1.0, 2.0, 3.0]))

dg.imag(z)

dg.isclose(x, x + 1e-9)

dg.isfinite(dg.tensor([1.0, np.inf, np.nan]))

dg.isin(n, dg.tensor([7, 8]))

dg.isinf(dg.tensor([1.0, np.inf, np.nan]))

dg.isnan(dg.tensor([1.0, np.inf, np.nan]))

dg.isneginf(dg.tensor([-np.inf, np.inf]))

dg.isposinf(dg.tensor([-np.inf, np.inf]))

dg.isreal(dg.tensor([1 + 0j, 1j]))

dg.lcm(n, m)

dg.ldexp(x, dg.tensor([1, 2, 3]))

dg.le(x, 0.5)

dg.lerp(x, y, 0.5)

dg.less(x, 0.5)

dg.lgamma(y)

dg.log(y)

dg.log10(dg.tensor([1.0, 100.0]))

dg.log1p(y)

dg.log2(y)

dg.logaddexp(x, y)

dg.logaddexp2(x, y)

dg.logical_and(yes, no)

dg.logical_not(yes)

dg.logical_or(yes, no)

dg.logical_xor(yes, no)

dg.logit(dg.tensor([0.25, 0.5]))

dg.maximum(x, dg.tensor([0.0, 0.0, 3.0]))

dg.minimum(x, dg.tensor([0.0, 0.0, 3.0]))

dg.mul(x, y)

dg.mvlgamma(y, 2)

dg.nan_to_num(dg.tensor([np.nan, np.inf, 1.0]), posinf=9.0)

dg.ne(n, 7)

dg.neg(x)

# nextafter, nextafter_
step = dg.nextafter(dg.tensor(1.0), dg.tensor(2.0)) - 1
step, dg.nextafter_(dg.tensor(0.0), dg.tensor(1.0))

dg.polar(dg.tensor([1.0, 2.0]), dg.tensor([0.0, np.pi / 2]))

dg.polygamma(1, y)

dg.positive(x)

dg.pow(y, 2)

dg.rad2deg(dg.tensor([0.0, np.pi]))

dg.real(z)

dg.reciprocal(y)

dg.relu(x)

dg.remainder(n, m)

dg.round(dg.tensor([0.5, 1.5, 2.345]), decimals=2)

dg.rsqrt(y)

dg.rsub(x, 10)

dg.selu(x)

dg.sgn(z)

dg.sigmoid(x)

dg.sign(x)

dg.signbit(x)

dg.sin(x)

dg.sinc(x)

dg.sinh(x)

dg.sqrt(y)

dg.square(x)

dg.sub(x, y)

dg.tan(x)

dg.tanh(x)

dg.threshold(x, 0.0, -7.0)

dg.true_divide(x, y)

dg.where(x > 0, x, 0.1 * x)

dg.xlogy(x, y)
