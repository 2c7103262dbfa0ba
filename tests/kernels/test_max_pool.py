"""Max-pooling: of equal elements and of several NaNs the first in memory wins, as it does there."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, ops
from distgrad.autograd import grad

pytest.importorskip("numba", reason="numba is not installed: there are no twins")


def pooled(x, **settings):
    a = Tensor(x, requires_grad=True)
    y = ops.max_pool(a, **settings)
    weights = np.arange(1, y.size + 1, dtype=x.dtype).reshape(y.shape)
    return y.array, grad(np.sum(y * weights), [a])[0].array


@pytest.mark.parametrize("width", [5, 37])  # narrow planes go another way
@pytest.mark.parametrize("nans", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": (4, 3), "stride": (1, 2), "padding": (2, 0), "ceil_mode": True},
    ],
)
def test_of_equal_elements_and_nans_the_first_wins(width, nans, settings):
    r = np.random.default_rng(width)
    x = r.integers(0, 3, (2, 3, 9, width)).astype("f4")
    if nans:
        x[r.random(x.shape) < 0.2] = np.nan
    with dg.reference_kernels(), np.errstate(invalid="ignore"):
        wanted = pooled(x, **settings)
        wanted_volume = pooled(np.stack([x, x[::-1]], 2), kernel_size=2)
    for found, expected in zip(pooled(x, **settings), wanted, strict=True):
        np.testing.assert_array_equal(found, expected)
    volume = pooled(np.stack([x, x[::-1]], 2), kernel_size=2)
    for found, expected in zip(volume, wanted_volume, strict=True):
        np.testing.assert_array_equal(found, expected)
