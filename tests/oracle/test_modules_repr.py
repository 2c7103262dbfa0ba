"""Layers print as PyTorch's, with their defaults and with every setting that shows."""

from __future__ import annotations

import pytest
from layer_cases import LAYERS, LOSSES
from module_db import repr_of
from oracle import torch

from distgrad import nn

CASES = [(name, args, settings) for name, (args, settings, _) in LAYERS] + [
    (name, args, settings) for name, calls in LOSSES.items() for args, settings, _ in calls
]
IN_PLACE = """
    ReLU ReLU6 Hardsigmoid Hardswish SiLU Mish SELU LeakyReLU RReLU ELU CELU Hardtanh Dropout
    Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout
"""
MORE = [
    *((name, (), {"inplace": True}) for name in IN_PLACE.split()),
    ("Threshold", (1.0, 2.0, True), {}),
    ("GELU", (), {"approximate": "tanh"}),
    ("Softplus", (2, 3), {}),
    ("RNN", (2, 3, 2, "relu", False, True, 0.5, True), {}),
    ("LSTM", (2, 3), {"proj_size": 2}),
    ("RNNCell", (2, 3, False, "relu"), {}),
    ("GRUCell", (2, 3, False), {}),
    ("Embedding", (3, 4, 1), {"sparse": True, "norm_type": 3.0}),
    ("EmbeddingBag", (3, 4), {"mode": "max", "padding_idx": 2, "sparse": True}),
    ("MultiheadAttention", (4, 2), {"bias": False, "add_bias_kv": True}),
    *(("MaxPool2d", (2, 3, 1, 1, True, True), {}), ("AvgPool2d", (2,), {"ceil_mode": True})),
    ("Conv2d", (2, 4, 3), {"padding": "same", "padding_mode": "reflect", "bias": False}),
    ("ConvTranspose2d", (2, 4, 3, 2, 1, 1, 2, False), {}),
    *((n, (4, 3), {}) for n in ("LazyConv2d", "LazyConvTranspose1d")),
    *((n, (), {}) for n in ("LazyBatchNorm1d", "LazyInstanceNorm2d")),
    ("LazyLinear", (4,), {}),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "args", "settings"), CASES + MORE)
def test_a_layer_prints_as_pytorchs(name, args, settings):
    given = {k: torch.tensor(v) if hasattr(v, "shape") else v for k, v in settings.items()}
    theirs = getattr(torch.nn, name)(*args, **given)
    assert repr(getattr(nn, name)(*args, **settings)) == repr_of(theirs)
