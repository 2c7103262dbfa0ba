"""Losses and distances as modules: PyTorch's settings, defaults, state and results."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from oracle import assert_close, torch

from distgrad import nn
from distgrad.nn import loss

RNG = np.random.default_rng(4)
X, Y, Z = (RNG.normal(size=(4, 3)) for _ in range(3))
P, T = RNG.uniform(0.1, 0.9, (4, 3)), RNG.random((4, 3))
LABELS, SEVERAL = np.array([2, 0, 1, 1]), np.array([[2, -1, 0], [0, 1, -1], [1, -1, 1], [-1, 0, 0]])
SIGNS, SIGN = np.where(Y > 0, 1.0, -1.0), np.array([1, -1, -1, 1])
W = np.array([0.5, 2.0, 1.5])
CTC = (
    np.log(P[:, None] / P.sum(1)[:, None, None]),
    np.array([[1, 2]]),
    np.array([4]),
    np.array([2]),
)

CASES = {
    "MSELoss": ((X, Y), {}),
    "L1Loss": ((X, Y), {}),
    "HuberLoss": ((X, Y), {"delta": 0.4}),
    "SmoothL1Loss": ((X, Y), {"beta": 0.4}),
    "PoissonNLLLoss": ((X, T), {"log_input": True, "full": True}),
    "GaussianNLLLoss": ((X, Y, P), {"full": True}),
    "KLDivLoss": ((X, T), {"log_target": True, "reduction": "batchmean"}),
    "CrossEntropyLoss": ((X, LABELS), {"weight": W, "ignore_index": 0, "label_smoothing": 0.1}),
    "NLLLoss": ((X, LABELS), {"weight": W, "ignore_index": 2}),
    "BCELoss": ((P, T), {"weight": W}),
    "BCEWithLogitsLoss": ((X, T), {"weight": W, "pos_weight": W}),
    "SoftMarginLoss": ((X, SIGNS), {}),
    "MultiMarginLoss": ((X, LABELS), {"p": 2, "margin": 0.5, "weight": W}),
    "MultiLabelMarginLoss": ((X, SEVERAL), {}),
    "MultiLabelSoftMarginLoss": ((X, T), {"weight": W}),
    "HingeEmbeddingLoss": ((X, SIGNS), {"margin": 0.3}),
    "MarginRankingLoss": ((X, Y, SIGNS), {"margin": 0.3}),
    "CosineEmbeddingLoss": ((X, Y, SIGN), {"margin": 0.3}),
    "TripletMarginLoss": ((X, Y, Z), {"margin": 0.3, "p": 3.0, "swap": True}),
    "TripletMarginWithDistanceLoss": (
        (X, Y, Z),
        {"distance_function": lambda a, b: ((a - b) ** 2).sum(-1), "margin": 0.3},
    ),
    "CTCLoss": (CTC, {"zero_infinity": True}),
    "CosineSimilarity": ((X, Y), {"dim": 0}),
    "PairwiseDistance": ((X, Y), {"p": 3.0, "keepdim": True}),
}
every_module = pytest.mark.parametrize("name", CASES)


def both(name, settings):
    theirs = {
        k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in settings.items()
    }
    return getattr(nn, name)(**settings), getattr(torch.nn, name)(**theirs)


@every_module
def test_settings_reach_the_function(name):
    inputs, settings = CASES[name]
    for more in ({}, {"reduction": "none"} if "Loss" in name else {}):
        ours, theirs = both(name, {**settings, **more})
        wanted = theirs(*map(torch.from_numpy, inputs))
        assert_close(ours(*inputs).data, wanted.numpy())


@every_module
def test_arguments_and_defaults_are_pytorchs(name):
    ours = [
        (p.name, p.kind, p.default)
        for p in inspect.signature(getattr(nn, name).__init__).parameters.values()
    ]
    wanted, after = [], False
    for p in inspect.signature(getattr(torch.nn, name).__init__).parameters.values():
        if p.name in {"size_average", "reduce"}:
            after = True  # a position would mean another setting from here on
        else:
            wanted.append((p.name, p.KEYWORD_ONLY if after else p.kind, p.default))
    assert ours == wanted


@every_module
def test_weights_are_state_that_travels_both_ways(name):
    ours, theirs = both(name, CASES[name][1])
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, tensor in theirs.state_dict().items():
        tensor.mul_(2)
        assert ours.state_dict()[key].shape == tuple(tensor.shape)
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict({n: torch.tensor(a) for n, a in ours.state_arrays().items()})
    inputs = CASES[name][0]
    assert_close(ours(*inputs).data, theirs(*map(torch.from_numpy, inputs)).numpy())


def test_every_loss_is_compared():
    own = {n for n in nn.__all__ if getattr(getattr(nn, n), "__module__", "") == loss.__name__}
    # An older name, of a class of its own.
    assert own == {*CASES, "NLLLoss2d"}
    assert issubclass(nn.NLLLoss2d, nn.NLLLoss)
