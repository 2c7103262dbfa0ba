"""Distances of pairs: gradients along rows, or along partners of short ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

import distgrad as dg
from distgrad import ops


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f4", "f8"])
@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, math.inf])
@pytest.mark.parametrize("shape", [(67, 5), (150, 8), (20, 10), (9, 40), (3, 1), (2, 300)], ids=str)
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


@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, math.inf])
def test_what_is_no_number_stays_so_in_distances_and_gradients(p: float) -> None:
    rng = np.random.default_rng(5)
    x, other = rng.normal(size=(70, 9)).astype("f4"), rng.normal(size=(66, 9)).astype("f4")
    x[3, 2], x[65, 8], other[64, 0] = np.nan, np.inf, np.nan

    def found() -> list[np.ndarray]:
        t, u = dg.tensor(x, requires_grad=True), dg.tensor(other, requires_grad=True)
        pairs, both = ops.pair_distances(t, p=p), ops.distances(t, u, p=p)
        (pairs.sum() + both.sum()).backward()
        return [a.detach().numpy() for a in (pairs, both, t.grad, u.grad)]

    twin = found()
    with dg.reference_kernels(), np.errstate(invalid="ignore"):
        reference = found()
    for one, two in zip(twin, reference, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)
