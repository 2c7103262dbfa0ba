"""The gamma family: values known in closed form, whole domains, derivatives in the order."""

from __future__ import annotations

import math

import numpy as np
import pytest

import distgrad as dg
from distgrad import ops
from distgrad.autograd import grad
from distgrad.ops.incomplete_numbers import beta_slope, gamma_slope


def test_lgamma_of_whole_and_half_numbers_has_all_digits():
    n = np.arange(1, 60)
    expected = [math.log(math.factorial(k - 1)) for k in n]
    np.testing.assert_allclose(ops.lgamma(n * 1.0).array, expected, rtol=1e-14, atol=0)
    half = ops.lgamma(np.array([0.5, -0.5, -1.5])).array
    root = math.log(math.sqrt(math.pi))
    np.testing.assert_allclose(half, [root, math.log(2) + root, math.log(4 / 3) + root], rtol=1e-14)


def test_lgamma_keeps_its_digits_beside_its_zeros():
    d = np.array([1e-14, 1e-9, 1e-5])
    near_one = ops.lgamma(1 + d).array / ((1 + d) - 1)
    np.testing.assert_allclose(near_one, -np.euler_gamma, rtol=1e-4)
    near_two = ops.lgamma(2 - d).array / (2 - (2 - d))
    np.testing.assert_allclose(near_two, np.euler_gamma - 1, rtol=1e-4)


def test_poles_and_ends_are_pytorchs():
    at = np.array([0.0, -1.0, -3.0, np.inf, -np.inf])
    assert ops.lgamma(at).array.tolist() == [np.inf] * 5
    found = ops.digamma(np.array([0.0, -0.0, -2.0, np.inf])).array
    np.testing.assert_array_equal(found, [-np.inf, np.inf, np.nan, np.inf])
    assert ops.polygamma(np.array([0.0, -2.0]), n=1).array.tolist() == [np.inf, np.inf]
    assert ops.polygamma(np.array([0.0, -2.0]), n=2).array.tolist() == [-np.inf, -np.inf]


def test_digamma_keeps_its_digits_beside_its_zero():
    zero = 1.4616321449683622  # the double below the zero, by 9.55e-17
    slope = ops.polygamma(np.array(zero), n=1).item()
    assert ops.digamma(np.array(zero)).item() == pytest.approx(-9.549995429965697e-17 * slope)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 11])
def test_polygamma_follows_its_recurrence_on_both_sides_of_zero(n):
    x = np.array([-7.3, -1.6, -0.4, 0.2, 1.7, 30.0])
    step = (-1) ** n * math.factorial(n) / x ** (n + 1)
    after, before = ops.polygamma(x + 1, n=n).array, ops.polygamma(x, n=n).array
    largest = np.abs(before) + np.abs(step)
    np.testing.assert_allclose((after - before - step) / largest, 0, atol=1e-13)


def test_a_negative_number_of_derivatives_is_refused():
    with pytest.raises(dg.ShapeError, match="n=-1 is a number of derivatives"):
        ops.polygamma(1.0, n=-1)


def test_incomplete_gamma_of_whole_order_is_a_sum():
    x = np.array([0.01, 1.0, 3.0, 20.0, 60.0])
    for n in (1, 3, 8):
        q = np.exp(-x) * sum(x**k / math.factorial(k) for k in range(n))
        np.testing.assert_allclose(ops.igammac(float(n), x).array, q, rtol=1e-13)
        np.testing.assert_allclose(ops.igamma(float(n), x).array, 1 - q, atol=1e-15)


def test_incomplete_gamma_of_a_huge_order_is_near_a_half_at_its_mean():
    a = np.array([1e4, 1e8, 1e12])
    expected = 0.5 + 1 / (3 * np.sqrt(2 * np.pi * a))
    np.testing.assert_allclose(ops.igamma(a, a).array, expected, rtol=1e-7)


