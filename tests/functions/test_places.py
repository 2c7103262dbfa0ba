"""Places of elements as indices."""

from __future__ import annotations

import itertools

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


@pytest.mark.parametrize("name", ["tril_indices", "triu_indices"])
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3, 3), (2, 5), (5, 2)])
def test_a_triangles_places_are_numpys(name, shape):
    for offset in range(-6, 7):
        found = getattr(dg, name)(*shape, offset, dtype=np.int32)
        wanted = np.stack(getattr(np, name)(shape[0], offset, shape[1])).astype(np.int32)
        np.testing.assert_array_equal(found.array, wanted, strict=True)


def test_a_triangles_places_are_a_new_array_each_time():
    first = dg.tril_indices(3, 3)
    first.array[...] = 7
    assert dg.tril_indices(3, 3).tolist() == [[0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 2]]


@pytest.mark.parametrize("n", [0, 1, 3, 6])
@pytest.mark.parametrize("r", [1, 2, 3, 5])
def test_choices_are_those_of_itertools(n, r):
    x = np.arange(n) * 2.0 + 1
    for repeated, choose in (
        (False, itertools.combinations),
        (True, itertools.combinations_with_replacement),
    ):
        wanted = np.array(list(choose(x, r))).reshape(-1, r)
        np.testing.assert_array_equal(dg.combinations(Tensor(x), r, repeated).array, wanted)


def test_choices_of_fewer_than_none_are_refused():
    with pytest.raises(dg.ShapeError, match="r=-1"):
        dg.combinations(Tensor(np.ones(3)), -1)
