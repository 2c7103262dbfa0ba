"""KL divergences with Pareto and ContinuousBernoulli, by integration."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.distributions.continuous_bernoulli import ContinuousBernoulli
from distgrad.distributions.exponential import Exponential, Gumbel, Laplace, Uniform
from distgrad.distributions.gamma import Beta, Gamma
from distgrad.distributions.kl import register_kl
from distgrad.distributions.kl_cross import infinite, outside, x_log_x
from distgrad.distributions.normal import Normal
from distgrad.distributions.pareto import Pareto
from distgrad.ops.gamma import lgamma

_NOWHERE = [
    *(
        (p, Pareto)
        for p in (Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Laplace, Normal)
    ),
    *((p, ContinuousBernoulli) for p in (Exponential, Gamma, Gumbel, Laplace, Normal, Pareto)),
    *((Pareto, q) for q in (Beta, Uniform)),
]
for _p, _q in _NOWHERE:
    register_kl(_p, _q)(infinite)


def _mean_log(p: Pareto) -> Any:
    return np.log(p.scale) + np.reciprocal(p.alpha)


def _to_normal(entropy: Any, mean: Any, variance: Any, q: Normal) -> Any:
    """-H - E log q of a normal q, which two moments tell."""
    squares = (variance + (mean - q.loc) ** 2) / q.scale**2
    return -entropy + 0.5 * (math.log(2 * math.pi) + squares) + np.log(q.scale)


@register_kl(Pareto, Pareto)
def _pareto(p: Pareto, q: Pareto) -> Any:
    ratio = q.alpha / p.alpha
    kl = q.alpha * np.log(p.scale / q.scale) - np.log(ratio) + ratio - 1
    return outside(kl, p.scale < q.scale)


@register_kl(Pareto, Exponential)
def _pareto_exponential(p: Pareto, q: Exponential) -> Any:
    return -p.entropy() - np.log(q.rate) + q.rate * p.mean


@register_kl(Pareto, Gamma)
def _pareto_gamma(p: Pareto, q: Gamma) -> Any:
    a = q.concentration
    logs = a * np.log(q.rate) - lgamma(a) + (a - 1) * _mean_log(p)
    return -p.entropy() - logs + q.rate * p.mean


@register_kl(Pareto, Normal)
def _pareto_normal(p: Pareto, q: Normal) -> Any:
    finite = p.alpha > 2
    mean, variance = (np.where(finite, m, 1.0) for m in (p.mean, p.variance))
    return outside(_to_normal(p.entropy(), mean, variance, q), ~finite)


@register_kl(Uniform, Pareto)
def _uniform_pareto(p: Uniform, q: Pareto) -> Any:
    width = p.high - p.low
    mean_log = (x_log_x(p.high) - x_log_x(p.low) - width) / width
    logs = np.log(q.alpha) + q.alpha * np.log(q.scale) - (q.alpha + 1) * mean_log
    return outside(-np.log(width) - logs, p.low < q.scale)


def _mean_log_density(q: ContinuousBernoulli, mean: Any) -> Any:
    return mean * q.logits + np.log1p(-q.probs) + q._log_norm()


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _continuous_bernoulli(p: ContinuousBernoulli, q: ContinuousBernoulli) -> Any:
    return -p.entropy() - _mean_log_density(q, p.mean)


@register_kl(ContinuousBernoulli, Exponential)
def _continuous_bernoulli_exponential(p: ContinuousBernoulli, q: Exponential) -> Any:
    return -p.entropy() - np.log(q.rate) + q.rate * p.mean


@register_kl(ContinuousBernoulli, Normal)
def _continuous_bernoulli_normal(p: ContinuousBernoulli, q: Normal) -> Any:
    return _to_normal(p.entropy(), p.mean, p.variance, q)


@register_kl(ContinuousBernoulli, Uniform)
def _continuous_bernoulli_uniform(p: ContinuousBernoulli, q: Uniform) -> Any:
    kl = -p.entropy() + np.log(q.high - q.low)
    return outside(kl, (q.low > 0) | (q.high < 1))


@register_kl(Beta, ContinuousBernoulli)
def _beta_continuous_bernoulli(p: Beta, q: ContinuousBernoulli) -> Any:
    return -p.entropy() - _mean_log_density(q, p.mean)


@register_kl(Uniform, ContinuousBernoulli)
def _uniform_continuous_bernoulli(p: Uniform, q: ContinuousBernoulli) -> Any:
    kl = -p.entropy() - _mean_log_density(q, p.mean)
    return outside(kl, (p.low < 0) | (p.high > 1))
