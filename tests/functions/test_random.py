"""Draws in proportion to weights: what comes first, without PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor
from distgrad.functions.draws import first_to_come


@pytest.mark.parametrize("n", [1, 3, 100, 512, 2000])
@pytest.mark.parametrize("rows", [1, 3])
def test_the_first_to_come_are_those_of_a_stable_sort(rows, n):
    times = np.random.default_rng(n).integers(0, n // 2 + 1, (rows, n)).astype(float)
    times[:, n // 3 :: 5] = np.inf
    for nan in (False, True):
        times[-1, n // 2] = np.nan if nan and n > 1 else times[-1, n // 2]
        wanted = np.argsort(times, 1, kind="stable")
        for count in {0, 1, 2, n // 8, n // 8 + 1, n // 2, n - 1} - {-1}:
            found = first_to_come(times, min(count, n))
            np.testing.assert_array_equal(found, wanted[:, :count], strict=True)


@pytest.mark.parametrize("count", [1, 3, 60])
@pytest.mark.parametrize("shape", [(100,), (600,), (3, 600)])
def test_multinomial_draws_each_index_once_and_none_without_weight(shape, count):
    weights = np.random.default_rng(0).random(shape).astype(np.float32)
    weights[..., ::3] = 0
    dg.manual_seed(1)
    found = dg.multinomial(Tensor(weights), count)
    assert found.shape == (*shape[:-1], count)
    assert found.dtype == np.int64
    for row in found.array.reshape(-1, count):
        assert len(set(row.tolist())) == count
        assert (row % 3 != 0).all()


@pytest.mark.parametrize(
    "weights", [[1, np.nan], [1, np.inf], [1, -1], [0, 0], [], [[1, 2], [0, 0]], [[1, 2], [3, -1]]]
)
@pytest.mark.parametrize("replacement", [False, True])
def test_multinomial_refuses_what_no_weights_are(weights, replacement):
    with pytest.raises(dg.ShapeError, match="finite, not negative, and not all 0 in a row"):
        dg.multinomial(Tensor(np.array(weights, np.float64)), 1, replacement)


def test_multinomial_refuses_more_samples_than_weights():
    with pytest.raises(dg.ShapeError, match="2 samples without replacement from 1 weights"):
        dg.multinomial(Tensor(np.array([[1.0, 2.0], [0.0, 3.0]])), 2)


@pytest.mark.parametrize(
    ("least", "most"), [(-0.1, 0.5), (0.0, 1.1), (0.5, np.nan), (np.nan, np.nan)]
)
def test_chances_and_rates_beyond_their_range_are_refused_wherever_they_stand(least, most):
    for x in ([0.5, least, most], [most, 0.5, least]):
        chance = Tensor(np.array([x, [0.5] * 3, x], np.float32)[::2].T)
        with pytest.raises(dg.ShapeError, match=r"must lie in \[0, 1\]"):
            dg.bernoulli(chance)
        with pytest.raises(dg.ShapeError, match=r"must lie in \[0, 1\]"):
            dg.binomial(Tensor(np.full((3, 2), 5)), chance)
    with pytest.raises(dg.ShapeError, match="must not be negative, nor NaN"):
        dg.poisson(Tensor([0.5, -abs(least) or np.nan]))


def test_no_chances_and_rates_are_fine():
    nothing = Tensor(np.zeros((0, 3), np.float32))
    for drawn in (dg.bernoulli(nothing), dg.poisson(nothing), dg.binomial(nothing, nothing)):
        assert drawn.shape == (0, 3)
