"""Samples: moments of every family, and the same numbers on any number of ranks."""

from __future__ import annotations

import numpy as np
import pytest
from distribution_cases import CASES
from training import alone, simulated

import distgrad as dg
from distgrad import Tensor, distributions

every_case = pytest.mark.parametrize("name", CASES)
N = 20000


def built(name, dtype=np.float64):
    build, parameters, _ = CASES[name]
    return build(distributions, *[Tensor(np.array(p, dtype)) for p in parameters])


@every_case
def test_samples_have_the_mean_and_variance_that_the_distribution_says(name):
    if name == "VonMises":
        pytest.skip("its mean is an angle: below")
    p = built(name)
    drawn = alone(lambda: p.sample((N,))).array
    try:
        mean, variance = p.mean.array, p.variance.array
    except NotImplementedError:
        pytest.skip("it says none")
    spread = np.sqrt(variance)
    sure = np.isfinite(mean) & np.isfinite(spread) & (variance < 1e3)
    off = np.abs(drawn.mean(0) - mean)[sure] / (spread[sure] + 1e-12)
    assert np.all(off < 6 / np.sqrt(N))
    heavy = {"StudentT", "LogNormal", "Pareto", "InverseGamma", "FisherSnedecor"}
    if name not in heavy and sure.any():
        ratio = drawn.var(0)[sure] / variance[sure]
        assert np.all(np.abs(ratio - 1) < 0.15)


CONTINUOUS = ["Normal", "Cauchy", "Laplace", "Gumbel", "Gamma", "Exponential", "Weibull", "Uniform"]


MORE = ["HalfNormal", "HalfCauchy", "LogNormal", "Chi2", "Pareto", "GeneralizedPareto"]
MORE += ["InverseGamma", "Kumaraswamy", "ContinuousBernoulli"]


@pytest.mark.parametrize("name", [*CONTINUOUS, *MORE])
def test_samples_follow_the_distribution_function(name):
    p = built(name)
    levels = np.sort(p.cdf(alone(lambda: p.sample((N,)))).array.reshape(N, -1), axis=0)
    even = ((np.arange(N) + 0.5) / N)[:, None]
    assert np.abs(levels - even).max() < 2.2 / np.sqrt(N)  # Kolmogorov and Smirnov's distance


@pytest.mark.parametrize("name", ["Bernoulli", "Binomial", "Categorical", "OneHotCategorical"])
def test_samples_of_finite_distributions_come_as_often_as_log_prob_says(name):
    p = built(name)
    drawn = alone(lambda: p.sample((N,))).array
    for value in p.enumerate_support().array:
        equal = drawn == value
        often = equal.all(-1).mean(0) if p.event_shape else equal.mean(0)
        assert np.all(np.abs(often - np.exp(p.log_prob(Tensor(value)).array)) < 4 / np.sqrt(N))


@every_case
def test_samples_lie_in_the_support(name):
    for dtype in (np.float32, np.float64):
        p = built(name, dtype)
        x = alone(lambda p=p: p.sample((500,)))
        if np.issubdtype(x.dtype, np.floating):
            assert x.dtype == dtype
        assert np.all(p.support.check(x).array)
        if name.startswith("Tanh"):  # rounds to 1, whose inverse is infinite
            continue
        assert np.all(np.isfinite(p.log_prob(x).array))


def test_an_outcome_without_probability_is_never_drawn():
    for probs in ([0.0, 1.0, 0.0], [[0.0, 0.5, 0.5, 0.0]] * 2):
        p = distributions.Categorical(Tensor(np.array(probs)))
        drawn = alone(lambda p=p: p.sample((2000,))).array
        assert set(np.unique(drawn)) <= set(np.flatnonzero(np.array(probs).reshape(-1)[:4]))


