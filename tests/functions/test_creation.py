"""What dtype new tensors have."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg

CREATE = [dg.tensor, dg.as_tensor, dg.asarray]


@pytest.mark.parametrize("create", CREATE)
def test_numpys_numbers_keep_their_precision_in_lists_and_pythons_have_none(create) -> None:
    assert create([1.5, 2, 3]).dtype == np.float32
    assert create([np.ones(3), np.zeros(3)]).dtype == np.float64
    assert create(((1.5, 2), [1, np.float64(2)])).dtype == np.float64
    assert create([np.float32(1), 2.5]).dtype == np.float32
    assert create([[1.5, 1j]]).dtype == create(1j).dtype == np.complex64
    assert create([np.ones(3), 1j * np.ones(3)]).dtype == np.complex128
    assert create([np.ones(3)], dtype=dg.float32).dtype == np.float32


@pytest.mark.parametrize("create", CREATE)
def test_pythons_numbers_take_the_default_dtype(create) -> None:
    dg.set_default_dtype(dg.float64)
    try:
        assert create([1.5, 2]).dtype == np.float64
        assert create(1j).dtype == np.complex128
    finally:
        dg.set_default_dtype(dg.float32)
