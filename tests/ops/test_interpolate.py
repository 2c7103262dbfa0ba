"""What interpolation, unfold, fold and pixel shuffling compute and refuse, without PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, nn
from distgrad.nn import functional as F

X = np.arange(1.0, 5.0).reshape(1, 1, 4)
IMAGE = np.ones((1, 4, 3, 5))


def test_linear_interpolation_by_hand():
    y = F.interpolate(X[..., :2], 4, mode="linear")
    np.testing.assert_allclose(y.array, [[[1, 1.25, 1.75, 2]]])
    y = F.interpolate(X[..., :2], 4, mode="linear", align_corners=True)
    np.testing.assert_allclose(y.array, [[[1, 4 / 3, 5 / 3, 2]]])


def test_a_scale_factor_is_used_as_it_is_unless_recomputed():
    as_it_is = F.interpolate(X, scale_factor=1.4, mode="linear").array
    again = F.interpolate(X, scale_factor=1.4, mode="linear", recompute_scale_factor=True).array
    assert as_it_is.shape == again.shape == (1, 1, 5)
    assert as_it_is[0, 0, 1] == pytest.approx(1.5 / 1.4 + 0.5)
    np.testing.assert_array_equal(again, F.interpolate(X, 5, mode="linear").array)


def test_the_nearest_of_whole_numbers_are_whole_numbers():
    y = F.interpolate(X.astype(np.int64), 8)
    assert y.array.dtype == np.int64
    assert y.array.ravel().tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert F.interpolate(X.astype(np.int64), 2, mode="area").array.tolist() == [[[1.5, 3.5]]]


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_infinity_stays_where_it_is(mode):
    x = Tensor(np.array([[[np.inf, 1.0, 2.0, 3.0]]]), requires_grad=True)
    y = F.interpolate(x, 7, mode=mode)
    assert np.isfinite(y.array[0, 0, 3:]).all()
    y.backward(np.where(np.arange(7) == 0, np.inf, 1.0).reshape(1, 1, 7))
    assert np.isinf(x.grad.array[0, 0, 0])
    assert np.isfinite(x.grad.array[0, 0, 1:]).all()


def test_fold_counts_how_often_a_pixel_is_seen():
    seen = F.fold(F.unfold(np.ones((1, 1, 3, 3)), 2), 3, 2)
    np.testing.assert_array_equal(seen.array[0, 0], [[1, 2, 1], [2, 4, 2], [1, 2, 1]])


def test_pixels_are_channels_in_rows():
    y = F.pixel_shuffle(np.arange(4.0).reshape(4, 1, 1), 2)
    np.testing.assert_array_equal(y.array, [[[0, 1], [2, 3]]])
    np.testing.assert_array_equal(F.pixel_unshuffle(y, 2).array.ravel(), [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.interpolate(X, 2, mode="cubic"), r"mode is 'nearest', .*; got 'cubic'"),
        (
            lambda: F.interpolate(X, 2, mode="bilinear"),
            r"'bilinear' is for inputs of 4 axes; got 3",
        ),
        (lambda: F.interpolate(X[0], 2), r"'nearest' is for inputs of 3, 4 or 5 axes; got 2"),
        (lambda: F.interpolate(X, 2, align_corners=False), r"leave it out for 'nearest'"),
        (lambda: F.interpolate(X, 2, antialias=True), r"'bilinear' or 'bicubic'; got 'nearest'"),
        (lambda: F.interpolate(X), r"give either size or scale_factor"),
        (lambda: F.interpolate(X, 2, 2.0), r"give either size or scale_factor"),
        (lambda: F.interpolate(X, (2, 3)), r"size is a whole number or 1 .*; got \(2, 3\)"),
        (lambda: F.interpolate(X, scale_factor=(2, 3)), r"a number or 1 of them; got \(2, 3\)"),
        (lambda: F.interpolate(X, scale_factor=0.2), r"from \(4,\) to \(0,\): no length may be"),
        (lambda: F.interpolate(X, 2, recompute_scale_factor=True), r"nothing for a given size"),
        (lambda: F.unfold(X[0, 0], 2), r"unfold takes \(n, c, h, w\) or \(c, h, w\); got"),
        (lambda: F.unfold(IMAGE, 4), r"a window of 4 .* does not fit in a length of 3"),
        (lambda: F.fold(IMAGE, 3, 2), r"fold takes \(n, c · kernel, windows\), n or not; got"),
        (lambda: F.fold(np.ones((4, 3)), 3, 2), r"needs \(n, c x 4, 4\): \(2, 2\) windows; got"),
        (lambda: nn.Fold(3, 2)(np.ones((1, 6, 4))), r"needs \(n, c x 4, 4\): .* got \(1, 6, 4\)"),
        (lambda: F.pixel_shuffle(IMAGE, 3), r"makes one channel of 9; got 4 channels"),
        (lambda: F.pixel_shuffle(X[0], 2), r"takes \(…, c, h, w\) and a factor .*; got \(1, 4\)"),
        (lambda: F.pixel_unshuffle(IMAGE, 2), r"by 2 does not divide images of 3 x 5"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(dg.ShapeError, match=message):
        call()
