"""Twins that round every operation as their references do: to the bit, values and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, ops

pytest.importorskip("numba", reason="numba is not installed: there are no twins")

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -30.0, 1e30]
POSITIVE = [np.inf, 1e-30, 1e-3, 1.0, 1e30]


def results(call: Any, x: np.ndarray) -> list[bytes]:
    t = Tensor(x, requires_grad=True)
    with np.errstate(all="ignore"):
        y = call(t)
        y.backward(np.linspace(1, 2, x.size).reshape(x.shape).astype(x.dtype))
    return [y.array.tobytes(), t.grad.array.tobytes()]


def inputs(special: list[float], low: float, high: float) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    return [
        np.array(special),
        rng.uniform(low, high, (3, 1001)),  # several blocks, of which the last is shorter
        rng.uniform(low, high, (37, 61)).T,
        rng.uniform(low, high, (5, 90))[:, ::3],
        rng.uniform(low, high, ()),
        np.zeros((0, 3)),
    ]


CALLS = {
    "erfcx": (ops.erfcx, inputs(SPECIAL, -9, 60)),
    **{
        f"polygamma {n}": (lambda x, n=n: ops.polygamma(x, n=n), inputs(POSITIVE, 0.1, 60))
        for n in (1, 2, 3, 30)
    },
    **{
        f"three_term {delta}": (
            lambda x, d=delta: ops.three_term(
                x, terms=tuple([(k + 2, k % 2, k, d or k + 1) for k in range(5)])
            ),
            inputs(SPECIAL, -2, 2),
        )
        for delta in (0, 1)
    },
    "powers": (
        lambda x: (y := ops.powers(x, count=70))[..., 67] + y[..., 3],
        inputs(SPECIAL, -2, 2),
    ),
    "tril": (lambda x: np.tril(x, -1), inputs(SPECIAL, -1, 1)[1:4]),
    "triu": (lambda x: np.triu(x, 2), inputs(SPECIAL, -1, 1)[1:4]),
    "triu of nothing": (lambda x: np.triu(x, 99), inputs(SPECIAL, -1, 1)[1:4]),
    "sort": (lambda x: np.sort(x, axis=-1), inputs(SPECIAL, -1, 1)[:4]),
    "sort along columns": (lambda x: np.sort(x, axis=0), inputs(SPECIAL, -1, 1)[1:4]),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients_have_the_references_bits(name, dtype):
    call, arrays = CALLS[name]
    with np.errstate(over="ignore"):
        cast = [x.astype(dtype) for x in arrays]
    for x in cast:
        found = results(call, x)
        with dg.reference_kernels():
            assert results(call, x) == found


def test_numbers_below_zero_have_reflections_and_are_the_references():
    x = np.array([-1.5, 2.0])
    assert ops.polygamma.fused(x, n=1) is None
    wanted = [np.pi**2 / 2 + 4 + 4 / 9, np.pi**2 / 6 - 1]  # DLMF 5.15: from ψ'(1/2), and ψ'(1)
    np.testing.assert_allclose(ops.polygamma(x, n=1).array, wanted)
