"""Settings that mean nothing are refused by the layer they are given to, by name."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from layer_cases import LAYERS, LOSSES

from distgrad import ShapeError, nn
from distgrad.arguments import kinds_of

CALLS = dict(reversed(LAYERS)) | {n: c[0] for n, c in LOSSES.items()}
SETTINGS = [
    (name, setting)
    for name in CALLS
    for setting in inspect.signature(getattr(nn, name)).parameters
    if setting not in {"activation", "mode", "padding_mode", "args", "kwargs"}
]
NONSENSE = {
    # What a setting may be: what it is not.
    "weight": ["x", object()],
    "pos_weight": ["x", object()],
    "_weight": ["x", object()],
    "_random_samples": ["x", object()],
    "value": ["x", [], None],
    "init": ["x", [], None],
    "out_features": ["x", [1.5], float("nan"), 1.5j],
    "reduction": ["x", [], True, 1, np.array(["mean", "sum"])],
}
ANY = ["x", [], float("nan"), 1.5j]


def made(name, **changed):
    args, settings, _ = CALLS[name]
    bound = inspect.signature(getattr(nn, name)).bind(*args, **settings)
    return getattr(nn, name)(**{**bound.arguments, **changed})


@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_nonsense_is_refused_and_named(name, setting):
    for value in NONSENSE.get(setting, ANY):
        with pytest.raises((TypeError, ShapeError), match=rf"^{name}: {setting} is .*; got "):
            made(name, **{setting: value})


COUNTS = [
    (name, setting)
    for name, setting in SETTINGS
    if (kind := kinds_of(getattr(nn, name).__init__).get(setting))
    and "whole number" in kind.words
    and not kind.holds(-1)
]


@pytest.mark.parametrize(("name", "setting"), COUNTS)
def test_negative_sizes_are_refused(name, setting):
    for value in (-1, 2.5):
        with pytest.raises((TypeError, ShapeError), match=rf"^{name}: {setting} is .* got {value}"):
            made(name, **{setting: value})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.BatchNorm1d(3, eps=-1), "BatchNorm1d: eps is a number, 0 or more; got -1"),
        (
            lambda: nn.BatchNorm2d(3, momentum=2),
            "momentum is a number, from 0 to 1, or None; got 2",
        ),
        (lambda: nn.RNN(0, 3), "RNN: input_size is a whole number above 0; got 0"),
        (
            lambda: nn.LSTM(4, 3, dropout=1.5),
            "LSTM: dropout is a probability, from 0 to 1; got 1.5",
        ),
        (lambda: nn.Linear(2, 3, bias="x"), "Linear: bias is True or False; got 'x'"),
        (lambda: nn.Linear(2, -3), "Linear: out_features is a whole number, 0 or more; got -3"),
        (lambda: nn.Linear(64 / 2, 3), r"in_features is a whole number, 0 or more; got 32\.0"),
        (lambda: nn.Dropout(p="a"), "Dropout: p is a probability, from 0 to 1; got 'a'"),
        (
            lambda: nn.Conv2d(1, 2, (3, 0)),
            r"kernel_size is a whole number above 0, or one for each",
        ),
        (
            lambda: nn.Conv2d(1, 2, 3, padding="full"),
            "or one for each axis, or 'same' or 'valid'; got",
        ),
        (lambda: nn.CrossEntropyLoss(reduction="avg"), "'mean', 'sum' or 'none'; got 'avg'"),
        (
            lambda: nn.MSELoss(reduction="batchmean"),
            "MSELoss: reduction is 'mean', 'sum' or 'none'; got",
        ),
        (lambda: nn.Linear(2, 3, device="cuda"), "device is 'cpu' or None .*; got 'cuda'"),
        (lambda: nn.Linear(2, 3, dtype=np.int64), "dtype is a floating-point dtype, or None; got"),
        (lambda: nn.GELU(approximate="erf"), "GELU: approximate is 'none' or 'tanh'; got 'erf'"),
    ],
)
def test_a_message_says_what_a_setting_is_and_what_it_got(call, message):
    with pytest.raises((TypeError, ShapeError), match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: nn.Linear(0, 3),
        lambda: nn.Linear(3, 0),
        lambda: nn.Linear(np.int64(3), np.int32(2), bias=1),
        lambda: nn.Embedding(0, 3),
        lambda: nn.BatchNorm1d(0),
        lambda: nn.BatchNorm1d(3, eps=0, momentum=None),
        lambda: nn.BatchNorm1d(3, momentum=np.float32(0.5), affine=np.True_),
        lambda: nn.LayerNorm([2, 3], eps=0.0),
        lambda: nn.Threshold(0.1, float("nan")),
        lambda: nn.ConstantPad1d(1, float("-inf")),
        lambda: nn.ZeroPad2d((-1, 2, 0, 0)),
        lambda: nn.Conv2d(1, 2, 3, padding="same"),
        lambda: nn.Conv2d(1, 2, [3, 1], stride=(np.int64(2), 1)),
        lambda: nn.AdaptiveAvgPool2d((None, 3)),
        lambda: nn.PairwiseDistance(p=float("inf")),
        lambda: nn.Softplus(beta=1, threshold=float("inf")),
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 0),
        lambda: nn.Dropout(1),
        lambda: nn.CrossEntropyLoss(weight=[1, 2.0]),
        lambda: nn.KLDivLoss(reduction="batchmean"),
        lambda: nn.MultiMarginLoss(p=np.int64(2)),
        lambda: nn.Linear(2, 3, True, "cpu", np.float16),
        lambda: nn.GELU(np.array(["none", "tanh"])[1]),
        lambda: nn.Conv2d(1, 2, 3, padding=np.array([1, 1])),
    ],
)
def test_what_pytorch_rightly_accepts_is_accepted(call):
    call()


PARAMETERS = sorted({n for n, s in SETTINGS if s == "dtype"})


@pytest.mark.parametrize("name", PARAMETERS)
def test_dtype_is_that_of_all_parameters_and_buffers(name):
    layer = made(name, dtype=np.float64, device="cpu")
    found = {a.dtype for a in layer.state_dict().values() if a.dtype.kind == "f"}
    assert found <= {np.dtype(np.float64)}
    assert {p.dtype for p in made(name).parameters()} <= {np.dtype(np.float32)}


def test_a_subclass_of_a_layer_may_take_what_it_likes():
    class Wide(nn.Linear):
        def __init__(self, bias):
            super().__init__(2, 3)
            self.name = bias

    assert Wide("x").name == "x"
