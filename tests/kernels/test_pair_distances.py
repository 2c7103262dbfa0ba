"""Distances of pairs: gradients along rows or along partners, whichever are more."""

from __future__ import annotations

import math

import numpy as np
import pytest

import distgrad as dg
from distgrad import ops


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f4", "f8"])
@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, math.inf])
@pytest.mark.parametrize("shape", [(67, 5), (20, 10), (19, 10), (9, 40), (3, 1), (2, 300)], ids=str)
def test_values_and_gradients_are_the_references(
    shape: tuple[int, int], p: float, dtype: type[np.floating]
) -> None:
    rng = np.random.default_rng([*shape, 7])
    x = rng.normal(size=shape).astype(dtype)
    x[-1] = x[0]  # a distance of 0
    g = rng.normal(size=shape[0] * (shape[0] - 1) // 2).astype(dtype)

    def found() -> tuple[np.ndarray, np.ndarray]:
        t = dg.tensor(x, requires_grad=True)
        y = ops.pair_distances(t, p=p)
        y.backward(dg.tensor(g))
        return y.detach().numpy(), t.grad.numpy()

    twin = found()
    with dg.reference_kernels():
        reference = found()
    scale = 1e-4 if dtype is np.float32 else 1e-10
    for one, two in zip(twin, reference, strict=True):
        np.testing.assert_allclose(one, two, rtol=scale, atol=scale)
