"""Reductions, scans and order by PyTorch's names: positions, pairs, spreads, empty and 0-d ones."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor
from distgrad.functions import histograms, order, reductions, scans
from distgrad.functions.histograms import bincount, histc, histogram

X = np.random.default_rng(4).normal(size=(3, 4))


def test_an_extreme_has_three_forms():
    x = Tensor(X)
    assert reductions.max(x).array == X.max()
    values, indices = reductions.max(x, 1)
    np.testing.assert_array_equal(values.array, X.max(1))
    np.testing.assert_array_equal(indices.array, X.argmax(1))
    assert reductions.min(x, dim=0, keepdim=True).indices.shape == (1, 4)
    np.testing.assert_array_equal(reductions.max(x, Tensor(-X)).array, np.maximum(X, -X))
    np.testing.assert_array_equal(reductions.min(x, other=Tensor(-X)).array, np.minimum(X, -X))


def test_numpys_names_of_axes_are_taken_and_the_result_is_pytorchs():
    x = Tensor(X)
    np.testing.assert_array_equal(reductions.sum(x, axis=1, keepdims=True).array, X.sum(1)[:, None])
    assert reductions.max(x, axis=1).indices.shape == (3,)
    assert scans.cumsum(x, axis=0).shape == (3, 4)
    assert order.argsort(x, axis=0).shape == (3, 4)


def test_spreads_divide_by_n_minus_1():
    x = Tensor(X)
    for found, wanted in (
        (reductions.var(x), X.var(ddof=1)),
        (reductions.std(x, 1), X.std(1, ddof=1)),
        (reductions.std(x, False), X.std()),
        (reductions.var(x, 1, False, True), X.var(1, keepdims=True)),
        (reductions.var(x, (0, 1), correction=0), X.var()),
        (reductions.var_mean(x, 0)[0], X.var(0, ddof=1)),
        (reductions.std_mean(x, 0)[1], X.mean(0)),
        (x.var(), X.var(ddof=1)),
        (x.std(), X.std(ddof=1)),
        (np.std(x), X.std()),
    ):
        np.testing.assert_allclose(found.array, wanted, rtol=1e-12)
    with pytest.raises(dg.DistgradError, match="give unbiased or correction, not both"):
        reductions.var(x, 0, True, correction=0)


def test_counts_are_int64_and_means_are_of_real_numbers():
    small = Tensor(np.full((2, 3), 200, np.uint8))
    assert reductions.sum(small).dtype == np.int64
    assert reductions.sum(small).array == 1200
    assert reductions.sum(Tensor(X > 0), 1).dtype == np.int64
    assert reductions.sum(small, dtype=np.float32).dtype == np.float32
    with pytest.raises(dg.DistgradError, match=r"write mean\(x, dtype=np\.float32\)"):
        reductions.mean(small)


def test_the_axes_of_a_number_are_0_and_minus_1():
    x = Tensor(np.array(2.5))
    for found in (
        reductions.sum(x, 0),
        reductions.amax(x, -1),
        reductions.max(x, 0).values,
        scans.cumsum(x, 0),
        scans.cummax(x, -1).values,
        order.sort(x).values,
        order.topk(x, 1).values,
        order.median(x, 0).values,
        order.mode(x).values,
        order.quantile(x, 0.5, 0),
    ):
        assert found.shape == ()
        assert found.array == 2.5
    with pytest.raises(dg.ShapeError, match="axis 1 is out of range"):
        reductions.sum(x, 1)


def test_an_extreme_of_nothing_is_an_error_that_names_the_axis():
    with pytest.raises(dg.ShapeError, match=r"max over axis 1 of shape \(3, 0\): there is no elem"):
        reductions.max(Tensor(np.zeros((3, 0))), 1)
    assert reductions.max(Tensor(np.zeros((3, 0))), 0).values.shape == (0,)


def test_the_median_is_the_lower_one_and_skips_nan_if_asked():
    x = Tensor(np.array([[1.0, np.nan, 3.0, 2.0], [4.0, 1.0, 2.0, 3.0]]))
    assert np.isnan(order.median(x).array)
    assert order.nanmedian(x).array == 2
    values, indices = order.median(x, 1)
    assert np.isnan(values.array[0])
    assert (values.array[1], indices.array[1]) == (2, 2)
    assert order.nanmedian(x, 1).values.array.tolist() == [2, 2]
    assert Tensor(np.array([4.0, 1.0, 2.0, 3.0])).median().array == 2


def test_the_mode_is_the_smallest_of_the_most_frequent():
    x = Tensor(np.array([[3, 1, 3, 1], [2, 5, 5, 5], [9, 8, 7, 6]]))
    values, indices = order.mode(x)
    assert values.array.tolist() == [1, 5, 6]
    assert indices.array.tolist() == [3, 3, 3]


def test_quantiles_skip_nan_if_asked():
    x = Tensor(np.array([[0.0, 1.0, np.nan], [0.0, 1.0, 2.0]]))
    q = np.array([0.5, 1.0])
    found = order.nanquantile(x, Tensor(q), 1)
    np.testing.assert_array_equal(found.array, [[0.5, 1], [1, 2]])
    assert np.isnan(order.quantile(x, 0.5, 1).array).tolist() == [True, False]
    assert order.quantile(x, Tensor(q), 1, True).shape == (2, 2, 1)


def test_elements_that_occur():
    x = Tensor(np.array([3, 1, 3, 3, 2]))
    values, inverse, counts = histograms.unique(x, return_inverse=True, return_counts=True)
    assert values.array.tolist() == [1, 2, 3]
    assert inverse.array.tolist() == [2, 0, 2, 2, 1]
    assert counts.array.tolist() == [1, 1, 3]
    values, counts = histograms.unique_consecutive(x, return_counts=True)
    assert values.array.tolist() == [3, 1, 3, 2]
    assert counts.array.tolist() == [1, 1, 2, 1]
    assert histograms.unique_consecutive(Tensor(np.array([[1, 1, 2], [1, 1, 2]])), dim=1).shape == (
        2,
        2,
    )


@pytest.mark.parametrize("ends", [(-40, 90), (-(2**61), 2**61)])
@pytest.mark.parametrize("dtype", ["i8", "f8"])
def test_many_elements_that_occur_are_numpys(ends, dtype):
    x = np.random.default_rng(6).integers(*ends, (50, 60)).astype(dtype)
    x[3] = x[2]
    wanted = np.unique(x, return_inverse=True, return_counts=True)
    found = histograms.unique(x, return_inverse=True, return_counts=True)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a.array, b, strict=True)
    np.testing.assert_array_equal(histograms.unique(x).array, wanted[0], strict=True)


def test_places_in_sorted_rows():
    rows = Tensor(np.array([[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]))
    found = order.searchsorted(rows, Tensor(np.array([[3.0], [4.0]])))
    assert found.array.tolist() == [[1], [1]]
    assert order.searchsorted(rows, Tensor(np.array([[3.0], [4.0]])), right=True).array[0, 0] == 2
    assert order.bucketize(Tensor(np.array([0.5, 3.0])), rows[0], out_int32=True).dtype == np.int32
    with pytest.raises(dg.ShapeError, match="all axes but the last are the same"):
        order.searchsorted(rows, Tensor(np.zeros((3, 1))))


def test_slopes_of_uneven_places():
    at = np.array([0.0, 1.0, 3.0, 4.0])
    (slope,) = scans.gradient(Tensor(at**2), spacing=(Tensor(at),), edge_order=2)
    np.testing.assert_allclose(slope.array, 2 * at)
    rows = scans.gradient(Tensor(X), spacing=[1.0, 2.0])
    for ours, numpys in zip(rows, np.gradient(X, 1.0, 2.0), strict=True):
        np.testing.assert_allclose(ours.array, numpys)
    with pytest.raises(dg.ShapeError, match=r"axis 0 has 1 elements; edge_order=1 takes more"):
        scans.gradient(Tensor(np.zeros((1, 3))))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("step", [1, 1.0, 0.3, np.float32(0.3), Tensor(np.array(0.3))])
@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (3, 4), (7, 5, 2), (2, 0, 3)])
def test_even_slopes_have_numpys_bits(shape, step, dtype):
    rng = np.random.default_rng(0)
    a = rng.standard_normal(shape).astype(dtype)
    if a.size:
        a.flat[1], a.flat[-1] = np.nan, np.inf
    h = dtype(getattr(step, "array", step))
    for dim in (0, -1):
        for x in (a, np.ascontiguousarray(a.T).T):
            with np.errstate(invalid="ignore"):
                (found,) = scans.gradient(Tensor(x), spacing=step, dim=dim)
                np.testing.assert_array_equal(found.array, np.gradient(a, h, axis=dim))
            assert found.dtype == dtype


@pytest.mark.parametrize("edge_order", [1, 2])
def test_even_slopes_are_those_of_even_places(edge_order):
    x = Tensor(np.random.default_rng(0).standard_normal((3, 5)))
    places = 0.3 * np.arange(5)
    (found,) = scans.gradient(x, spacing=0.3, dim=1, edge_order=edge_order)
    (other,) = scans.gradient(x, spacing=(places,), dim=1, edge_order=edge_order)
    np.testing.assert_allclose(found.array, other.array, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(
        found.array, np.gradient(x.array, 0.3, axis=1, edge_order=edge_order), rtol=1e-13
    )


def test_integrals_by_trapezoids():
    np.testing.assert_allclose(scans.trapezoid(Tensor(X), dx=0.5).array, np.trapezoid(X, dx=0.5))
    assert scans.trapezoid(Tensor(X[:1]), dim=0).array.tolist() == [0] * X.shape[1]
    assert scans.trapezoid(Tensor(X[:, :0])).array.tolist() == [0] * X.shape[0]
    running = scans.cumulative_trapezoid(Tensor(X), dim=0)
    np.testing.assert_allclose(running.array[-1], np.trapezoid(X, axis=0))
    with pytest.raises(TypeError, match="x or dx, not both"):
        scans.trapezoid(Tensor(X), Tensor(X), dx=1)


def test_histograms():
    x = Tensor(np.array([0.0, 0.1, 0.6, 1.0]))
    assert histc(x, 2).array.tolist() == [2, 2]
    hist, edges = histogram(x, 2, range=(0.0, 2.0), weight=Tensor(np.array([1.0, 2.0, 3.0, 4.0])))
    assert hist.array.tolist() == [6, 4]
    assert edges.array.tolist() == [0, 1, 2]
    assert bincount(Tensor(np.array([0, 2, 2])), minlength=5).array.tolist() == [1, 0, 2, 0, 0]
    with pytest.raises(dg.ShapeError, match="row of whole numbers ≥ 0"):
        bincount(Tensor(np.array([-1, 2])))
    with pytest.raises(dg.GradError, match="histc has no gradient to input"):
        histc(Tensor(np.array([0.0, 1.0]), requires_grad=True))
