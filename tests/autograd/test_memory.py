"""Arrays in one piece of memory: of the sizes asked for, apart, each where a cache line begins."""

import numpy as np
import pytest

from distgrad.autograd.memory import in_a_row

F4, F8 = np.dtype(np.float32), np.dtype(np.float64)


@pytest.mark.parametrize("make", [np.zeros, np.empty])
def test_arrays_in_a_row_do_not_overlap(make):
    specs = [(3, F4), (1, F8), (0, F4), (17, F4), (1000, F4), (5, F8), (16, np.dtype(np.float16))]
    arrays = in_a_row(specs, make)
    assert [(a.size, a.dtype) for a in arrays] == specs
    for i, a in enumerate(arrays):
        a[...] = i
    assert all((a == i).all() for i, a in enumerate(arrays))


def test_arrays_in_a_row_begin_with_a_cache_line_and_share_one_array_per_dtype():
    arrays = in_a_row([(5, F4), (7, F8), (5, F4), (9, F4), (2, F8)], np.zeros)
    assert all(a.ctypes.data % 64 == 0 for a in arrays)
    assert all(not a.any() for a in arrays)
    assert {id(arrays[i].base) for i in (0, 2, 3)} == {id(arrays[0].base)}
    assert arrays[2].ctypes.data - arrays[0].ctypes.data == 64


def test_no_array_is_no_memory():
    assert in_a_row([]) == []
