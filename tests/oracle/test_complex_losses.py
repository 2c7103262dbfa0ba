"""Losses and distances of complex numbers: PyTorch's, or refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from layer_cases import LAYERS, LOSSES
from oracle import assert_close, torch

import distgrad as dg
from distgrad import Tensor, nn
from distgrad.nn import functional as F

COMPLEX = {
    "L1Loss",
    "PairwiseDistance",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
}
CALLS = [
    *((name, call) for name, calls in LOSSES.items() for call in calls),
    *((name, call) for name, call in LAYERS if name in {"PairwiseDistance", "CosineSimilarity"}),
]
every_call = pytest.mark.parametrize(
    ("name", "call"), CALLS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CALLS)]
)


def inputs(draw, which):
    """The inputs for 3 samples, float ones in double precision, those of ``which`` complex."""
    arrays = [np.asarray(a) for a in draw(np.random.default_rng(3), 3)]
    real = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    chosen = real if which == "all" else real[:1] if which == "first" else real[-1:]
    return [
        a.astype("c16") + 0.5j * np.roll(a, 1)
        if i in chosen
        else a.astype("f8")
        if i in real
        else a
        for i, a in enumerate(arrays)
    ]


def gradients(outcome, leaves):
    outcome.sum().backward()
    return [np.asarray(x.grad.data if isinstance(x, Tensor) else x.grad) for x in leaves]


@every_call
@pytest.mark.parametrize("which", ["first", "last", "all"])
def test_a_complex_input_is_pytorchs_or_refused_by_name(name, call, which):
    args, settings, draw = call
    module, arrays = getattr(nn, name)(*args, **settings), inputs(draw, which)
    if name not in COMPLEX:
        with pytest.raises(dg.ShapeError, match=r"^\w+ takes real numbers; got dtype complex128"):
            module(*arrays)
        return
    ours = [Tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    result = module(*ours)
    wanted = getattr(torch.nn, name)(*args, **settings)(*theirs)
    assert result.dtype == np.float64
    assert_close(result.data, wanted.detach().numpy())
    if settings.get("p") != 0:
        for g, w in zip(gradients(result, ours), gradients(wanted, theirs), strict=True):
            assert_close(g, w)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, np.inf])
def test_normalize_divides_by_the_norm_of_the_absolute_values(p):
    z = np.random.default_rng(5).normal(size=(3, 4, 2)) @ np.array([1, 1j])
    x, t = Tensor(z, requires_grad=True), torch.tensor(z, requires_grad=True)
    y, wanted = F.normalize(x, p), torch.nn.functional.normalize(t, p)
    assert_close(y.data, wanted.detach().numpy())
    np.sum(np.real(y) * np.arange(4)).backward()
    (wanted.real * torch.arange(4)).sum().backward()
    assert_close(x.grad.data, t.grad.numpy())


def test_a_complex_weight_makes_no_loss():
    with pytest.raises(dg.ShapeError, match="a loss is a real number; this one is complex128"):
        F.binary_cross_entropy(np.full(3, 0.5), np.ones(3), weight=np.full(3, 1j))
