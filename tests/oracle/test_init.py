"""Initialisers beside PyTorch's: what is fixed is equal, what is drawn has one distribution."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import torch

from distgrad import manual_seed, nn

GAINS = [
    ("linear", None),
    ("conv1d", None),
    ("conv2d", None),
    ("conv3d", None),
    ("conv_transpose1d", None),
    ("conv_transpose2d", None),
    ("conv_transpose3d", None),
    ("sigmoid", None),
    ("tanh", None),
    ("relu", None),
    ("selu", None),
    ("leaky_relu", None),
    ("leaky_relu", 0.2),
]


@pytest.mark.parametrize(("name", "param"), GAINS)
def test_gains_are_pytorchs(name, param):
    expected = torch.nn.init.calculate_gain(name, param)
    assert nn.init.calculate_gain(name, param) == pytest.approx(expected, rel=1e-15)


FIXED = {
    "eye_": ((3, 5), {}),
    "ones_": ((2, 3), {}),
    "zeros_": ((2, 3), {}),
    "constant_": ((2, 3), {"val": 0.7}),
    "dirac_": ((4, 3, 5), {}),
    "dirac_, 2-d": ((6, 2, 3, 2), {"groups": 2}),
    "dirac_, 3-d": ((3, 6, 1, 2, 3), {"groups": 3}),
}


@pytest.mark.parametrize("name", FIXED)
def test_fixed_values_are_pytorchs(name):
    shape, settings = FIXED[name]
    function = name.split(",")[0]
    ours = nn.Parameter(np.full(shape, 9, np.float32))
    theirs = torch.full(shape, 9.0)
    assert getattr(nn.init, function)(ours, **settings) is ours
    getattr(torch.nn.init, function)(theirs, **settings)
    np.testing.assert_array_equal(ours.data, theirs.numpy())


DRAWN = [
    ("uniform_", {"a": -1.0, "b": 3.0}),
    ("normal_", {"mean": 1.0, "std": 2.0}),
    ("trunc_normal_", {}),
    ("trunc_normal_", {"mean": 0.5, "std": 0.7, "a": 0.0, "b": 2.0}),
    ("kaiming_uniform_", {}),
    ("kaiming_uniform_", {"a": 0.3, "mode": "fan_out"}),
    ("kaiming_normal_", {"nonlinearity": "tanh"}),
    ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "relu"}),
    ("xavier_uniform_", {"gain": 2.0}),
    ("xavier_normal_", {}),
    ("orthogonal_", {"gain": 3.0}),
]


@pytest.mark.parametrize(("name", "settings"), DRAWN)
def test_draws_have_pytorchs_distribution(name, settings):
    manual_seed(0)
    torch.manual_seed(0)
    ours = nn.Parameter(np.zeros((60, 50, 3, 2), np.float32))
    theirs = torch.empty(60, 50, 3, 2)
    getattr(nn.init, name)(ours, **settings)
    getattr(torch.nn.init, name)(theirs, **settings)
    # Kolmogorov and Smirnov's distance; at these sizes 0.015 has a probability below 0.1 %.
    a, b = np.sort(ours.data.ravel()), np.sort(theirs.numpy().ravel())
    at = np.concatenate([a, b])
    below = [np.searchsorted(x, at, side="right") / x.size for x in (a, b)]
    assert np.abs(below[0] - below[1]).max() < 0.02


def test_sparse_weights_have_as_many_zeros_as_pytorchs():
    ours, theirs = nn.Parameter(np.zeros((50, 40), np.float32)), torch.empty(50, 40)
    nn.init.sparse_(ours, 0.33)
    torch.nn.init.sparse_(theirs, 0.33)
    np.testing.assert_array_equal((ours.data == 0).sum(0), (theirs.numpy() == 0).sum(0))
