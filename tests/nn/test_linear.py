"""Bilinear: what it is initialised with, and what it refuses."""

import numpy as np
import pytest

from distgrad import manual_seed, nn
from distgrad.errors import ShapeError
from distgrad.nn import functional as F


def test_bilinear_is_drawn_from_pytorchs_range():
    manual_seed(3)
    layer = nn.Bilinear(25, 30, 40)
    for values in (layer.weight.array, layer.bias.array):
        assert np.abs(values).max() <= 0.2
        assert np.abs(values).max() > 0.18
        assert values.dtype == np.float32
    assert layer.weight.shape == (40, 25, 30)
    assert repr(nn.Bilinear(2, 3, 4, bias=False)) == "Bilinear(2, 3, 4, bias=False)"


def test_bilinear_equals_the_sum_it_is_defined_by():
    rng = np.random.default_rng(0)
    x, y, w = rng.normal(size=(5, 2)), rng.normal(size=(5, 3)), rng.normal(size=(4, 2, 3))
    expected = [[x[n] @ w[o] @ y[n] for o in range(4)] for n in range(5)]
    np.testing.assert_allclose(F.bilinear(x, y, w).array, expected)


def test_bilinear_refuses_inputs_of_different_batches():
    with pytest.raises(ShapeError, match=r"last axis only; got \(5, 2\) and \(1, 3\): broadcast"):
        F.bilinear(np.ones((5, 2)), np.ones((1, 3)), np.ones((4, 2, 3)))
