"""New tensors of lists have the dtype that PyTorch gives them."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import torch

import distgrad as dg

LISTS = [
    [1.5, 2, 3],
    [True, 1.5],
    [],
    [[]],
    1j,
    [1.0, 1j],
    [np.ones(3), np.zeros(3)],
    [np.ones(2, int), np.ones(2)],
    [np.ones(2, np.float16), np.ones(2, np.float32)],
    [np.ones(2, np.int32)],
    (np.ones(3),),
    [[1.5, np.float64(2)], [1, 2]],
    [np.float32(1), 1.5],
    [np.float32(1), np.int64(3)],
    [np.complex64(1)],
    [np.float64(1), 1j],
    np.float64(1),
]


@pytest.mark.filterwarnings("ignore:Creating a tensor from a list of numpy")
@pytest.mark.parametrize("numbers", LISTS, ids=repr)
@pytest.mark.parametrize("name", ["tensor", "as_tensor", "asarray"])
def test_the_dtype_of_a_list_is_pytorchs(name: str, numbers: object) -> None:
    expected, found = getattr(torch, name)(numbers), getattr(dg, name)(numbers)
    assert str(expected.dtype) == f"torch.{found.dtype}"
    assert tuple(expected.shape) == found.shape
