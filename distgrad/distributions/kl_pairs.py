"""KL divergences of two of one family. Formulas: Gil, Alajaji & Linder 2013."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.apart import apart
from distgrad.autograd.tensor import Tensor
from distgrad.distributions.categorical import Categorical, OneHotCategorical
from distgrad.distributions.counts import Bernoulli, Binomial, Geometric, Poisson
from distgrad.distributions.exponential import Exponential, Gumbel, Laplace, Uniform, Weibull
from distgrad.distributions.gamma import Beta, Dirichlet, Gamma
from distgrad.distributions.independent import Independent, sum_rightmost
from distgrad.distributions.kl import kl_divergence, register_kl
from distgrad.distributions.multivariate_normal import MultivariateNormal, mahalanobis
from distgrad.distributions.normal import Cauchy, HalfCauchy, HalfNormal, Normal
from distgrad.distributions.shared import EULER, broadcast_to
from distgrad.distributions.transformed import TransformedDistribution
from distgrad.errors import ShapeError
from distgrad.ops.activation import softplus
from distgrad.ops.gamma import digamma, lgamma
from distgrad.ops.solve import solve_triangular


def _sum(x: Any) -> Any:
    return np.sum(x, axis=-1)


@register_kl(Normal, Normal)
def _normal(p: Normal, q: Normal) -> Any:
    ratio = (p.scale / q.scale) ** 2
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale) ** 2 - 1 - np.log(ratio))


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p: HalfNormal, q: HalfNormal) -> Any:
    return _normal(p.base_dist, q.base_dist)  # type: ignore[arg-type]


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate(p: MultivariateNormal, q: MultivariateNormal) -> Any:
    if p.event_shape != q.event_shape:
        raise ShapeError(
            f"KL-divergence between MultivariateNormals with different event shapes cannot be "
            f"computed: {p.event_shape} and {q.event_shape}"
        )
    n = p.event_shape[0]
    shape = np.broadcast_shapes(p.batch_shape, q.batch_shape)
    mine, other = (broadcast_to(d._factor, (*shape, n, n)) for d in (p, q))
    x = solve_triangular(other, mine, lower=True)
    trace = np.sum(x * x, axis=(-2, -1))
    distance = mahalanobis(other, q.loc - p.loc)
    return q._half_log_det() - p._half_log_det() + 0.5 * (trace + distance - n)


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Bernoulli, q: Bernoulli) -> Any:
    t1 = p.probs * (softplus(-q.logits) - softplus(-p.logits))
    t1 = np.where(q.probs == 0, math.inf, t1)
    t1 = np.where(p.probs == 0, 0, t1)
    t2 = (1 - p.probs) * (softplus(q.logits) - softplus(p.logits))
    t2 = np.where(q.probs == 1, math.inf, t2)
    t2 = np.where(p.probs == 1, 0, t2)
    return t1 + t2


@apart
def _check_counts(p: Tensor, q: Tensor) -> None:
    if np.any(p.array < q.array):
        raise NotImplementedError(
            "KL between Binomials where q.total_count > p.total_count is not implemented"
        )


@register_kl(Binomial, Binomial)
def _binomial(p: Binomial, q: Binomial) -> Any:
    _check_counts(p.total_count, q.total_count)
    kl = p.total_count * (p.probs * (p.logits - q.logits) + np.log1p(-p.probs) - np.log1p(-q.probs))
    return np.where(p.total_count > q.total_count, math.inf, kl)


@register_kl(Geometric, Geometric)
def _geometric(p: Geometric, q: Geometric) -> Any:
    return -p.entropy() - np.log1p(-q.probs) / p.probs - q.logits


@register_kl(Poisson, Poisson)
def _poisson(p: Poisson, q: Poisson) -> Any:
    return p.rate * (np.log(p.rate) - np.log(q.rate)) - (p.rate - q.rate)


@register_kl(Categorical, Categorical)
def _categorical(p: Categorical, q: Categorical) -> Any:
    t = p.probs * (p.logits - q.logits)
    t = np.where(q.probs == 0, math.inf, t)
    t = np.where(np.broadcast_to(p.probs == 0, t.shape), 0, t)
    return _sum(t)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot(p: OneHotCategorical, q: OneHotCategorical) -> Any:
    return _categorical(p, q)  # type: ignore[arg-type]


@register_kl(Exponential, Exponential)
def _exponential(p: Exponential, q: Exponential) -> Any:
    ratio = q.rate / p.rate
    return -np.log(ratio) + ratio - 1


@register_kl(Laplace, Laplace)
def _laplace(p: Laplace, q: Laplace) -> Any:
    ratio, away = p.scale / q.scale, np.absolute(p.loc - q.loc)
    return -np.log(ratio) + away / q.scale + ratio * np.exp(-away / p.scale) - 1


@register_kl(Gumbel, Gumbel)
def _gumbel(p: Gumbel, q: Gumbel) -> Any:
    ratio = p.scale / q.scale
    t1, t2 = q.loc / q.scale, p.loc / q.scale
    t3 = t1 - t2
    t4 = np.exp(t3 + lgamma(1 + ratio))
    return -np.log(ratio) - t3 + ratio * EULER + t4 - (1 + EULER)


@register_kl(Weibull, Weibull)
def _weibull(p: Weibull, q: Weibull) -> Any:
    # Bauckhage 2013.
    k, m = p.concentration, q.concentration
    log_ratio = np.log(p.scale) - np.log(q.scale)
    return (
        np.log(k)
        - np.log(m)
        - m * log_ratio
        - (k - m) * EULER / k
        + np.exp(m * log_ratio + lgamma(m / k + 1))
        - 1
    )


@register_kl(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> Any:
    kl = np.log((q.high - q.low) / (p.high - p.low))
    return np.where((q.low > p.low) | (q.high < p.high), math.inf, kl)


@register_kl(Cauchy, Cauchy)
def _cauchy(p: Cauchy, q: Cauchy) -> Any:
    # Chyzak & Nielsen 2019.
    t1 = np.log((p.scale + q.scale) ** 2 + (p.loc - q.loc) ** 2)
    return t1 - np.log(4 * p.scale * q.scale)


@register_kl(HalfCauchy, HalfCauchy)
def _half_cauchy(p: HalfCauchy, q: HalfCauchy) -> Any:
    return _cauchy(p.base_dist, q.base_dist)  # type: ignore[arg-type]


@register_kl(Gamma, Gamma)
def _gamma(p: Gamma, q: Gamma) -> Any:
    a, b = p.concentration, q.concentration
    t1 = b * np.log(p.rate / q.rate)
    t2 = lgamma(b) - lgamma(a)
    return t1 + t2 + (a - b) * digamma(a) + (q.rate - p.rate) * (a / p.rate)


@register_kl(Beta, Beta)
def _beta(p: Beta, q: Beta) -> Any:
    one, other = p.concentration1 + p.concentration0, q.concentration1 + q.concentration0
    t1 = lgamma(q.concentration1) + lgamma(q.concentration0) + lgamma(one)
    t2 = lgamma(p.concentration1) + lgamma(p.concentration0) + lgamma(other)
    t3 = (p.concentration1 - q.concentration1) * digamma(p.concentration1)
    t4 = (p.concentration0 - q.concentration0) * digamma(p.concentration0)
    return t1 - t2 + t3 + t4 + (other - one) * digamma(one)


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Dirichlet, q: Dirichlet) -> Any:
    a, b = p.concentration, q.concentration
    one = _sum(a)
    t1 = lgamma(one) - lgamma(_sum(b))
    t2 = _sum(lgamma(a) - lgamma(b))
    return t1 - t2 + _sum((a - b) * (digamma(a) - np.expand_dims(digamma(one), -1)))


@register_kl(Independent, Independent)
def _independent(p: Independent, q: Independent) -> Any:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError(
            "KL between Independents of different reinterpreted_batch_ndims is not implemented"
        )
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed(p: TransformedDistribution, q: TransformedDistribution) -> Any:
    same = p.transforms == q.transforms
    if not same or p.event_shape != q.event_shape:
        raise NotImplementedError(
            "KL between TransformedDistributions of different transforms is not implemented"
        )
    return kl_divergence(p.base_dist, q.base_dist)
