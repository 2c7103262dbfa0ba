"""Reductions and scans: NumPy's calling forms, ties, empty axes, infinities, zeros."""

from __future__ import annotations

import math

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, ops
from distgrad.autograd import grad

X = np.random.default_rng(6).normal(size=(2, 3, 4))
TIES = np.array([[1.0, 5, 5], [5, 2, 1]])


def leaf(values, dtype=np.float64):
    return Tensor(np.array(values, dtype), requires_grad=True)


def slope(call, x):
    return grad(np.sum(call(x)), [x])[0].array


FORMS = [
    *[(f, ()) for f in (np.sum, np.prod, np.mean, np.max, np.amin, np.var, np.std, np.ptp)],
    *[(f, (1,)) for f in (np.sum, np.max, np.var, np.cumsum, np.ptp, np.nansum, np.average)],
    *[(f, (1, None, None, True)) for f in (np.sum, np.prod, np.mean)],
    *[(f, (-1, None, True)) for f in (np.max, np.min, np.amax, np.ptp)],
    *[(f, ((0, 2), None, None, 1, True)) for f in (np.var, np.std)],
    *[(f, ()) for f in (np.cumsum, np.cumprod)],
]


@pytest.mark.parametrize(("function", "args"), FORMS)
def test_settings_follow_by_position_as_in_numpy(function, args):
    found = function(Tensor(X), *args).array
    np.testing.assert_allclose(found, function(X, *args), rtol=1e-12)


def test_settings_by_name():
    x = Tensor(X)
    np.testing.assert_allclose(np.var(x, axis=1, ddof=1).array, X.var(1, ddof=1))
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        np.testing.assert_allclose(np.std(x, correction=1).array, X.std(ddof=1))
    for function in (np.sum, np.mean, np.prod, np.cumsum, np.var):
        assert function(Tensor(X.astype(np.float32)), dtype=np.float64).dtype == np.float64
    w = np.array([1.0, 2, 5])
    np.testing.assert_allclose(np.average(x, 1, w).array, np.average(X, 1, w))
    np.testing.assert_allclose(np.average(x, weights=X**2).array, np.average(X, weights=X**2))
    np.testing.assert_allclose(np.multiply.reduce(x, axis=1).array, X.prod(1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: np.sum(x, where=x > 0),
            r"np\.sum on a Tensor does not take where; it takes axis",
        ),
        (lambda x: np.max(x, initial=0), r"np\.max on a Tensor does not take initial"),
        (lambda x: np.prod(x, 0, None, None, False, 3), r"np\.prod on a Tensor does not take init"),
        (
            lambda x: np.sum(x, axis=3),
            r"sum expects .*; got \(2, 3, 4\): .*axis 3 is out of bounds",
        ),
        (lambda x: np.mean(x, axis=(0, 5)), r"mean expects .*; got \(2, 3, 4\)"),
        (lambda x: np.sum(x, axis=(1, -2)), r"duplicate value in 'axis'"),
        (lambda x: np.max(x[:0]), r"max expects .*zero-size array"),
        (lambda x: np.average(x, 1, np.ones(4)), r"np\.average takes weights of shape \(2, 3, 4\)"),
        (lambda x: np.average(x, returned=True), r"np\.average on a Tensor returns no weights"),
        (lambda x: np.diff(x, -1), r"np\.diff needs an axis and n ≥ 0; .* n=-1"),
        (lambda x: np.var(x * 1j), r"complex numbers have no variance here"),
        (lambda x: ops.vector_norm(x * 1j), r"pass np\.absolute of it"),
    ],
)
def test_a_call_that_cannot_work_is_named(call, message):
    with pytest.raises(dg.ShapeError, match=message):
        call(Tensor(X))


def test_the_first_of_equal_maxima_gets_the_gradient_and_amax_shares_it():
    x = leaf(TIES)
    assert slope(lambda a: np.max(a, axis=1), x).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert slope(np.max, x).tolist() == [[0, 1, 0], [0, 0, 0]]
    assert slope(lambda a: np.max(a, axis=0, keepdims=True), x).tolist() == [[0, 1, 1], [1, 0, 0]]
    assert slope(lambda a: np.amax(a, axis=1), x).tolist() == [[0, 0.5, 0.5], [1, 0, 0]]
    third = 1 / 3
    np.testing.assert_allclose(slope(np.amax, x), [[0, third, third], [third, 0, 0]])
    assert slope(np.min, x).tolist() == [[1, 0, 0], [0, 0, 0]]
    assert slope(np.amin, x).tolist() == [[0.5, 0, 0], [0, 0, 0.5]]


def test_ties_over_several_axes_are_counted_in_numpys_order():
    x = leaf(np.ones((2, 3, 2)))
    g = slope(lambda a: np.max(a, axis=(2, 0)), x)
    assert g[0, :, 0].tolist() == [1, 1, 1]
    assert g.sum() == 3