def test_both_tails_of_the_incomplete_gamma_keep_their_digits():
    assert ops.igamma(30.0, 1e-3).item() == pytest.approx(3.7664e-123, rel=1e-3, abs=0)
    assert ops.igammac(1e-9, 0.5).item() == pytest.approx(1e-9 * 0.5597735947761608, rel=1e-8)


def test_incomplete_gamma_has_gradients_to_its_order():
    for a in (0.3, 2.5, 40.0):
        for x in (0.4 * a, a, 3 * a + 1):
            order = dg.Tensor(np.array(a), requires_grad=True)
            for op in (ops.igamma, ops.igammac):
                [g] = grad(op(order, x), [order])
                h = 1e-5 * a
                central = (op(a + h, x).item() - op(a - h, x).item()) / (2 * h)
                assert g.item() == pytest.approx(central, rel=1e-6, abs=1e-12)


def test_a_second_gradient_through_the_order_is_refused():
    a = dg.Tensor(np.array(2.0), requires_grad=True)
    [g] = grad(ops.igamma(a, 1.0), [a], create_graph=True)
    with pytest.raises(dg.GradError, match="no second gradient through their first"):
        grad(g, [a])


def test_a_gamma_samples_slope_is_that_of_its_quantile():
    for a in (0.05, 0.7, 3.0, 2e3):
        for level in (0.1, 0.5, 0.9):
            x = quantile(a, level)
            h = 1e-4 * a
            central = (quantile(a + h, level) - quantile(a - h, level)) / (2 * h)
            assert gamma_slope(np.array(a), np.array(x)) == pytest.approx(central, rel=2e-5)


def quantile(a, level):
    low, high = 1e-200, 10 * a + 50
    for _ in range(300):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if ops.igamma(a, middle).item() < level else (low, middle)
    return low


def test_a_beta_samples_slope_is_known_where_the_distribution_is_a_power():
    # Beta(a, 1): F = xᵃ, so dx/da = -x log x / a; Beta(1, b): 1 - F = (1-x)ᵇ.
    x = np.array([1e-9, 0.2, 0.5, 0.9, 1 - 1e-6])
    for a in (1e-3, 0.4, 3.0, 500.0):
        found = beta_slope(np.array(a), np.array(1.0), x, 1 - x)
        np.testing.assert_allclose(found, -x * np.log(x) / a, rtol=1e-9)


def test_a_beta_samples_slopes_are_those_of_its_mirror():
    a, b, x = np.array([0.3, 5.0, 80.0]), np.array([2.0, 0.4, 60.0]), np.array([0.03, 0.9, 0.6])
    # x(a, b) = 1 - y(b, a): moving both parameters by the same factor t changes both alike.
    one = a * beta_slope(a, b, x, 1 - x)
    h = 1e-6
    shift = beta_slope(a * (1 + h), b, x, 1 - x) - beta_slope(a * (1 - h), b, x, 1 - x)
    assert np.all(one > 0)
    assert np.all(np.abs(shift) < 1e-4)


def test_erfinv_and_ndtri_undo_erf_and_the_normal_distribution():
    x = np.linspace(-5, 5, 41)
    np.testing.assert_allclose(ops.erfinv(ops.erf(0.9 * x / 5)).array, 0.9 * x / 5, rtol=1e-13)
    np.testing.assert_allclose(ops.ndtri(ops.normal_cdf(-np.abs(x))).array, -np.abs(x), rtol=1e-12)
    far = ops.ndtri(np.array([1e-300])).item()
    assert far == pytest.approx(-37.0470962993612, rel=1e-13)
    ends = ops.erfinv(np.array([1.0, -1.0, 1.5])).array
    np.testing.assert_array_equal(ends, [np.inf, -np.inf, np.nan])


def test_mvlgamma_refuses_what_it_is_not_defined_for():
    with pytest.raises(dg.ShapeError, match=r"must exceed \(p - 1\) / 2 = 1.0"):
        ops.mvlgamma(np.array([1.0, 4.0]), 3)
    with pytest.raises(dg.ShapeError, match="p=0"):
        ops.mvlgamma(np.array([1.0]), 0)
