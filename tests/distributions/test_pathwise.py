"""Gradients through samples equal those of expectations."""

from __future__ import annotations

import numpy as np
import pytest
from training import alone

from distgrad import Tensor, distributions, no_grad
from distgrad.autograd import grad

N = 40000


def expectation_gradient(make, parameters, function):
    """The gradients of the mean of ``function`` over many samples, and their errors."""
    leaves = [
        Tensor(np.broadcast_to(np.asarray(p), (N, *np.shape(p))).copy(), requires_grad=True)
        for p in parameters
    ]
    values = alone(lambda: function(make(*leaves).rsample()))
    return [(g.array.mean(0), g.array.std(0) / np.sqrt(N)) for g in grad(np.sum(values), leaves)]


@pytest.mark.parametrize("a", [0.1, 0.8, 3.0, 200.0])
def test_gamma(a):
    make = distributions.Gamma
    (da, e), (db, f) = expectation_gradient(make, [a, 2.0], lambda x: x)
    assert abs(da - 1 / 2) < 5 * e  # E x = a / b
    assert abs(db + a / 4) < 5 * f
    (da, e), _ = expectation_gradient(make, [a, 2.0], lambda x: x * x)
    assert abs(da - (2 * a + 1) / 4) < 5 * e


@pytest.mark.parametrize(("a", "b"), [(0.3, 0.5), (2.0, 0.4), (5.0, 7.0), (90.0, 3.0)])
def test_beta(a, b):
    c = a + b
    (da, e), (db, f) = expectation_gradient(distributions.Beta, [a, b], lambda x: x)
    assert abs(da - b / c**2) < 5 * e
    assert abs(db + a / c**2) < 5 * f
    (da, e), _ = expectation_gradient(distributions.Beta, [a, b], lambda x: x * x)
    # E x² = a (a + 1) / (c (c + 1))
    second = a * (a + 1) / (c * (c + 1))
    assert abs(da - ((2 * a + 1) / (c * (c + 1)) - second * (2 * c + 1) / (c * (c + 1)))) < 5 * e


def test_dirichlet():
    a = np.array([0.4, 1.5, 3.0])
    weight, total = np.array([1.0, -2.0, 0.5]), a.sum()
    [(da, e)] = expectation_gradient(distributions.Dirichlet, [a], lambda x: x * weight)
    assert np.all(np.abs(da - (weight / total - (weight * a).sum() / total**2)) < 5 * e)


def test_student_t_and_chi2():
    (da, e), *_ = expectation_gradient(distributions.StudentT, [8.0, 0.0, 1.0], lambda x: x * x)
    assert abs(da - (1 / 6 - 8 / 36)) < 5 * e  # df / (df - 2)
    [(da, e)] = expectation_gradient(distributions.Chi2, [3.0], lambda x: x)
    assert abs(da - 1) < 5 * e


def test_a_location_and_scale_are_moved_exactly():
    for kind in ("Normal", "Laplace", "Gumbel", "Cauchy"):
        make = getattr(distributions, kind)
        loc, scale = (Tensor(np.full(5, v), requires_grad=True) for v in (0.5, 2.0))
        x = make(loc, scale).rsample()
        one, two = grad(np.sum(x), [loc, scale])
        np.testing.assert_array_equal(one.array, 1)
        np.testing.assert_allclose(two.array, (x.array - 0.5) / 2, rtol=1e-12)


def test_straight_through_has_a_hard_value_and_a_soft_gradient():
    logits = Tensor(np.array([0.1, 0.5, -0.3]), requires_grad=True)
    p = distributions.OneHotCategoricalStraightThrough(logits=logits)
    x = p.rsample()
    np.testing.assert_allclose(np.sort(x.array), [0, 0, 1], atol=1e-15)
    [g] = grad(x[1], [logits], retain_graph=True)
    [h] = grad(p.probs[1], [logits])
    np.testing.assert_allclose(g.array, h.array)


def test_probabilities_asked_for_under_no_grad_keep_their_gradient():
    logits = Tensor(np.array([0.1, 0.5]), requires_grad=True)
    p = distributions.Categorical(logits=logits)
    with no_grad():
        p.sample()
    [g] = grad(p.entropy(), [logits])
    assert np.all(g.array != 0)
