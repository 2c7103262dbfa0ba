"""Elementwise operations on rows with gaps between them: one call, with NumPy's bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import distgrad as dg
from distgrad import kernels

pytestmark = pytest.mark.skipif(
    kernels.part("machine", "works") is None, reason="needs numba, whose kernels are called"
)

WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y,
}
PLACES: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "halves": lambda x: (x[:, :, :3], x[:, :, 2:]),
    "one half": lambda x: (x[:, :, :3], x[:, :, 2:] * 1),
    "rows left out": lambda x: (x[:, 1:, :3], x[:, :-1, 2:]),
    "a row for all": lambda x: (x[0, :, :3], x[:, :, 2:]),
    "a column": lambda x: (x[:, :, :3].reshape(-1, 3), x[:, :, 2:3].reshape(-1, 1)),
    "a column of all": lambda x: (x.reshape(-1, 5)[:, :3], x.reshape(-1, 5)[:, 2:3]),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", WAYS)
def test_rows_with_gaps_have_numpys_bits(way: str, place: str, dtype: Any) -> None:
    def step(x: Any) -> Any:
        return WAYS[way](*PLACES[place](dg.tensor(x)))

    captured = dg.capture(step)
    for i in range(6):
        x = np.random.default_rng(i).normal(size=(4, 11, 5)).astype(dtype)
        x[1, 2] = 0, np.inf, np.nan, -0.0, 1
        with np.errstate(all="ignore"):
            wanted = WAYS[way](*PLACES[place](x))
            found = captured(x).array
        np.testing.assert_array_equal(found, wanted)
        assert np.array_equal(np.signbit(found[found == 0]), np.signbit(wanted[wanted == 0]))
    assert captured.program is not None
    calls = [c for groups in captured.program.native.groups for g in groups for c in g.calls]
    names = {c.name for c in calls}
    assert f"{way}_in_rows" in names
    assert ("spread_column" in names) == place.startswith("a column")
