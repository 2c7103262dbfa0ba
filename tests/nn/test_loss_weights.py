"""Weights of losses, of classes or of numbers: what they cannot be is refused by its name."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest
from layer_cases import LAYERS, LOSSES

import distgrad as dg
from distgrad import ShapeError, nn

CALLS = {**dict(LAYERS), **{name: calls[0] for name, calls in LOSSES.items()}}
WEIGHTED = [
    pytest.param(name, call, setting, id=f"{name}-{setting}")
    for name, call in CALLS.items()
    for setting in inspect.signature(getattr(nn, name)).parameters
    if setting in {"weight", "pos_weight"}
]
OF_NO_SHAPE = [
    lambda c: np.ones(c + 1, "f4"),
    lambda c: [1.0] * (c + 2),
    lambda c: np.ones((5, c + 4)),
]


def test_all_losses_with_weights_are_walked():
    assert len(WEIGHTED) >= 9


@pytest.mark.parametrize(("name", "call", "setting"), WEIGHTED)
def test_weights_of_another_number_or_kind_are_named(name, call, setting):
    args, settings, draw = call
    inputs = draw(np.random.default_rng(0), 3)
    classes = settings.get("num_classes") or (args[1] if args else inputs[0].shape[1])

    def loss(weight):
        dg.manual_seed(0)  # one of them has parameters
        return getattr(nn, name)(*args, **{**settings, setting: weight})(*inputs)

    for make in OF_NO_SHAPE:
        with pytest.raises(ShapeError, match=rf"need as many weights; got|: {setting} has shape"):
            loss(make(classes))
    for weight in ("x", object(), {}, np.array(["a"])):
        with pytest.raises(TypeError, match=rf"^{name}: {setting} is a Tensor, .*; got "):
            loss(weight)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ShapeError, match=r"weights"):
            loss(np.ones(classes, complex))
    for weight in (np.ones(classes), np.ones(classes, bool), np.ones(classes, int), [1] * classes):
        np.testing.assert_allclose(loss(weight).array, loss(None).array, rtol=1e-6)
