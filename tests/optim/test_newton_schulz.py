"""Newton-Schulz iterations beside their definition, computed in float64."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad.optim.newton_schulz import orthogonalized

ABC = (3.4445, -4.7750, 2.0315)


@pytest.fixture(autouse=True)
def in_its_dtype():
    """And not in bfloat16, as large ones on some CPUs: tests/kernels/test_onednn_bfloat16.py."""
    with dg.reference_kernels():
        yield


def defined(g, steps):
    x = g.astype("f8").T if len(g) > g.shape[1] else g.astype("f8")
    x = x / np.linalg.norm(x)
    for _ in range(steps):
        gram = x @ x.T
        x = ABC[0] * x + (ABC[1] * gram + ABC[2] * gram @ gram) @ x
    return x.T if len(g) > g.shape[1] else x


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 7])
@pytest.mark.parametrize("shape", [(13, 13), (7, 31), (31, 7), (3, 1), (13, 17), (400, 700)])
def test_steps_on_the_matrix_and_on_its_gram_matrix_are_those_of_the_definition(shape, steps):
    g = np.random.default_rng(0).standard_normal(shape).astype("f4")
    found = orthogonalized(g, ABC, 1e-7, steps)
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, defined(g, steps), atol=2e-5 * 4 ** max(0, steps - 5))


@pytest.mark.parametrize("shape", [(40, 160), (160, 40), (40, 40)])
def test_directions_that_are_hardly_there_stay_accurate(shape):
    r = np.random.default_rng(0)
    u, _, v = np.linalg.svd(r.standard_normal(shape), full_matrices=False)
    for values in (np.exp(-np.linspace(0, 18, 40)), np.arange(40) < 4):
        g = ((u * values) @ v).astype("f4")
        np.testing.assert_allclose(orthogonalized(g, ABC, 1e-7, 5), defined(g, 5), atol=3e-5)


def test_a_matrix_of_zeros_stays_one():
    assert not orthogonalized(np.zeros((3, 5), "f4"), ABC, 1e-7, 5).any()
