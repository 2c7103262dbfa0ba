"""Comparisons and logic: booleans, bits, and Python's operators on Tensors."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor
from distgrad.functions import comparison, logic

A, B = np.array([6, 3, -1]), np.array([3, 3, 1])


def test_comparisons_are_booleans_without_a_gradient():
    x = Tensor(A.astype(float), requires_grad=True)
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        found = getattr(comparison, name)(x, Tensor(B))
        assert found.dtype == np.bool_
        assert not found.requires_grad
        np.testing.assert_array_equal(found.array, getattr(A, f"__{name}__")(B))
        np.testing.assert_array_equal(getattr(x, name)(3).array, getattr(A, f"__{name}__")(3))


def test_equality_as_one_truth_value():
    assert comparison.equal(Tensor(A), Tensor(A.copy()))
    assert not comparison.equal(Tensor(A), Tensor(A[:2]))
    assert comparison.allclose(Tensor(A * 1.0), Tensor(A * (1 + 1e-7)))
    nan = Tensor(np.array([np.nan]))
    assert not comparison.allclose(nan, nan)
    assert comparison.allclose(nan, nan, equal_nan=True)
    with pytest.raises(dg.DistgradError, match="rtol and atol are ≥ 0"):
        comparison.isclose(nan, nan, rtol=-1)


def test_bits_and_pythons_operators():
    x, y = Tensor(A), Tensor(B)
    for found, wanted in (
        (logic.bitwise_and(x, y), A & B),
        (x | y, A | B),
        (x ^ 1, A ^ 1),
        (~x, ~A),
        (x << 2, A << 2),
        (x >> y, A >> B),
        (2 & x, 2 & A),
        (logic.bitwise_not(Tensor(A > 0)), ~(A > 0)),
    ):
        np.testing.assert_array_equal(found.array, wanted)
    with pytest.raises(
        dg.DistgradError, match="bitwise_and takes whole numbers or booleans; got f"
    ):
        logic.bitwise_and(Tensor(A * 1.0), y)


def test_what_is_not_0_is_true():
    x, y = Tensor(np.array([0.0, 2.0, 0.0])), Tensor(np.array([1, 1, 0]))
    assert logic.logical_and(x, y).array.tolist() == [False, True, False]
    assert logic.logical_xor(x, y).array.tolist() == [True, False, False]
    assert x.logical_not().array.tolist() == [True, False, True]


def test_complex_numbers_have_no_order():
    with pytest.raises(dg.DistgradError, match="lt takes real numbers: complex ones have no order"):
        comparison.lt(Tensor(np.array([1j])), 2)
