"""One or more members of every family of distributions: names, parameters, a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

rng = np.random.default_rng(12)


def positive(*shape: int) -> Any:
    return rng.uniform(0.4, 3.0, shape)


def real(*shape: int) -> Any:
    return rng.normal(size=shape)


def chance(*shape: int) -> Any:
    return rng.uniform(0.1, 0.9, shape)


def simplex(*shape: int) -> Any:
    x = rng.uniform(0.2, 1.0, shape)
    return x / x.sum(-1, keepdims=True)


def counts(most: int, *shape: int) -> Any:
    return rng.integers(0, most, shape).astype(float)


def one_hot(k: int, *shape: int) -> Any:
    return np.eye(k)[rng.integers(0, k, shape)]


def factor(*shape: int) -> Any:
    x = np.tril(rng.normal(size=shape))
    x[..., np.arange(shape[-1]), np.arange(shape[-1])] = rng.uniform(0.5, 1.5, shape[:-1])
    return x


L = factor(3, 3)
COVARIANCE = L @ L.T

Build = Callable[..., Any]

# name: (how to build it of the module and tensors, parameters, a value of log_prob).
CASES: dict[str, tuple[Build, list[Any], Any]] = {
    "Normal": (lambda D, a, b: D.Normal(a, b), [real(4, 1), positive(3)], real(2, 4, 3)),
    "LogNormal": (lambda D, a, b: D.LogNormal(a, b), [real(3), positive(3)], positive(2, 3)),
    "HalfNormal": (lambda D, a: D.HalfNormal(a), [positive(3)], positive(2, 3)),
    "HalfCauchy": (lambda D, a: D.HalfCauchy(a), [positive(3)], positive(2, 3)),
    "Cauchy": (lambda D, a, b: D.Cauchy(a, b), [real(3), positive(3)], real(2, 3)),
    "StudentT": (
        lambda D, a, b, c: D.StudentT(a, b, c),
        [np.array([0.7, 1.5, 4.0]), real(3), positive(3)],
        real(2, 3),
    ),
    "Gamma": (lambda D, a, b: D.Gamma(a, b), [positive(4, 1), positive(3)], positive(4, 3)),
    "Chi2": (lambda D, a: D.Chi2(a), [positive(3)], positive(2, 3)),
    "Beta": (lambda D, a, b: D.Beta(a, b), [positive(3), positive(3)], chance(2, 3)),
    "Beta with a mode": (
        lambda D, a, b: D.Beta(a, b),
        [1 + positive(3), 1 + positive(3)],
        chance(3),
    ),
    "Dirichlet": (lambda D, a: D.Dirichlet(a), [positive(2, 3)], simplex(4, 2, 3)),
    "Dirichlet of small": (
        lambda D, a: D.Dirichlet(a),
        [np.array([0.2, 0.5, 0.3])],
        simplex(3),
    ),
    "Exponential": (lambda D, a: D.Exponential(a), [positive(3)], positive(2, 3)),
    "Laplace": (lambda D, a, b: D.Laplace(a, b), [real(3), positive(3)], real(2, 3)),
    "Gumbel": (lambda D, a, b: D.Gumbel(a, b), [real(3), positive(3)], real(2, 3)),
    "Weibull": (lambda D, a, b: D.Weibull(a, b), [positive(3), 1 + positive(3)], positive(2, 3)),
    "Uniform": (
        lambda D, a, b: D.Uniform(a, a + b),
        [np.zeros(3), 1 + positive(3)],
        chance(2, 3),
    ),
    "Bernoulli": (lambda D, a: D.Bernoulli(a), [chance(3)], counts(2, 2, 3)),
    "Bernoulli by logits": (lambda D, a: D.Bernoulli(logits=a), [real(3)], counts(2, 2, 3)),
    "Geometric": (lambda D, a: D.Geometric(a), [chance(3)], counts(5, 2, 3)),
    "Geometric by logits": (lambda D, a: D.Geometric(logits=a), [real(3)], counts(5, 2, 3)),
    "Binomial": (lambda D, a: D.Binomial(5, a), [chance(3)], counts(6, 2, 3)),
    "Binomial by logits": (lambda D, a: D.Binomial(5, logits=a), [real(3)], counts(6, 2, 3)),
    "NegativeBinomial": (
        lambda D, a, b: D.NegativeBinomial(a, b),
        [positive(3), chance(3)],
        counts(6, 2, 3),
    ),
    "Poisson": (lambda D, a: D.Poisson(a), [positive(3)], counts(6, 2, 3)),
    "Categorical": (lambda D, a: D.Categorical(a), [positive(2, 4)], rng.integers(0, 4, (5, 2))),
    "Categorical by logits": (
        lambda D, a: D.Categorical(logits=a),
        [real(4)],
        rng.integers(0, 4, 5),
    ),
    "OneHotCategorical": (
        lambda D, a: D.OneHotCategorical(a),
        [positive(2, 3)],
        one_hot(3, 5, 2),
    ),
    "OneHotCategoricalStraightThrough": (
        lambda D, a: D.OneHotCategoricalStraightThrough(logits=a),
        [real(2, 3)],
        one_hot(3, 5, 2),
    ),
    "Multinomial": (
        lambda D, a: D.Multinomial(6, a),
        [positive(2, 3)],
        np.array([[1.0, 2, 3], [0, 6, 0]]),
    ),
    "Multinomial by logits": (
        lambda D, a: D.Multinomial(6, logits=a),
        [real(3)],
        np.array([[1.0, 2, 3], [0, 6, 0]]),
    ),
    "MultivariateNormal": (
        lambda D, a, b: D.MultivariateNormal(a, scale_tril=b),
        [real(2, 3), L],
        real(5, 2, 3),
    ),
    "MultivariateNormal by covariance": (
        lambda D, a, b: D.MultivariateNormal(a, (b + b.swapaxes(-1, -2)) / 2),
        [real(3), COVARIANCE],
        real(5, 3),
    ),
    "MultivariateNormal by precision": (
        lambda D, a, b: D.MultivariateNormal(a, precision_matrix=(b + b.swapaxes(-1, -2)) / 2),
        [real(3), COVARIANCE],
        real(5, 3),
    ),
    "RelaxedBernoulli": (
        lambda D, t, a: D.RelaxedBernoulli(t, a),
        [np.array(0.7), chance(3)],
        chance(2, 3),
    ),
    "RelaxedOneHotCategorical": (
        lambda D, t, a: D.RelaxedOneHotCategorical(t, logits=a),
        [np.array(0.7), real(2, 3)],
        simplex(4, 2, 3),
    ),
    "Pareto": (lambda D, a, b: D.Pareto(a, b), [positive(3), positive(3)], 3 + positive(2, 3)),
    "Pareto with a variance": (
        lambda D, a, b: D.Pareto(a, b),
        [positive(3), 4.5 + positive(3)],
        3 + positive(2, 3),
    ),
    "GeneralizedPareto": (
        lambda D, a, b, c: D.GeneralizedPareto(a, b, c),
        [-positive(3), 1 + positive(3), np.array([-0.2, 0.0, 0.2])],
        chance(2, 3),
    ),
    "InverseGamma": (
        lambda D, a, b: D.InverseGamma(a, b),
        [np.array([0.7, 1.5, 5.0]), positive(3)],
        positive(2, 3),
    ),
    "FisherSnedecor": (
        lambda D, a, b: D.FisherSnedecor(a, b),
        [np.array([1.5, 3.0, 5.0]), np.array([1.5, 3.0, 9.0])],
        positive(2, 3),
    ),
    "Kumaraswamy": (
        lambda D, a, b: D.Kumaraswamy(a, b),
        [positive(3), positive(3)],
        chance(2, 3),
    ),
    "VonMises": (lambda D, a, b: D.VonMises(a, b), [real(3), positive(3)], real(2, 3)),
    "ContinuousBernoulli": (
        lambda D, a: D.ContinuousBernoulli(a),
        [np.array([0.1, 0.5, 0.8])],
        chance(2, 3),
    ),
    "ContinuousBernoulli by logits": (
        lambda D, a: D.ContinuousBernoulli(logits=a),
        [np.array([-1.0, 0.0, 2.0])],
        chance(2, 3),
    ),
    "LogisticNormal": (
        lambda D, a, b: D.LogisticNormal(a, b),
        [real(2, 3), positive(3)],
        simplex(4, 2, 4),
    ),
    "LowRankMultivariateNormal": (
        lambda D, a, b, c: D.LowRankMultivariateNormal(a, b, c),
        [real(2, 3), real(3, 2), positive(3)],
        real(5, 2, 3),
    ),
    "Wishart": (
        lambda D, a, b: D.Wishart(a, scale_tril=b.tril()),
        [np.array([3.5, 6.0]), L],
        np.stack([COVARIANCE, np.eye(3)]),
    ),
    "Wishart by covariance": (
        lambda D, a, b: D.Wishart(a, (b + b.swapaxes(-1, -2)) / 2),
        [np.array([3.5, 6.0]), COVARIANCE],
        np.stack([COVARIANCE, np.eye(3)]),
    ),
    "Wishart by precision": (
        lambda D, a, b: D.Wishart(a, precision_matrix=(b + b.swapaxes(-1, -2)) / 2),
        [np.array(4.5), COVARIANCE],
        COVARIANCE,
    ),
    "LKJCholesky": (
        lambda D, a: D.LKJCholesky(3, a),
        [np.array([0.7, 2.0])],
        L / np.sqrt(np.sum(L * L, -1, keepdims=True)),
    ),
    "Independent": (
        lambda D, a, b: D.Independent(D.Normal(a, b), 1),
        [real(2, 3), positive(3)],
        real(4, 2, 3),
    ),
    "MixtureSameFamily": (
        lambda D, a, b, c: D.MixtureSameFamily(D.Categorical(a), D.Normal(b, c)),
        [positive(2, 3), real(2, 3), positive(3)],
        real(4, 2),
    ),
    "MixtureSameFamily of vectors": (
        lambda D, a, b, c: D.MixtureSameFamily(
            D.Categorical(logits=a), D.Independent(D.Normal(b, c), 1)
        ),
        [real(2, 3), real(2, 3, 4), positive(4)],
        real(5, 2, 4),
    ),
    "Affine of Normal": (
        lambda D, a, b: D.TransformedDistribution(D.Normal(a, b), [D.AffineTransform(1.5, -2.0)]),
        [real(3), positive(3)],
        real(2, 3),
    ),
    "Sigmoid, Affine of Laplace": (
        lambda D, a, b: D.TransformedDistribution(
            D.Laplace(a, b), [D.AffineTransform(0.5, 2.0), D.SigmoidTransform()]
        ),
        [real(3), positive(3)],
        chance(2, 3),
    ),
    "Tanh of Independent": (
        lambda D, a, b: D.TransformedDistribution(
            D.Independent(D.Normal(a, b), 1), [D.TanhTransform()]
        ),
        [real(2, 3), positive(3)],
        2 * chance(4, 2, 3) - 1,
    ),
    "Power, Exp of Normal": (
        lambda D, a, b: D.TransformedDistribution(
            D.Normal(a, b),
            D.ComposeTransform([D.ExpTransform(), D.PowerTransform(2.0), D.ExpTransform().inv]),
        ),
        [real(3), positive(3)],
        real(2, 3),
    ),
    "Reshape of Normal": (
        lambda D, a, b: D.TransformedDistribution(
            D.Normal(a, b), [D.SoftplusTransform(), D.ReshapeTransform((4,), (2, 2))]
        ),
        [real(3, 4), positive(4)],
        positive(3, 2, 2),
    ),
}
