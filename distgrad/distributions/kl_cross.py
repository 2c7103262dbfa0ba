"""KL divergences of two different families, by integration."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.distributions.counts import Bernoulli, Binomial, Poisson
from distgrad.distributions.exponential import Exponential, Gumbel, Laplace, Uniform
from distgrad.distributions.gamma import Beta, Gamma
from distgrad.distributions.kl import register_kl
from distgrad.distributions.normal import Cauchy, Normal
from distgrad.distributions.shared import EULER, broadcast_to, constant
from distgrad.ops.exponential import xlogy
from distgrad.ops.gamma import digamma, lgamma


@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p: Bernoulli, q: Poisson) -> Any:
    return -p.entropy() - (p.probs * np.log(q.rate) - q.rate)


@register_kl(Beta, Exponential)
def _beta_exponential(p: Beta, q: Exponential) -> Any:
    return -p.entropy() - np.log(q.rate) + q.rate * p.mean


@register_kl(Beta, Gamma)
def _beta_gamma(p: Beta, q: Gamma) -> Any:
    a, b = p.concentration1, q.concentration
    log_mean = digamma(a) - digamma(a + p.concentration0)
    rest = b * np.log(q.rate) - lgamma(b) + (b - 1) * log_mean - q.rate * p.mean
    return -p.entropy() - rest


@register_kl(Beta, Normal)
def _beta_normal(p: Beta, q: Normal) -> Any:
    mean, precision = p.mean, q.scale**-2
    t1 = -p.entropy() + 0.5 * np.log(2 * math.pi / precision)
    t2 = (p.variance + mean**2) * 0.5
    return t1 + precision * (t2 - mean * q.loc + q.loc**2 * 0.5)


@register_kl(Exponential, Gamma)
def _exponential_gamma(p: Exponential, q: Gamma) -> Any:
    ratio, a = q.rate / p.rate, q.concentration
    return -a * np.log(ratio) + ratio + lgamma(a) + a * EULER - (1 + EULER)


@register_kl(Exponential, Gumbel)
def _exponential_gumbel(p: Exponential, q: Gumbel) -> Any:
    product = p.rate * q.scale
    t1 = np.log(product) - 1
    t2 = np.exp(q.loc / q.scale) * product / (product + 1)
    return t1 + t2 - q.loc / q.scale + np.reciprocal(product)


@register_kl(Exponential, Normal)
def _exponential_normal(p: Exponential, q: Normal) -> Any:
    variance, square = q.scale**2, p.rate**2
    t1 = 0.5 * np.log(square * variance * 2 * math.pi)
    t2, t3 = np.reciprocal(square), q.loc / p.rate
    return t1 - 1 + (t2 - t3 + q.loc**2 * 0.5) / variance


@register_kl(Gamma, Exponential)
def _gamma_exponential(p: Gamma, q: Exponential) -> Any:
    return -p.entropy() - np.log(q.rate) + q.rate * p.concentration / p.rate


@register_kl(Gamma, Gumbel)
def _gamma_gumbel(p: Gamma, q: Gumbel) -> Any:
    product, a = p.rate * q.scale, p.concentration
    where = q.loc / q.scale
    t1 = (a - 1) * digamma(a) - lgamma(a) - a
    t2 = np.log(product) + a / product
    return t1 + t2 + np.exp(where) * (1 + np.reciprocal(product)) ** -a - where


@register_kl(Gamma, Normal)
def _gamma_normal(p: Gamma, q: Normal) -> Any:
    variance, square, a = q.scale**2, p.rate**2, p.concentration
    t1 = 0.5 * np.log(square * variance * 2 * math.pi) - a - lgamma(a)
    t2 = 0.5 * (a * a + a) / square
    t3 = q.loc * a / p.rate
    return t1 + (a - 1) * digamma(a) + (t2 - t3 + 0.5 * q.loc**2) / variance


@register_kl(Gumbel, Normal)
def _gumbel_normal(p: Gumbel, q: Normal) -> Any:
    ratio = p.scale / q.scale
    t1 = np.log(ratio / math.sqrt(2 * math.pi))
    t2 = (math.pi * ratio * 0.5) ** 2 / 3
    t3 = ((p.loc + p.scale * EULER - q.loc) / q.scale) ** 2 * 0.5
    return -t1 + t2 + t3 - (EULER + 1)


@register_kl(Laplace, Normal)
def _laplace_normal(p: Laplace, q: Normal) -> Any:
    variance = q.scale**2
    ratio = p.scale**2 / variance
    t1 = 0.5 * np.log(2 * ratio / math.pi)
    t2, t3 = 0.5 * p.loc**2, p.loc * q.loc
    return -t1 + ratio + (t2 - t3 + 0.5 * q.loc**2) / variance - 1


@register_kl(Normal, Gumbel)
def _normal_gumbel(p: Normal, q: Gumbel) -> Any:
    mean, variance = p.loc / q.scale, (p.scale / q.scale) ** 2
    t1, where = mean - q.loc / q.scale, q.loc / q.scale
    t2 = np.exp(-mean + 0.5 * variance + where)
    return t1 + t2 - 0.5 * (1 + math.log(2 * math.pi)) - np.log(p.scale / q.scale)


@register_kl(Normal, Laplace)
def _normal_laplace(p: Normal, q: Laplace) -> Any:
    away, ratio = p.loc - q.loc, p.scale / q.scale
    z = away / p.scale
    t1 = np.log(ratio)
    t2 = math.sqrt(2 / math.pi) * p.scale * np.exp(-0.5 * z**2)
    from_0 = away * (2 * Normal(0.0, 1.0, validate_args=False).cdf(z) - 1)
    return -t1 + (t2 + from_0) / q.scale - 0.5 * (1 + math.log(0.5 * math.pi))


def x_log_x(x: Any) -> Any:
    """X log x, 0 for what is not positive."""
    x = np.clip(x, 0, None)  # below, the divergence is infinite
    return xlogy(x, x)


def outside(kl: Any, where: Any) -> Any:
    """``kl``, infinite where p takes values at which q has no density."""
    return np.where(np.broadcast_to(where, kl.shape), math.inf, kl)


@register_kl(Uniform, Exponential)
def _uniform_exponential(p: Uniform, q: Exponential) -> Any:
    kl = q.rate * (p.high + p.low) / 2 - np.log((p.high - p.low) * q.rate)
    return outside(kl, p.low < 0)


@register_kl(Uniform, Gamma)
def _uniform_gamma(p: Uniform, q: Gamma) -> Any:
    width, a = p.high - p.low, q.concentration
    t1 = np.log(width)
    t2 = (x_log_x(p.high) - x_log_x(p.low) - width) / width
    kl = -t1 + q.rate * (p.high + p.low) / 2 + lgamma(a) - a * np.log(q.rate) - (a - 1) * t2
    return outside(kl, p.low < 0)


@register_kl(Uniform, Gumbel)
def _uniform_gumbel(p: Uniform, q: Gumbel) -> Any:
    scale = q.scale / (p.high - p.low)
    high, low = ((x - q.loc) / q.scale for x in (p.high, p.low))
    t1 = np.log(scale) + 0.5 * (high + low)
    return t1 - scale * (np.exp(-high) - np.exp(-low))


@register_kl(Uniform, Normal)
def _uniform_normal(p: Uniform, q: Normal) -> Any:
    width = p.high - p.low
    t1 = np.log(math.sqrt(math.pi * 2) * q.scale / width)
    t2 = width**2 / 12 + ((p.high + p.low - 2 * q.loc) / 2) ** 2
    return t1 + 0.5 * t2 / q.scale**2


_ON_THE_LINE = (Cauchy, Gumbel, Laplace, Normal)
_POSITIVE = (Exponential, Gamma)
_BOUNDED = (Beta, Uniform)
_NOWHERE = [
    *((p, q) for p in _ON_THE_LINE for q in (*_POSITIVE, *_BOUNDED)),
    *((p, q) for p in _POSITIVE for q in _BOUNDED),
    (Beta, Uniform),
    (Uniform, Beta),
    *((Poisson, q) for q in (Bernoulli, Binomial)),
]


def infinite(p: Any, q: Any) -> Any:
    """∞: p takes values at which q has no density."""
    first = next(v for v in vars(p).values() if isinstance(v, Tensor))
    shape = np.broadcast_shapes(p.batch_shape, q.batch_shape)
    return broadcast_to(constant(math.inf, first), shape)


for _p, _q in _NOWHERE:
    if (_p, _q) not in {(Beta, Uniform), (Uniform, Beta)}:
        register_kl(_p, _q)(infinite)


@register_kl(Beta, Uniform)
def _beta_uniform(p: Beta, q: Uniform) -> Any:
    kl = -p.entropy() + np.log(q.high - q.low)
    return outside(kl, (q.low > 0) | (q.high < 1))


@register_kl(Uniform, Beta)
def _uniform_beta(p: Uniform, q: Beta) -> Any:
    width = p.high - p.low
    t1 = np.log(width)
    one = (x_log_x(p.high) - x_log_x(p.low) - width) / width
    high, low = 1 - p.high, 1 - p.low
    two = (x_log_x(high) - x_log_x(low) + width) / -width
    logs = (q.concentration1 - 1) * one + (q.concentration0 - 1) * two
    total = q.concentration1 + q.concentration0
    kl = -t1 - logs + lgamma(q.concentration1) + lgamma(q.concentration0) - lgamma(total)
    return outside(kl, (p.high > 1) | (p.low < 0))
