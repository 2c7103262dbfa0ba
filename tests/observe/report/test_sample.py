"""What a screen can show of a long series."""

import numpy as np
import pytest

from distgrad.observe.report.sample import in_buckets, runs_of, thinned


@pytest.mark.parametrize("count", [3, 999, 1000, 1001, 100_000])
def test_no_more_buckets_than_asked_for_and_each_value_in_one(count):
    values = np.arange(count) ** 2.0
    points = in_buckets(np.arange(1, count + 1), values, 1000)
    assert len(points.steps) <= 1000
    assert points.steps[-1] == count
    assert (points.low.min(), points.high.max()) == (0, values[-1])
    sizes = np.diff(points.steps, prepend=0)
    assert sizes.sum() == count
    np.testing.assert_allclose(np.sum(points.mean * sizes), values.sum())


def test_a_series_that_fits_is_kept_as_it_is():
    steps, values = np.array([3, 5, 9]), np.array([0.5, 0.25, 4.0])
    points = in_buckets(steps, values, 3)
    assert points.bucket == 1
    for kept in (points.mean, points.low, points.high):
        assert kept.tolist() == values.tolist()
    assert points.steps.tolist() == steps.tolist()


@pytest.mark.parametrize("place", [0, 31_415, 99_999])
def test_a_spike_of_one_step_is_in_the_band_at_its_place(place):
    values = np.sin(np.arange(100_000) / 1e4)
    values[place] = 50
    points = in_buckets(np.arange(100_000), values, 1000)
    at = int(np.argmax(points.high))
    assert points.high[at] == 50
    assert points.steps[at] - 100 < place <= points.steps[at]


def test_what_is_not_finite_is_listed_and_in_no_mean():
    values = np.array([1.0, np.nan, 3.0, -np.inf, 5.0, np.inf])
    points = in_buckets(np.arange(10, 16), values, 2)
    assert points.broken.tolist() == [11, 13, 15]
    assert points.mean.tolist() == [2.0, 5.0]
    nothing = in_buckets(np.arange(2), np.array([np.nan, np.nan]), 2)
    assert (len(nothing.steps), nothing.broken.tolist()) == (0, [0, 1])


def test_thinning_keeps_both_ends_and_ranges_cover_all():
    assert thinned(3, 10).tolist() == [0, 1, 2]
    assert thinned(1001, 11).tolist() == list(range(0, 1001, 100))
    for count in (0, 1, 3, 10, 11):
        ranges = runs_of(count, 3)
        assert len(ranges) <= 3
        assert [i for run in ranges for i in run] == list(range(count))
