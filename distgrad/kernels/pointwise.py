"""Twins of activations: a formula and its derivative each, see recipe.py.

F is float32 or float64. Conditions are written so that NaN goes where it stays NaN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.kernels import mathematics as m
from distgrad.kernels import special
from distgrad.kernels.recipe import of_one

# -- linear in pieces -------------------------------------------------------------------------


@of_one
def relu(F: Any) -> Any:
    zero = F(0)

    def value(x: Any) -> Any:
        return zero if x <= zero else x

    def back(g: Any, y: Any) -> Any:
        return zero if y == zero else g

    return value, back


@of_one
def leaky_relu(F: Any) -> Any:
    zero = F(0)

    def value(x: Any, negative_slope: Any) -> Any:
        return x if x > zero else negative_slope * x

    def back(g: Any, x: Any, negative_slope: Any) -> Any:
        return g if x > zero else negative_slope * g

    return value, back


@of_one
def hardtanh(F: Any) -> Any:
    zero = F(0)

    def value(x: Any, min_val: Any, max_val: Any) -> Any:
        y = min_val if x < min_val else x
        return max_val if x > max_val else y

    def back(g: Any, x: Any, min_val: Any, max_val: Any) -> Any:
        return zero if (x <= min_val) | (x >= max_val) else g

    return value, back


@of_one
def hardsigmoid(F: Any) -> Any:
    zero, half, one, three, sixth = F(0), F(0.5), F(1), F(3), F(1 / 6)

    def value(x: Any) -> Any:
        y = zero if x <= -three else x * sixth + half
        return one if x >= three else y

    def back(g: Any, x: Any) -> Any:
        return g * sixth if (x > -three) & (x < three) else zero

    return value, back


@of_one
def hardswish(F: Any) -> Any:
    zero, half, one, three, third, sixth = F(0), F(0.5), F(1), F(3), F(1 / 3), F(1 / 6)

    def value(x: Any) -> Any:
        s = (x + three) * sixth
        s = zero if s < zero else s
        return x * (one if s > one else s)

    def back(g: Any, x: Any) -> Any:
        d = g * (x * third + half) if x > -three else zero
        return d if x < three else g

    return value, back


@of_one
def hardshrink(F: Any) -> Any:
    zero = F(0)

    def value(x: Any, lambd: Any) -> Any:
        return zero if abs(x) <= lambd else x

    def back(g: Any, x: Any, lambd: Any) -> Any:
        return zero if abs(x) <= lambd else g

    return value, back


@of_one
def softshrink(F: Any) -> Any:
    zero = F(0)

    def value(x: Any, lambd: Any) -> Any:
        y = x - lambd if x > zero else x + lambd
        return zero if abs(x) <= lambd else y

    def back(g: Any, x: Any, lambd: Any) -> Any:
        return zero if abs(x) <= lambd else g

    return value, back


@of_one
def threshold(F: Any) -> Any:
    zero = F(0)

    def cut(x: Any, threshold: Any, value: Any) -> Any:
        return value if x <= threshold else x

    def back(g: Any, x: Any, threshold: Any, value: Any) -> Any:
        return zero if x <= threshold else g

    return cut, back


# -- smooth -----------------------------------------------------------------------------------


@of_one
def sigmoid(F: Any) -> Any:
    one = F(1)

    def value(x: Any) -> Any:
        return m.sigmoid(x)

    def back(g: Any, y: Any) -> Any:
        return g * (y * (one - y))

    return value, back


@of_one
def logsigmoid(F: Any) -> Any:
    zero = F(0)

    def value(x: Any) -> Any:
        return (x if x < zero else zero) - m.log1p(m.exp(-abs(x)))

    def back(g: Any, x: Any) -> Any:
        return g * m.sigmoid(-x)

    return value, back


@of_one
def softplus(F: Any) -> Any:
    zero = F(0)

    def value(x: Any, beta: Any, threshold: Any) -> Any:
        z = beta * x
        y = ((z if z > zero else zero) + m.log1p(m.exp(-abs(z)))) / beta
        return x if z > threshold else y

    def back(g: Any, x: Any, beta: Any, threshold: Any) -> Any:
        z = beta * x
        return g if z > threshold else g * m.sigmoid(z)

    return value, back


@of_one
def silu(F: Any) -> Any:
    one = F(1)

    def value(x: Any) -> Any:
        return x * m.sigmoid(x)

    def back(g: Any, x: Any) -> Any:
        s = m.sigmoid(x)
        return g * (s * (one + x * (one - s)))

    return value, back


@of_one
def mish(F: Any) -> Any:
    # With e = exp(x) tanh(log(1 + e)) is n / (n + 2), n = e (e + 2); beyond 20 it is 1.
    one, two, four, most = F(1), F(2), F(4), F(20)

    def value(x: Any) -> Any:
        e = m.exp(most if x > most else x)
        n = e * (e + two)
        return x * (n / (n + two))

    def back(g: Any, x: Any) -> Any:
        z = most if x > most else x
        e = m.exp(z)
        n = e * (e + two)
        r = one / (n + two)
        return g * (n * r + z * (four * (n + one) * r * r) * (e / (one + e)))

    return value, back


@of_one
def elu(F: Any) -> Any:
    zero = F(0)

    def value(x: Any, alpha: Any, scale: Any, rate: Any) -> Any:
        return scale * (x if x > zero else alpha * m.expm1(rate * x))

    def back(g: Any, x: Any, alpha: Any, scale: Any, rate: Any) -> Any:
        return scale * g * (F(1) if x > zero else rate * alpha * m.exp(rate * x))

    return value, back


@of_one
def gelu_tanh(F: Any) -> Any:
    # a/2 (1 + tanh u) = a / (1 + exp(-2u)), with 2u = a (A + B a²).
    one, three = F(1), F(3)
    A = F(2 * math.sqrt(2 / math.pi))
    B = F(0.044715) * A

    def value(x: Any) -> Any:
        return x * m.sigmoid(x * (A + B * x * x))

    def back(g: Any, x: Any) -> Any:
        s = m.sigmoid(x * (A + B * x * x))
        return g * (s + x * s * (one - s) * (A + three * B * x * x))

    return value, back


@of_one
def gelu(F: Any) -> Any:
    scale = F(1 / math.sqrt(2 * math.pi))

    def value(x: Any) -> Any:
        cdf, _ = special.normal(x)
        return x * cdf

    def back(g: Any, x: Any) -> Any:
        cdf, e = special.normal(x)
        return g * (cdf + x * (scale * e))

    return value, back


@of_one
def normal_cdf(F: Any) -> Any:
    half, scale = F(0.5), F(1 / math.sqrt(2 * math.pi))

    def value(x: Any) -> Any:
        return special.normal_cdf(x)

    def back(g: Any, x: Any) -> Any:
        return g * (scale * m.exp(-half * x * x))

    return value, back


@of_one
def erf(F: Any) -> Any:
    scale = F(2 / math.sqrt(math.pi))

    def value(x: Any) -> Any:
        return special.erf(x)

    def back(g: Any, x: Any) -> Any:
        return g * (scale * m.exp(-x * x))

    return value, back


@of_one
def erfc(F: Any) -> Any:
    zero, two, scale = F(0), F(2), F(-2 / math.sqrt(math.pi))

    def value(x: Any) -> Any:
        rest = special.tail(abs(x))
        return two - rest if x < zero else rest

    def back(g: Any, x: Any) -> Any:
        return g * (scale * m.exp(-x * x))

    return value, back


@of_one
def erfinv(F: Any) -> Any:
    half, scale, root = F(0.5), F(math.sqrt(math.pi) / 2), F(math.sqrt(0.5))

    def value(x: Any) -> Any:
        return root * special.quantile(half * x, half - half * abs(x))

    def back(g: Any, y: Any) -> Any:
        return g * (scale * m.exp(y * y))

    return value, back


@of_one
def ndtri(F: Any) -> Any:
    half, one, scale = F(0.5), F(1), F(math.sqrt(2 * math.pi))

    def value(x: Any) -> Any:
        return special.quantile(x - half, x if x < half else one - x)

    def back(g: Any, y: Any) -> Any:
        return g * (scale * m.exp(half * y * y))

    return value, back


@of_one
def logit(F: Any) -> Any:
    zero, one, nan = F(0), F(1), F(np.nan)

    def value(x: Any, low: Any, high: Any) -> Any:
        p = low if x < low else x
        p = high if p > high else p
        return m.log(p / (one - p))

    def back(g: Any, x: Any, low: Any, high: Any) -> Any:
        d = g / (x * (one - x) if (x >= zero) & (x <= one) else nan)
        return zero if (x < low) | (x > high) else d

    return value, back


# -- constant in pieces, or nearly -------------------------------------------------------------


@of_one
def log_ndtr(F: Any) -> Any:
    zero, half, one = F(0), F(0.5), F(1)
    root, scale = F(math.sqrt(0.5)), F(1 / math.sqrt(2 * math.pi))

    def value(x: Any) -> Any:
        rest, square = half * special.scaled_tail(abs(x) * root), half * x * x
        below = m.log(rest) - square
        return below if x < zero else m.log1p(-rest * m.exp(-square))

    def back(g: Any, x: Any) -> Any:
        # φ / Φ: through erfcx where both vanish.
        rest, e = half * special.scaled_tail(abs(x) * root), m.exp(-half * x * x)
        return g * (scale / rest if x < zero else scale * e / (one - rest * e))

    return value, back


@of_one
def frac(F: Any) -> Any:
    def value(x: Any) -> Any:
        return x - np.trunc(x)

    def back(g: Any, x: Any) -> Any:
        return g

    return value, back


@of_one
def nan_to_num(F: Any) -> Any:
    zero, inf = F(0), F(np.inf)

    def value(x: Any, nan: Any, posinf: Any, neginf: Any) -> Any:
        y = posinf if x == inf else (neginf if x == -inf else x)
        return nan if x != x else y

    def back(g: Any, x: Any, nan: Any, posinf: Any, neginf: Any) -> Any:
        return g if abs(x) < inf else zero

    return value, back


@of_one
def sign(F: Any) -> Any:
    zero, one = F(0), F(1)

    def value(x: Any) -> Any:
        y = -one if x < zero else zero
        return one if x > zero else (x if x != x else y)

    def back(g: Any, x: Any) -> Any:
        return zero

    return value, back
