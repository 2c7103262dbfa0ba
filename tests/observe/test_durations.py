"""How lengths of time are spelled: at the borders of their units."""

import math

import pytest

from distgrad.observe.durations import spell_left, spell_seconds


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0 s"),
        (1e-9, "1 ns"),
        (9.996e-7, "1 µs"),
        (1.5e-6, "1.5 µs"),
        (9.994e-4, "999 µs"),
        (9.996e-4, "1 ms"),
        (0.0237, "23.7 ms"),
        (0.9996, "1 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (7384, "2 h 3 min"),
        (172_764, "47 h 59 min"),
        (172_799, "2 d 0 h"),
        (3e5, "3 d 11 h"),
        (-0.0031, "-3.1 ms"),
        (math.nan, "NaN"),
        (math.inf, "infinity"),
    ],
)
def test_what_was_measured_has_three_digits_below_a_minute_and_then_two_units(seconds, said):
    assert spell_seconds(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (1e-9, "0:00"),
        (-3.0, "0:00"),
        (59.96, "1:00"),
        (83, "1:23"),
        (3599.6, "1:00:00"),
        (7384, "2:03:04"),
        (172_799.4, "47:59:59"),
        (172_799.6, "2d0h"),
        (3e5, "3d11h"),
        (math.nan, "?"),
        (math.inf, "?"),
    ],
)
def test_what_is_left_is_a_clock_of_whole_seconds_without_a_blank(seconds, said):
    assert spell_left(seconds) == said
