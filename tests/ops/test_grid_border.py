"""Points at infinity are at the border where that is what is outside."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

import distgrad as dg
from distgrad.nn import functional as F


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("mode", "wanted"), [("bilinear", [8, 5, 10.5, 2.5]), ("nearest", [8, 5, 11, 3])]
)
def test_points_at_infinity_read_the_border(mode: str, wanted: list[float], fused: bool) -> None:
    image = np.arange(1, 13, dtype=np.float32).reshape(1, 1, 3, 4)
    far = np.float32([[np.inf, 0], [-np.inf, 0], [0, np.inf], [0, -np.inf]]).reshape(1, 1, 4, 2)
    grid = dg.tensor(far, requires_grad=True)
    with contextlib.nullcontext() if fused else dg.reference_kernels():
        y = F.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=False)
        y.sum().backward()
    np.testing.assert_array_equal(y.detach().numpy().ravel(), wanted)
    along = np.isinf(far)
    np.testing.assert_array_equal(grid.grad.numpy()[along], 0)
    assert np.isfinite(grid.grad.numpy()).all()
