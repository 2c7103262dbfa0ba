"""Single places of the stable order, beside the order itself."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import ops, reference_kernels
from distgrad.ops.selection import first_places, index_at

from .test_stable_order import drawn


def numbers(dtype, shape, *, ties=True):
    """Numbers with many equal ones (or few), and no NaN."""
    if np.dtype(dtype).kind == "b":
        return drawn("i4", shape) > 0
    if not ties:
        return np.random.default_rng(5).normal(size=shape).astype(dtype)
    a = drawn(dtype, shape)
    return np.nan_to_num(a, nan=1.5) if np.dtype(dtype).kind == "f" else a


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4", "u1", "i8", "?"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_the_index_at_a_place_is_the_stable_orders(dtype, axis):
    a = numbers(dtype, (67, 41, 35))
    order = np.argsort(a, axis=axis, kind="stable")
    for k in (0, 1, 17, a.shape[axis] - 1):
        np.testing.assert_array_equal(index_at(a, axis, k), np.take(order, [k], axis))


def test_nan_are_last_and_come_as_they_stand():
    a = drawn("f4", (60, 90))
    order = np.argsort(a, axis=1, kind="stable")
    for k in (0, 45, 89):
        np.testing.assert_array_equal(index_at(a, 1, k), order[:, [k]])


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("descending", [False, True])
def test_the_first_places_are_the_stable_orders(dtype, axis, descending):
    a = (numbers("f4", (90, 80), ties=False) * 9).round().astype(dtype)
    found = first_places(a, axis, 5, descending)
    rank = -a if descending else a
    order = np.argsort(rank, axis=axis, kind="stable")
    np.testing.assert_array_equal(found, np.take(order, range(5), axis))


def test_the_greatest_begin_with_nan_in_their_order():
    a = numbers("f4", (3, 900), ties=False)
    a[1, [40, 7, 300]] = np.nan
    values, index = ops.topk(a, 5)
    assert index.numpy()[1, :3].tolist() == [7, 40, 300]
    assert values.numpy()[1, 3] == np.nanmax(a[1])


@pytest.mark.parametrize("largest", [False, True])
def test_the_dtypes_last_value_is_told_from_what_is_taken(largest):
    a = np.full((3, 900), -np.inf if largest else np.inf, "f4")
    a[1, 5] = 1
    _, index = ops.topk(a, 3, largest=largest)
    assert index.numpy().tolist() == [[0, 1, 2], [5, 0, 1], [0, 1, 2]]


def test_what_is_selected_from_is_left_as_it_is():
    a = numbers("f4", (50, 100))
    a.flags.writeable = False
    before = a.tobytes()
    index_at(a, 1, 50)
    first_places(a, 1, 3, True)
    assert a.tobytes() == before


@pytest.mark.parametrize("name", ["cummax", "cummin"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_running_extremes_stand_at_the_latest_of_equal_ones(name, dtype, axis):
    a = drawn(dtype, (31, 33, 35))
    lines = np.moveaxis(a, axis, -1).reshape(-1, a.shape[axis])
    wanted = np.empty(lines.shape, np.intp)
    for line, places in zip(lines, wanted, strict=True):
        at = 0
        for k, v in enumerate(line):
            if (v >= line[at] if name == "cummax" else v <= line[at]) or v != v:
                at = k
            places[k] = at
    wanted = np.moveaxis(wanted.reshape(np.moveaxis(a, axis, -1).shape), -1, axis)
    values, index = getattr(dg, name)(dg.tensor(a), axis)  # a kernel's, where there is numba
    np.testing.assert_array_equal(index.numpy(), wanted)
    assert values.numpy().tobytes() == np.take_along_axis(a, wanted, axis).tobytes()
    with reference_kernels():
        np.testing.assert_array_equal(getattr(ops, name)(a, axis)[1].numpy(), wanted)
