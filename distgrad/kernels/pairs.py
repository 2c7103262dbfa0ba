"""Twins of elementwise ops of several inputs, and of losses: see recipe.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.kernels import mathematics as m
from distgrad.kernels import special
from distgrad.kernels.jit import inlined
from distgrad.kernels.recipe import of_loss, of_operands, of_three_operands, of_two


@of_operands
def maximum(F: Any) -> Any:
    zero, half = F(0), F(0.5)

    def value(a: Any, b: Any) -> Any:
        return a if (a >= b) | (a != a) else b

    def to_a(g: Any, a: Any, b: Any) -> Any:
        return g if a > b else (half * g if a == b else zero)

    def to_b(g: Any, a: Any, b: Any) -> Any:
        return g if b > a else (half * g if a == b else zero)

    return value, to_a, to_b


@of_operands
def minimum(F: Any) -> Any:
    zero, half = F(0), F(0.5)

    def value(a: Any, b: Any) -> Any:
        return a if (a <= b) | (a != a) else b

    def to_a(g: Any, a: Any, b: Any) -> Any:
        return g if a < b else (half * g if a == b else zero)

    def to_b(g: Any, a: Any, b: Any) -> Any:
        return g if b < a else (half * g if a == b else zero)

    return value, to_a, to_b


@of_two
def prelu(F: Any) -> Any:
    zero = F(0)

    def value(a: Any, b: Any) -> Any:
        return a if a > zero else b * a

    def to_a(g: Any, a: Any, b: Any) -> Any:
        return g if a > zero else b * g

    def to_b(g: Any, a: Any) -> Any:
        return zero if a > zero else g * a

    return value, to_a, to_b


@of_operands
def logaddexp(F: Any) -> Any:
    half = F(0.5)

    def value(a: Any, b: Any) -> Any:
        d = -abs(a - b)
        top = a if (a >= b) | (a != a) else b
        # Of two equal infinities the difference is NaN.
        return top + (F(math.log(2)) if a == b else m.log1p(m.exp(d)))

    def to_a(g: Any, a: Any, b: Any) -> Any:
        return g * (half if a == b else m.sigmoid(a - b))

    def to_b(g: Any, a: Any, b: Any) -> Any:
        return g * (half if a == b else m.sigmoid(b - a))

    return value, to_a, to_b


@of_operands
def logaddexp2(F: Any) -> Any:
    half, one, ln2, log2e = F(0.5), F(1), F(math.log(2)), F(1 / math.log(2))

    def value(a: Any, b: Any) -> Any:
        d = -abs(a - b) * ln2
        top = a if (a >= b) | (a != a) else b
        return top + (one if a == b else log2e * m.log1p(m.exp(d)))

    def to_a(g: Any, a: Any, b: Any) -> Any:
        return g * (half if a == b else m.sigmoid(ln2 * (a - b)))

    def to_b(g: Any, a: Any, b: Any) -> Any:
        return g * (half if a == b else m.sigmoid(ln2 * (b - a)))

    return value, to_a, to_b


def _radius(F: Any) -> Any:
    zero, one, inf = F(0), F(1), F(np.inf)

    def radius(a: Any, b: Any) -> Any:
        # Of the ratio, which cannot overflow.
        x, z = abs(a), abs(b)
        high, low = (x if x > z else z), (z if x > z else x)
        t = low / (high if high > zero else one)
        r = high * np.sqrt(one + t * t)
        return inf if (x == inf) | (z == inf) else r + (low - low)

    return inlined(radius)


@of_operands
def hypot(F: Any) -> Any:
    zero, one, radius = F(0), F(1), _radius(F)

    def value(a: Any, b: Any) -> Any:
        return radius(a, b)

    def to_a(g: Any, a: Any, y: Any) -> Any:
        return g * (a / (one if y == zero else y))

    def to_b(g: Any, b: Any, y: Any) -> Any:
        return g * (b / (one if y == zero else y))

    return value, to_a, to_b


@of_operands
def arctan2(F: Any) -> Any:
    zero, one, radius = F(0), F(1), _radius(F)

    def value(a: Any, b: Any) -> Any:
        return special.arctan2(a, b)

    def to_a(g: Any, a: Any, b: Any) -> Any:
        r = radius(a, b)
        r = one if r == zero else r
        return g * (b / r / r)

    def to_b(g: Any, a: Any, b: Any) -> Any:
        r = radius(a, b)
        r = one if r == zero else r
        return -g * (a / r / r)

    return value, to_a, to_b


@of_operands
def copysign(F: Any) -> Any:
    zero, one = F(0), F(1)

    def value(a: Any, b: Any) -> Any:
        return math.copysign(a, b)

    def to_a(g: Any, a: Any, b: Any) -> Any:
        sign = one if a > zero else (-one if a < zero else a - a)
        return g * (sign * math.copysign(one, b))

    def to_b(g: Any, b: Any) -> Any:
        return zero

    return value, to_a, to_b


@of_three_operands
def lerp(F: Any) -> Any:
    half, one = F(0.5), F(1)

    def value(a: Any, b: Any, c: Any) -> Any:
        step = b - a
        return a + c * step if abs(c) < half else b - (one - c) * step

    def to_a(g: Any, c: Any) -> Any:
        return g * (one - c)

    def to_b(g: Any, c: Any) -> Any:
        return g * c

    def to_weight(g: Any, a: Any, b: Any) -> Any:
        return g * (b - a)

    return value, to_a, to_b, to_weight


@of_loss
def huber(F: Any) -> Any:
    half = F(0.5)

    def cut(a: Any, b: Any, delta: Any) -> Any:
        d = a - b
        low = -delta if d < -delta else d
        return delta if d > delta else low

    c = inlined(cut)

    def value(a: Any, b: Any, delta: Any, scale: Any) -> Any:
        return scale * (c(a, b, delta) * ((a - b) - half * c(a, b, delta)))

    def to_a(g: Any, a: Any, b: Any, delta: Any, scale: Any) -> Any:
        return g * (scale * c(a, b, delta))

    def to_b(g: Any, a: Any, b: Any, delta: Any, scale: Any) -> Any:
        return -(g * (scale * c(a, b, delta)))

    return value, to_a, to_b


@of_loss
def binary_cross_entropy(F: Any) -> Any:
    one, least, tiny = F(1), F(-100), F(1e-12)

    def log(p: Any) -> Any:
        y = m.log(p)
        return least if y < least else y

    def log_rest(p: Any) -> Any:
        y = m.log1p(-p)
        return least if y < least else y

    yes, no = inlined(log), inlined(log_rest)

    def value(a: Any, b: Any) -> Any:
        return (b - one) * no(a) - b * yes(a)

    def to_a(g: Any, a: Any, b: Any) -> Any:
        spread = a * (one - a)
        return g * (a - b) / (tiny if spread < tiny else spread)

    def to_b(g: Any, a: Any, b: Any) -> Any:
        return g * (no(a) - yes(a))

    return value, to_a, to_b


@of_loss
def mse(F: Any) -> Any:
    two = F(2)

    def value(a: Any, b: Any) -> Any:
        return (a - b) * (a - b)

    def to_a(g: Any, a: Any, b: Any) -> Any:
        return two * (a - b) * g

    def to_b(g: Any, a: Any, b: Any) -> Any:
        return two * (b - a) * g

    return value, to_a, to_b


@of_loss
def binary_cross_entropy_with_logits(F: Any) -> Any:
    zero = F(0)

    def value(a: Any, b: Any) -> Any:
        return (a if a > zero else zero) - a * b + m.log1p(m.exp(-abs(a)))

    def to_a(g: Any, a: Any, b: Any) -> Any:
        return (m.sigmoid(a) - b) * g

    def to_b(g: Any, a: Any, b: Any) -> Any:
        return -a * g

    return value, to_a, to_b


@of_loss
def kl_div(F: Any) -> Any:
    zero, one = F(0), F(1)

    def log(t: Any) -> Any:
        return m.log(one if t == zero else t)

    logarithm = inlined(log)

    def value(a: Any, b: Any, log_target: Any) -> Any:
        return m.exp(b) * (b - a) if log_target > zero else b * (logarithm(b) - a)

    def to_a(g: Any, a: Any, b: Any, log_target: Any) -> Any:
        return -(m.exp(b) if log_target > zero else b) * g

    def to_b(g: Any, a: Any, b: Any, log_target: Any) -> Any:
        if log_target > zero:
            return m.exp(b) * (b - a + one) * g
        return (logarithm(b) - a + (zero if b == zero else one)) * g

    return value, to_a, to_b


@of_loss
def poisson_nll(F: Any) -> Any:
    def value(a: Any, b: Any) -> Any:
        return m.exp(a) - b * a

    def to_a(g: Any, a: Any, b: Any) -> Any:
        return (m.exp(a) - b) * g

    def to_b(g: Any, a: Any, b: Any) -> Any:
        return -a * g

    return value, to_a, to_b


@of_loss
def soft_margin(F: Any) -> Any:
    zero = F(0)

    def value(a: Any, b: Any) -> Any:
        z = -b * a
        return (z if z > zero else zero) + m.log1p(m.exp(-abs(z)))

    def to_a(g: Any, a: Any, b: Any) -> Any:
        return -m.sigmoid(-b * a) * g * b

    def to_b(g: Any, a: Any, b: Any) -> Any:
        return -m.sigmoid(-b * a) * g * a

    return value, to_a, to_b


@of_loss
def margin_ranking(F: Any) -> Any:
    zero = F(0)

    def value(a: Any, b: Any, margin: Any) -> Any:
        z = margin - b * a
        return zero if z < zero else z

    def to_a(g: Any, a: Any, b: Any, margin: Any) -> Any:
        return -(g if margin - b * a >= zero else zero) * b

    def to_b(g: Any, a: Any, b: Any, margin: Any) -> Any:
        return -(g if margin - b * a >= zero else zero) * a

    return value, to_a, to_b


@of_loss
def hinge_embedding(F: Any) -> Any:
    zero, one = F(0), F(1)

    def value(a: Any, b: Any, margin: Any) -> Any:
        rest = margin - a
        rest = zero if (rest < zero) | (b == one) else rest
        return rest + (zero if b == -one else a)

    def to_a(g: Any, a: Any, b: Any, margin: Any) -> Any:
        near = zero if b == -one else g
        far = g if (b != one) & (margin - a >= zero) else zero
        return near - far

    def to_b(g: Any, a: Any, b: Any, margin: Any) -> Any:
        return zero

    return value, to_a, to_b