def test_nan_is_the_extremum_and_gets_the_gradient():
    x = leaf([1.0, np.nan, 3])
    for function in (np.max, np.min, np.amax, np.amin):
        assert np.isnan(function(x).array)
        assert slope(function, x).tolist() == [0, 1, 0]


def test_reductions_of_nothing_are_numpys():
    empty = leaf(np.ones((0, 3)))
    assert np.sum(empty).item() == 0
    assert np.prod(empty, axis=0).array.tolist() == [1, 1, 1]
    assert slope(np.prod, empty).shape == (0, 3)
    assert np.isneginf(ops.logsumexp(empty, axis=0).array).all()
    assert slope(lambda a: np.max(a, axis=1), empty).shape == (0, 3)
    assert slope(lambda a: np.cumprod(a, axis=0), empty).shape == (0, 3)
    for function in (np.mean, np.var):
        assert np.isnan(function(empty, axis=0).array).all()  # without a warning


def test_0d_tensors_have_the_axes_numpy_gives_them():
    x = leaf(3.0)
    for axis in (None, 0, -1, ()):
        for function in (np.sum, np.mean, np.prod, np.max, np.amax, ops.logsumexp):
            y = function(x, axis=axis)
            assert y.shape == ()
            assert grad(y, [x])[0].item() == 1


def test_no_axes_reduce_nothing():
    x = leaf(TIES)
    assert slope(lambda a: np.sum(a, axis=()), x).tolist() == np.ones((2, 3)).tolist()
    assert np.max(x, axis=()).array.tolist() == TIES.tolist()


def test_logsumexp_of_infinities():
    x = leaf([[-np.inf, -np.inf], [-np.inf, 1.0], [1e4, 1e4]])
    y = ops.logsumexp(x, axis=1)
    np.testing.assert_allclose(y.array, [-np.inf, 1, 1e4 + math.log(2)])
    assert grad(np.sum(y[1:]), [x])[0].array.tolist() == [[0, 0], [0, 1], [0.5, 0.5]]
    assert slope(lambda a: ops.logsumexp(a[:1], axis=1), x).tolist() == [[0, 0]] * 3
    assert np.isposinf(ops.logsumexp(np.array([np.inf, 0.0])).array)


def test_logcumsumexp_starts_with_infinities():
    x = leaf([-np.inf, -np.inf, -1e3, 0.0])
    y = ops.logcumsumexp(x, axis=0)
    np.testing.assert_allclose(y.array, [-np.inf, -np.inf, -1e3, 0])
    np.testing.assert_allclose(slope(lambda a: ops.logcumsumexp(a, axis=0), x), [0, 0, 1, 1])


def test_where_the_deviation_or_the_norm_is_zero_the_gradients_of_both_orders_are():
    x = leaf([[2.0, 2, 2], [1, 2, 4]])
    for call in (
        lambda a: np.std(a, axis=1),
        *(lambda a, p=p: ops.vector_norm(a - 2, ord=p, axis=1) for p in (0.5, 1, 2, 3, np.inf)),
    ):
        (first,) = grad(np.sum(call(x)), [x], create_graph=True)
        assert first.array[0].tolist() == [0, 0, 0]
        assert first.array[1].any()
        if first.requires_grad:
            (second,) = grad(np.sum(first * first), [x])
            assert np.isfinite(second.array).all()


def test_norms_of_large_vectors_do_not_overflow_on_the_way_back():
    x = leaf([3e9, -4e9], np.float32)
    for p in (1, 1.5, 2, 3, 4):
        g = slope(lambda a, p=p: ops.vector_norm(a, ord=p), x)
        assert np.isfinite(g).all()
        assert g.dtype == np.float32


def test_counts_and_places_are_plain_arrays():
    x = leaf(TIES)
    assert np.argmax(x) == 1
    assert np.argmin(x, axis=1).tolist() == [0, 2]
    assert np.count_nonzero(x) == 6
    assert np.any(x)
    assert np.all(x)


def test_scans_of_all_elements_are_flat():
    x = leaf(TIES)
    assert np.cumsum(x).array.tolist() == np.cumsum(TIES).tolist()
    assert slope(np.cumsum, x).tolist() == [[6, 5, 4], [3, 2, 1]]


def test_a_long_running_product_is_exact_to_rounding():
    a = leaf(1 + np.linspace(-1, 1, 1001) / 100)
    g = slope(lambda x: np.cumprod(x, axis=0)[-1:], a)
    np.testing.assert_allclose(g, np.prod(a.array) / a.array, rtol=1e-12)


def test_no_differences_leave_the_edges_out():
    x = np.arange(3.0)
    expected = np.diff(x, 0, prepend=5.0, append=6.0)
    np.testing.assert_array_equal(np.diff(Tensor(x), 0, prepend=5.0, append=6.0).array, expected)
