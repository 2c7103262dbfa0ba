"""Sorting and selection: ties, NaN, infinities, numbers of axes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from distgrad import ShapeError, Tensor, ops
from distgrad.autograd import grad, gradcheck

X = np.random.default_rng(4).permutation(24).reshape(2, 3, 4) / 10
NAN = np.array([[2.0, np.nan, 1, 3], [4, 2, 3, 1]])


def leaf(x):
    return Tensor(np.array(x), requires_grad=True)


CALLS = {
    "sort": np.sort,
    "sort axis 0": lambda x: np.sort(x, axis=0, kind="stable"),
    "sort all": lambda x: np.sort(x, axis=None),
    "partition": lambda x: np.partition(x, 2, axis=1)[:, 2],
    "partition all": lambda x: np.partition(x, 0, axis=None)[0],
    "median": np.median,
    "median over axes": lambda x: np.median(x, axis=(0, -1)),
    "median, axes kept": lambda x: np.median(x, axis=(2, 0), keepdims=True),
    "quantile": lambda x: np.quantile(x, 0.3, axis=1),
    "quantiles over axes": lambda x: np.quantile(x, [[0.0, 0.5], [0.7, 1.0]], axis=(0, 1)),
    "quantile, axes kept": lambda x: np.quantile(x, [0.3, 0.4], keepdims=True),
    "percentile": lambda x: np.percentile(x, 70, axis=-1, method="midpoint"),
    **{
        f"quantile {m}": lambda x, m=m: np.quantile(x, [0.1, 0.5, 0.66], axis=2, method=m)
        for m in ("lower", "higher", "nearest")
    },
}


@pytest.mark.parametrize("name", CALLS)
def test_a_tensor_gives_what_numpy_gives_of_an_array(name):
    np.testing.assert_allclose(CALLS[name](leaf(X)).array, CALLS[name](X), rtol=1e-14)
    gradcheck(lambda t: CALLS[name](t * t), [X + 0.1], second=True)


@pytest.mark.parametrize("call", [np.median, lambda x: np.quantile(x, 0.3)])
def test_float32_stays_float32(call):
    assert call(leaf(X.astype(np.float32))).dtype == np.float32


def test_equal_elements_keep_their_order_in_both_directions():
    x = np.array([1.0, 0, 1, 0, 1])
    assert ops.sort(x, dim=-1)[1].tolist() == [1, 3, 0, 2, 4]
    assert ops.sort(x, descending=True, dim=-1)[1].tolist() == [0, 2, 4, 1, 3]
    assert ops.topk(x, 2)[1].tolist() == [0, 2]
    assert ops.topk(x, 3, largest=False)[1].tolist() == [1, 3, 0]


def test_nan_counts_as_the_largest():
    assert ops.sort(NAN, dim=-1)[1].tolist() == [[2, 0, 3, 1], [3, 1, 2, 0]]
    assert ops.sort(NAN, descending=True, dim=-1)[1].tolist() == [[1, 3, 0, 2], [0, 2, 1, 3]]
    assert ops.topk(NAN, 1)[1].tolist() == [[1], [0]]
    assert ops.kthvalue(NAN, 4)[1].tolist() == [1, 0]


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.median(x, axis=1),
        lambda x: ops.median(x, dim=-1)[0],
        lambda x: np.quantile(x, 0.0, axis=1),
    ],
)
def test_a_row_with_nan_has_a_nan_for_median_and_its_gradient_goes_there(call):
    x = leaf(NAN)
    y = call(x)
    assert np.isnan(y.array).tolist() == [True, False]
    (g,) = grad(y, [x], gradient=np.ones(2))
    assert g.array[0].tolist() == [0, 1, 0, 0]
    assert g.array[1].sum() == 1


def test_running_extremes_keep_a_nan():
    values, index = ops.cummin(NAN, 1)
    np.testing.assert_array_equal(values.array, [[2, np.nan, np.nan, np.nan], [4, 2, 2, 1]])
    assert index.tolist() == [[0, 1, 1, 1], [0, 1, 1, 3]]
    assert ops.cummax(np.zeros((2, 0)), 1)[0].shape == (2, 0)
    assert ops.cummax(np.zeros((0, 2)), 1)[0].shape == (0, 2)


def test_infinite_elements_are_no_trouble_at_the_ends():
    x = leaf([np.inf, 1, -np.inf, np.inf])
    assert np.median(x).array == np.inf
    assert np.quantile(x, [0.0, 1.0]).array.tolist() == [-np.inf, np.inf]


def test_the_median_of_two_middle_elements_shares_the_gradient():
    x = leaf([3.0, 1, 2, 4])
    assert grad(np.median(x), [x])[0].array.tolist() == [0.5, 0, 0.5, 0]
    assert grad(ops.median(x, dim=-1)[0], [x])[0].array.tolist() == [0, 0, 1, 0]


def test_numbers_and_empty_arrays():
    value, index = ops.sort(leaf(3.0), dim=-1)
    assert (value.shape, index.shape) == ((), ())
    assert ops.sort(np.zeros((2, 0)), dim=-1)[0].shape == (2, 0)
    assert np.median(leaf(np.zeros((0, 3))), axis=1).shape == (0,)
    assert np.quantile(leaf(X), [], axis=0).shape == (0, 3, 4)
    assert np.unique(leaf([2.0, 1, 2]).detach()).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: np.sort(x, axis=3), "sort: axis 3 is out of range for 3 axes"),
        (lambda x: np.sort(x, order="name"), "no fields to order by; got order='name'"),
        (lambda x: ops.topk(x, 5), r"topk: k=5 is not in 0\.\.4, the length of axis -1"),
        (lambda x: ops.kthvalue(x, 0), r"kthvalue: k=0 is not in 1\.\.4"),
        (lambda x: np.median(x[:0], axis=0), "median of no elements"),
        (
            lambda x: ops.median(x[..., :0], dim=-1),
            r"median of no elements: axis 2 of shape \(2, 3, 0\)",
        ),
        (lambda x: np.quantile(x[:0], 0.5), r"quantile of no elements: the shape is \(0, 3, 4\)"),
        (lambda x: np.quantile(x, 1.5), r"q lies in \[0, 1\] .*got 1\.5"),
        (lambda x: np.percentile(x, 101), "0 to 100 for percentile"),
        (lambda x: np.quantile(x, 0.5, method="weibull"), "linear, lower, .*; got 'weibull'"),
        (lambda x: np.median(x, axis=(0, 0)), r"median: axis \(0, 0\) names an axis twice"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ShapeError, match=message):
        call(leaf(X))
