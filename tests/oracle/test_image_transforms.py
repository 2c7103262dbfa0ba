"""Resize against PyTorch's bilinear interpolation with a wide filter."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import torch

from distgrad.data import transforms as T


@pytest.mark.parametrize("size", [(3, 5), (16, 9), (8, 10), (4, 21), (1, 1)])
@pytest.mark.parametrize("antialias", [True, False])
def test_resize_is_pytorchs_bilinear_interpolation(size, antialias):
    x = np.random.default_rng(1).normal(size=(2, 3, 8, 10))
    wanted = torch.nn.functional.interpolate(
        torch.tensor(x), size=size, mode="bilinear", align_corners=False, antialias=antialias
    )
    found = T.Resize(size, antialias=antialias)(x)
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("size", [(3, 5), (16, 9), (4, 21)])
def test_resize_to_the_nearest(size):
    x = np.random.default_rng(1).normal(size=(2, 3, 8, 10))
    wanted = torch.nn.functional.interpolate(torch.tensor(x), size=size, mode="nearest")
    np.testing.assert_array_equal(T.Resize(size, "nearest")(x), wanted.numpy())
