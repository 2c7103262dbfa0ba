"""distgrad.utils.checkpoint: PyTorch's arguments for running a stretch again in backward."""

import numpy as np
import pytest

import distgrad as dg
from distgrad import nn
from distgrad.utils.checkpoint import checkpoint, checkpoint_sequential


@pytest.mark.parametrize(
    "settings", [{}, {"use_reentrant": False}, {"use_reentrant": True, "preserve_rng_state": False}]
)
def test_gradients_are_those_without(settings):
    layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 2))
    found = []
    for run in (
        layers,
        lambda x: checkpoint(layers, x, **settings),
        lambda x: checkpoint_sequential(layers, 2, x, **settings),
    ):
        dg.manual_seed(5)
        x = dg.Tensor(np.ones((5, 3), np.float32), requires_grad=True)
        layers.zero_grad()
        (run(x) ** 2).sum().backward()
        found.append([x.grad.array.tolist(), layers[0].weight.grad.array.tolist()])
    assert found[1] == found[0]
    assert found[2] == found[0]
