"""The fused optimizer updates against the formulas of distgrad.optim."""

from __future__ import annotations

import numpy as np
import pytest

from distgrad import kernels
from distgrad.autograd import reference_kernels
from distgrad.optim import update

pytest.importorskip("numba", reason="numba is not installed: there are no twins")
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f4", "f8"])
SIZE = 1003


def run(function, arrays, count, **settings):
    """Three steps on copies of ``arrays`` (the second is the gradient); return all arrays."""
    copies = [a.copy() for a in arrays]
    rng = np.random.default_rng(3)
    for step in range(1, count + 1):
        copies[1][...] = rng.normal(size=SIZE)
        function(*copies, **{k: v(step) if callable(v) else v for k, v in settings.items()})
    return copies


@both_dtypes
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adamw_equals_its_formula(dtype, weight_decay):
    arrays = [np.linspace(-1, 1, SIZE).astype(dtype), *(np.zeros(SIZE, dtype) for _ in range(3))]
    settings = {"lr": 0.01, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "step": lambda s: s}
    settings["weight_decay"] = weight_decay
    found = run(kernels.twin("adamw_"), arrays, 3, **settings)
    wanted = run(update.adamw_, arrays, 3, **settings)
    for f, w in zip(found, wanted, strict=True):
        tolerance = 1e-5 if dtype == np.float32 else 1e-12
        np.testing.assert_allclose(f, w, rtol=tolerance, atol=tolerance / 10)


@both_dtypes
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [None, 0.9])
def test_sgd_equals_its_formula(dtype, momentum, nesterov):
    arrays = [np.linspace(-1, 1, SIZE).astype(dtype), np.zeros(SIZE, dtype)]
    # What an unused buffer holds must not matter in the first step.
    arrays += [] if momentum is None else [np.full(SIZE, np.nan, dtype)]
    settings = {
        "lr": 0.1,
        "momentum": momentum or 0.0,
        "dampening": 0.0 if nesterov else 0.5,
        "weight_decay": 0.01,
        "nesterov": nesterov,
        "first": lambda step: step == 1,
    }

    def sized(function):
        return lambda v, g, b=None, **s: function(v, g, b, **s)

    found = run(sized(kernels.twin("sgd_")), arrays, 3, **settings)
    wanted = run(sized(update.sgd_), arrays, 3, **settings)
    for f, w in zip(found, wanted, strict=True):
        tolerance = 1e-5 if dtype == np.float32 else 1e-12
        np.testing.assert_allclose(f, w, rtol=tolerance, atol=tolerance)


def test_there_is_no_twin_while_kernels_are_asked_for_nor_of_another_name():
    assert kernels.twin("lion_") is None
    with reference_kernels():
        assert kernels.twin("adamw_") is None
