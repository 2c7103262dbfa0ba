"""The metric and the images of the super-resolution program."""

from __future__ import annotations

import numpy as np
import super_resolution

import distgrad as dg


def test_an_error_of_a_tenth_everywhere_is_20_decibels_and_values_outside_are_cut() -> None:
    large = dg.full((3, 1, 6, 6), 0.9)
    drawn = dg.stack([large[0] - 0.1, large[1] - 0.01, large[2] + 7])
    np.testing.assert_allclose(
        super_resolution.psnr(drawn, large).tolist(), [20, 40, 20], rtol=1e-4
    )


def test_a_scene_depends_on_its_number_alone() -> None:
    first, second = super_resolution.scene(1, 12), super_resolution.scene(2, 12)
    np.testing.assert_array_equal(super_resolution.scene(1, 12), first)
    assert first.shape == (1, 12, 12)
    assert np.abs(first - second).max() > 0.1