@pytest.mark.parametrize("name", CASES)
def test_the_same_samples_in_a_shard_on_any_number_of_ranks(name):
    def body():
        dg.init(shards=4)
        dg.manual_seed(5)
        p = built(name)
        loader = dg.data.DataLoader(dg.data.ArrayDataset(np.arange(8.0)), 8)
        found = {}
        for batch in loader:
            for (x,) in batch.shards:
                found[float(x[0])] = p.sample((2,)).array.tobytes()
        return found

    alone_in_the_world = simulated(1, body)[0]
    assert len(set(alone_in_the_world.values())) > 1 or name.startswith(("Bernoulli", "One"))
    for size in (2, 3, 4):
        merged = {}
        for part in simulated(size, body):
            merged |= part
        assert merged == alone_in_the_world


def test_samples_need_no_tensors_for_parameters():
    p = distributions.Normal(0.0, 1.0)
    assert p.sample((3,)).shape == (3,)
    assert p.sample().dtype == np.float32
    assert distributions.Normal(np.zeros(2), 1).sample().dtype == np.float64
    assert distributions.Categorical([0.2, 0.8]).log_prob(1).item() == pytest.approx(np.log(0.8))


def test_empty_batches_have_samples_and_probabilities():
    p = distributions.Normal(Tensor(np.zeros((0, 3))), 1.0)
    assert p.log_prob(p.rsample()).shape == (0, 3)
    c = distributions.Categorical(logits=Tensor(np.zeros((0, 3))))
    assert c.sample().shape == (0,)
    assert c.log_prob(c.sample()).shape == (0,)
    assert distributions.Dirichlet(Tensor(np.ones((0, 3)))).rsample().shape == (0, 3)


def test_a_cached_transform_finds_what_rounding_lost():
    base = distributions.Normal(Tensor(np.full(3, 30.0)), 1.0)
    squashed = distributions.TransformedDistribution(
        base, [distributions.TanhTransform(cache_size=1)]
    )
    x = squashed.rsample()
    assert np.all(x.array == 1)
    assert np.all(np.isfinite(squashed.log_prob(x).array))


def test_an_outcome_that_is_not_there_is_refused_whether_arguments_are_checked_or_not():
    for checked in (True, False):
        p = distributions.Categorical(Tensor(np.ones((2, 3))), validate_args=checked)
        for outcome in (3, -1):
            with pytest.raises(dg.ShapeError, match=r"support|not all in 0\.\.2"):
                p.log_prob(np.array([0, outcome]))


def test_angles_have_the_mean_direction_and_spread_that_the_distribution_says():
    p = built("VonMises")
    mean = np.exp(1j * alone(lambda: p.sample((N,))).array).mean(0)
    assert np.abs(np.angle(mean / np.exp(1j * p.mean.array))).max() < 0.05
    np.testing.assert_allclose(1 - np.abs(mean), p.variance.array, atol=0.02)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_correlations_are_spread_as_those_of_lewandowski_kurowicka_and_joe(n):
    eta = 0.7
    factor = alone(lambda: distributions.LKJCholesky(n, eta).sample((N,))).array
    found = (factor @ factor.swapaxes(-1, -2)).var(0)[np.tril_indices(n, -1)]
    a = eta + (n - 2) / 2  # each is 2 Beta(a, a) - 1
    np.testing.assert_allclose(found, 1 / (2 * a + 1), rtol=0.05)


def test_the_kl_of_wishart_distributions_is_the_mean_of_their_difference():
    p, q = built("Wishart"), built("Wishart by covariance")
    q = distributions.Wishart(q.df + 1.5, 1.3 * q.covariance_matrix)
    x = alone(lambda: p.sample((N,)))
    difference = (p.log_prob(x) - q.log_prob(x)).array
    found = distributions.kl_divergence(p, q).array
    assert np.all(np.abs(difference.mean(0) - found) < 6 * difference.std(0) / np.sqrt(N))


def test_rates_whose_numbers_no_int64_holds_are_named():
    for p in (distributions.Poisson(1e20), distributions.NegativeBinomial(1e10, logits=30.0)):
        with pytest.raises(dg.ShapeError, match=r"rates below 9\.2e\+18; got"):
            p.sample()
