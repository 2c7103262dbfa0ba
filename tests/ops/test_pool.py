"""What pooling computes and refuses, without PyTorch at hand."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor
from distgrad.nn import functional as F

X = np.arange(1.0, 8.0).reshape(1, 1, 7)


def test_the_last_window_reaches_over_the_end_with_ceil_mode_only():
    np.testing.assert_array_equal(F.max_pool1d(X, 2).array, [[[2, 4, 6]]])
    np.testing.assert_array_equal(F.max_pool1d(X, 2, ceil_mode=True).array, [[[2, 4, 6, 7]]])
    np.testing.assert_array_equal(F.avg_pool1d(X, 2, ceil_mode=True).array, [[[1.5, 3.5, 5.5, 7]]])


def test_a_window_that_would_start_in_the_padding_after_the_end_is_left_out():
    y = F.max_pool1d(X[..., :4], 2, 2, padding=1, ceil_mode=True)
    np.testing.assert_array_equal(y.array, [[[1, 3, 4]]])
    y = F.max_pool1d(X[..., :3], 2, 3, padding=1, ceil_mode=True)
    np.testing.assert_array_equal(y.array, [[[1, 3]]])
    y = F.max_pool1d(X[..., :2], 2, 3, padding=1, ceil_mode=True)
    np.testing.assert_array_equal(y.array, [[[1]]])


def test_padding_counts_in_a_mean_or_not():
    x = np.full((1, 1, 3), 6.0)
    np.testing.assert_array_equal(F.avg_pool1d(x, 3, 1, 1).array, [[[4, 6, 4]]])
    y = F.avg_pool1d(x, 3, 1, 1, count_include_pad=False)
    np.testing.assert_array_equal(y.array, [[[6, 6, 6]]])
    y = F.avg_pool2d(x[None], (1, 3), divisor_override=9)
    np.testing.assert_array_equal(y.array, [[[[2]]]])


def test_parts_overlap_where_they_do_not_divide():
    np.testing.assert_allclose(F.adaptive_avg_pool1d(X, 3).array, [[[2, 4, 6]]])
    np.testing.assert_array_equal(F.adaptive_max_pool1d(X, 3).array, [[[3, 5, 7]]])
    np.testing.assert_array_equal(F.adaptive_max_pool1d(X, 10).array.ravel()[:4], [1, 2, 3, 3])
    assert F.adaptive_avg_pool2d(np.ones((2, 5, 4)), (None, 3)).shape == (2, 5, 3)


@pytest.mark.parametrize("pool", [F.max_pool3d, F.adaptive_max_pool3d])
def test_the_first_of_equal_elements_wins(pool):
    x = Tensor(np.ones((1, 2, 2, 2, 2)), requires_grad=True)
    y, index = pool(x, 1 if pool is F.adaptive_max_pool3d else 2, return_indices=True)
    y.sum().backward()
    assert index.array.ravel().tolist() == [0, 0]
    np.testing.assert_array_equal(np.flatnonzero(x.grad.array), [0, 8])
    x.grad = None
    pool(x, 1 if pool is F.adaptive_max_pool3d else 2).sum().backward()
    np.testing.assert_array_equal(np.flatnonzero(x.grad.array), [0, 8])


@pytest.mark.parametrize(
    "pool", [lambda x: F.max_pool1d(x, 3), lambda x: F.adaptive_max_pool1d(x, 2)]
)
def test_nan_wins_and_minus_infinity_loses(pool):
    x = np.array([[[-np.inf, -np.inf, -np.inf, 2, np.nan, 1]]])
    y = pool(x).array
    assert np.isneginf(y[0, 0, 0])
    assert np.isnan(y[0, 0, 1])


def test_a_nan_spoils_the_parts_it_is_in_alone():
    x = np.array([[[1.0, 2, np.nan, 4, np.inf, 6]]])
    found = F.adaptive_avg_pool1d(x, 3).array
    np.testing.assert_array_equal(found, [[[1.5, np.nan, np.inf]]])


def test_whole_numbers_are_pooled_too():
    x = np.arange(6).reshape(1, 1, 6)
    assert F.max_pool1d(x, 2).array.tolist() == [[[1, 3, 5]]]
    assert F.avg_pool1d(x, 2).array.tolist() == [[[0.5, 2.5, 4.5]]]
    assert F.adaptive_avg_pool1d(x, 3).array.tolist() == [[[0.5, 2.5, 4.5]]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.max_pool1d(X[0, 0], 2), r"max_pool1d takes \(n, c, l\) or \(c, l\); got .*\(7,"),
        (lambda: F.max_pool1d(X, (2, 2)), r"kernel_size is a whole number or 1 .*; got \(2, 2\)"),
        (lambda: F.max_pool1d(X, 3, padding=2), r"padding \(2,\) is more than half of the kernel"),
        (lambda: F.max_pool1d(X, 0), r"start at 1, padding at 0; got kernel=0"),
        (lambda: F.max_pool1d(X, 2, stride=0), r"start at 1, padding at 0; .*stride=0"),
        (lambda: F.avg_pool1d(X, 8), r"a window of 8 .* does not fit in a length of 7"),
        (
            lambda: F.max_pool1d(X[..., :1], 2, padding=1, dilation=2),
            r"a window of 2 elements, 2 apart, holds nothing but padding in a length of 1",
        ),
        (lambda: F.avg_pool2d(X, 1, divisor_override=0), r"divisor_override .* must not be zero"),
        (lambda: F.adaptive_avg_pool1d(X, 0), r"0 parts of a length of 7: both must be at least 1"),
        (lambda: F.adaptive_max_pool2d(X, (2, 2, 2)), r"output_size is .*2 of them"),
    ],
)
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "reference"])
def test_bad_input_is_named(call, message, fused):
    with (
        dg.enable_grad() if fused else dg.reference_kernels(),
        pytest.raises(dg.ShapeError, match=message),
    ):
        call()
