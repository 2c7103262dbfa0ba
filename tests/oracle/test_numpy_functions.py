"""Convolutions, differences, integrals of samples and covariances beside PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import array, check, drawn, dtypes, torch

from distgrad import ops


def theirs_convolve(a, v):
    rows = a.reshape(1, 1, -1), v.flip(0).reshape(1, 1, -1)
    return torch.conv1d(*rows, padding=len(v) - 1).reshape(-1)


OPS = {"convolve": (ops.convolve, theirs_convolve)}
length = st.sampled_from([1, 2, 3, 6])


@drawn
@given(data=st.data())
def test_convolve(data):
    dtype = data.draw(dtypes)
    a, v = (data.draw(array((data.draw(length),), dtype)) for _ in range(2))
    check(*OPS["convolve"], [a, v])


@pytest.mark.parametrize("edge_order", [1, 2])
@drawn
@given(data=st.data())
def test_gradient_with_numbers_and_places(edge_order, data):
    a = data.draw(array((3, 4), dtypes))
    places = np.array([0.0, 0.5, 2.0, 2.25], a.dtype)
    for ours, theirs in ((0.5, 0.5), (places, (torch.tensor(places),))):
        check(
            lambda x, h=ours: np.gradient(x, h, axis=1, edge_order=edge_order),
            lambda x, h=theirs: torch.gradient(x, spacing=h, dim=1, edge_order=edge_order)[0],
            [a],
        )


@drawn
@given(data=st.data())
def test_covariances(data):
    a = data.draw(array((3, 4), "float64"))
    weights = np.array([1, 2, 1, 3])
    check(np.cov, torch.cov, [a])
    check(
        lambda x: np.cov(x, fweights=weights),
        lambda x: torch.cov(x, fweights=torch.tensor(weights)),
        [a],
    )
    check(np.corrcoef, torch.corrcoef, [a + np.diag([1.0, 2, 3, 0])[:3]], rtol=1e-8)
