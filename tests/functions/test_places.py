"""Places of elements as indices."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor
from distgrad.functions.places import nonzero_static, unravel_index


def test_places_become_indices_of_each_axis():
    rows, columns = unravel_index(Tensor(np.array([0, 4, -1])), (2, 3))
    assert rows.tolist() == [0, 1, 1]
    assert columns.tolist() == [0, 1, 2]
    with pytest.raises(dg.ShapeError, match=r"place 6 of 6, in shape \(2, 3\)"):
        unravel_index(Tensor(np.array([2, 6])), (2, 3))


def test_a_fixed_number_of_places_is_filled_up_or_cut():
    x = Tensor(np.array([[1, 0], [0, 2], [3, 0]]))
    assert nonzero_static(x, size=2).tolist() == [[0, 0], [1, 1]]
    assert nonzero_static(x, size=4, fill_value=9).tolist()[2:] == [[2, 0], [9, 9]]
    assert x.nonzero_static(size=0).shape == (0, 2)
