"""benchmarks/ops.py times every op and layer, and the same function in both libraries."""

from __future__ import annotations

import operator
import sys
from pathlib import Path

import numpy as np
import pytest
from oracle import torch

import distgrad as dg
from distgrad import nn
from distgrad.autograd import REGISTRY

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import function_rows as functions
import layer_shapes as layers
import op_calls as sweep
import ops as timing

DRAWN = ("dropout", "rrelu", "RReLU", "Dropout", "AlphaDropout", "FeatureAlphaDropout")
# Eigenvectors and factors are unique up to their signs.
DRAWN += ("eigh", "svd", "qr", "Dropout1d", "Dropout2d", "Dropout3d")

DRAWN += tuple(functions.DRAWN)


def test_every_op_is_timed_or_left_out_for_a_reason():
    timed = {case.of for case in sweep.CASES}
    through = layers.OPS_THROUGH_LAYERS
    assert set(through.values()) <= timed
    known = timed | set(through) | set(sweep.OPS_LEFT_OUT)
    assert sorted(set(REGISTRY) - known) == []
    assert sorted(set(sweep.OPS_LEFT_OUT) - set(REGISTRY)) == []


def test_every_layer_is_timed_or_left_out_for_a_reason():
    own = {
        name
        for name in nn.__all__
        if isinstance(kind := getattr(nn, name), type) and issubclass(kind, nn.Module)
    }
    functionals = {name.replace("_", "") for name in sweep.FUNCTIONALS}
    functionals |= {"sigmoid", "tanh", "gelu", "upsample"}
    timed = {case.of for case in sweep.CASES} | set(layers.LAYERS_LEFT_OUT)
    missing = [
        name
        for name in sorted(own - timed)
        if name.lower() not in functionals and not name.startswith("Lazy")
    ]
    assert missing == []


def simple(name):
    return name.rpartition(".")[2].replace("_", "").lower()


def test_every_public_function_is_timed_or_left_out_for_a_reason():
    timed = {simple(case.of) for case in sweep.CASES} | set(layers.OPS_THROUGH_LAYERS)
    timed |= {name.removesuffix("loss") for name in timed}
    spelled = {}  # the names of each function
    for module in functions.MODULES:
        ours, theirs = (operator.attrgetter(module)(m) if module else m for m in (dg, torch))
        for name in getattr(ours, "__all__", dir(ours)):
            found = getattr(ours, name, None)
            if name[0] == "_" or name[-1] == "_" or isinstance(found, type) or not callable(found):
                continue  # a twin in place is its function and a copy
            if callable(getattr(theirs, name, None)):
                spelled.setdefault(found, []).append(f"{module}.{name}".removeprefix("."))
    assert len(spelled) > 500
    missing = [
        names[0]
        for names in spelled.values()
        if not any(n in functions.LEFT_OUT or simple(n) in timed for n in names)
    ]
    assert missing == []
    known = {name for names in spelled.values() for name in names}
    assert sorted(name for name in functions.LEFT_OUT if name not in known) == []
    assert sorted(name for name in functions.LEFT_OUT if simple(name) in timed) == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", sweep.CASES, ids=lambda case: case.name)
def test_both_sides_compute_the_same(case):
    ours, theirs = timing.results(case, 64, "odd" if case.strided else "plain")
    if isinstance(theirs, bool):
        assert ours is theirs
        return
    assert ours.shape == tuple(theirs.shape)
    assert ours.requires_grad == theirs.requires_grad  # what is timed is the same: with backward
    if case.of not in DRAWN:
        theirs = theirs.detach().resolve_conj().resolve_neg().numpy()
        np.testing.assert_allclose(ours.array, theirs, 2e-3, 1e-5)


@pytest.mark.parametrize("layout", timing.LAYOUTS)
def test_a_layout_has_the_same_numbers(layout):
    x = np.arange(12.0).reshape(3, 4)
    laid = timing.laid_out(x, layout)
    np.testing.assert_array_equal(laid, x)
    assert laid.strides == {"transposed": (8, 24), "sliced": (64, 8)}.get(layout, (32, 8))
    assert torch.from_numpy(laid).shape == (3, 4)
