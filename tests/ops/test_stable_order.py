"""The stable order by keys and places, beside NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from distgrad.ops.stable_order import stable_order

SPECIAL = [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38]


def drawn(dtype, shape, seed=3):
    """Numbers with many equal ones, and the special ones among floats."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind != "f":
        ends = np.iinfo(dtype)
        numbers = [ends.min, ends.max, *rng.integers(ends.min, ends.max, 40, dtype)]
        return rng.choice(np.array(numbers, dtype), shape)
    with np.errstate(over="ignore"):
        numbers = np.array([*SPECIAL, *rng.normal(size=40)]).astype(dtype)
    return rng.choice(numbers, shape)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4", "u4", "i8", ">f4", "?"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_the_order_is_numpys_stable_one(dtype, axis):
    a = drawn("i4", (67, 41, 35)) > 0 if dtype == "?" else drawn(dtype, (67, 41, 35))
    found = stable_order(a, axis)
    np.testing.assert_array_equal(found, np.argsort(a, axis=axis, kind="stable"))
    assert found.dtype == np.intp
    assert found.flags.c_contiguous


def test_the_numbers_are_left_as_they_are():
    a = drawn("f4", (50, 100))
    a.flags.writeable = False
    before = a.tobytes()
    stable_order(a[:, ::-1], 1)
    assert a.tobytes() == before


@pytest.mark.parametrize("shape", [(0,), (0, 100), (100, 0), (33,), (3, 1)])
def test_few_numbers_or_none_have_numpys_order_too(shape):
    a = drawn("f4", shape)
    np.testing.assert_array_equal(stable_order(a, 0), np.argsort(a, axis=0, kind="stable"))


@pytest.mark.parametrize("low", [0, -(2**31) - 5, 2**62])
@pytest.mark.parametrize("width", [9, 2**32 - 1, 2**32])
def test_long_integers_that_lie_close_together_have_numpys_order(low, width):
    a = np.random.default_rng(4).integers(low, low + width, (70, 50), np.int64, endpoint=True)
    a[:2, :2] = low, low + width
    for x in (a, a.astype(np.uint64)) if low >= 0 else (a,):
        np.testing.assert_array_equal(stable_order(x, 0), np.argsort(x, axis=0, kind="stable"))
