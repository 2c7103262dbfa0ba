"""A call of every layer and every loss of ``nn``, for a batch of any length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from distgrad import nn

Draw = Callable[[np.random.Generator, int], tuple[Any, ...]]
Call = tuple[tuple[Any, ...], dict[str, Any], Draw]
"""Positional and keyword settings of the layer, and what draws its inputs for n samples."""


def _floats(*shape: int, at: int = 0, count: int = 1) -> Draw:
    """Inputs of ``shape`` with n put in at axis ``at``."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Any, ...]:
        whole = (*shape[:at], n, *shape[at:])
        return tuple(rng.normal(size=whole).astype("f4") for _ in range(count))

    return draw


_ACTIVATIONS = """
    CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid
    Mish PReLU ReLU ReLU6 RReLU SELU Sigmoid SiLU Softplus Softshrink Softsign
    Tanh Tanhshrink Identity Dropout AlphaDropout FeatureAlphaDropout Flatten
"""
# Containers, and stacks of layers that are here.
_NO_LAYERS = """
    Module ModuleDict ModuleList ParameterDict ParameterList Sequential TransformerDecoder
    TransformerEncoder Container DataParallel RNNBase RNNCellBase
"""
ROWS, PLANES = _floats(4), _floats(4, 6, 6)
SPACES = {1: _floats(4, 6), 2: PLANES, 3: _floats(4, 6, 6, 6)}
STEPS, SENTENCES = _floats(5, 4, at=1), _floats(5, 4)
TWO, THREE = _floats(4, count=2), _floats(4, count=3)


def _words(rng: np.random.Generator, n: int) -> tuple[Any, ...]:
    return (rng.integers(0, 9, (n, 5)),)


def _pooled(space: int) -> Draw:
    """A line, image or volume, and where in one twice as long its elements were found."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Any, ...]:
        shape = (n, 4, *(3,) * space)
        places = [rng.permutation(6**space)[: 3**space] for _ in range(n * 4)]
        return rng.normal(size=shape).astype("f4"), np.array(places, int).reshape(shape)

    return draw


def _ranked_words(rng: np.random.Generator, n: int) -> tuple[Any, ...]:
    return rng.normal(size=(n, 4)).astype("f4"), rng.integers(0, 9, n)


_RECURRENT: list[Call] = [
    ((4, 3), {}, STEPS),
    ((4, 3), {"bidirectional": True, "num_layers": 2, "dropout": 0.5}, STEPS),
    ((4, 3), {"batch_first": True, "bias": False}, SENTENCES),
]

_SPATIAL: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "AdaptiveAvgPool": [((3,), {})],
    "AdaptiveMaxPool": [((3,), {})],
    "AvgPool": [((2,), {}), ((3,), {"padding": 1, "ceil_mode": True})],
    "MaxPool": [
        ((2,), {}),
        ((3,), {"padding": 1, "dilation": 2}),
        ((2,), {"return_indices": True}),
    ],
    "LPPool": [((2.0, 2), {}), ((1.0, 2), {})],
    "CircularPad": [((1,), {})],
    "ConstantPad": [((1, 0.5), {})],
    "ReflectionPad": [((1,), {})],
    "ReplicationPad": [((1,), {})],
    "ZeroPad": [((1,), {})],
    "Conv": [((4, 6, 3), {}), ((4, 6, 3), {"padding": 1, "stride": 2, "groups": 2})],
    "ConvTranspose": [((4, 6, 3), {}), ((4, 6, 2), {"stride": 2, "bias": False})],
    "BatchNorm": [((4,), {}), ((4,), {"momentum": None}), ((4,), {"affine": False})],
    "InstanceNorm": [((4,), {}), ((4,), {"affine": True, "track_running_stats": True})],
    "Dropout": [((0.5,), {})],
}
_OTHERS: dict[str, list[Call]] = {
    "Linear": [
        ((4, 3), {}, ROWS),
        ((4, 3), {"bias": False}, _floats(5, 4)),
        ((0, 3), {}, _floats(0)),
    ],
    "Bilinear": [((4, 4, 3), {}, _floats(4, count=2))],
    "BatchNorm1d": [((4,), {}, ROWS)],
    "SyncBatchNorm": [((4,), {}, PLANES)],
    "LayerNorm": [((4,), {}, ROWS), (((6, 6),), {}, PLANES)],
    "RMSNorm": [((4,), {}, ROWS)],
    "GroupNorm": [((2, 4), {}, PLANES), ((2, 4), {}, ROWS)],
    "LocalResponseNorm": [((3,), {}, PLANES)],
    "Softmax2d": [((), {}, PLANES)],
    "Softmax": [((-1,), {}, ROWS)],
    "Softmin": [((-1,), {}, ROWS)],
    "LogSoftmax": [((-1,), {}, ROWS)],
    "PReLU": [((4,), {}, PLANES)],
    "Threshold": [((0.5, -1.0), {}, ROWS)],
    "Unflatten": [((1, (2, 2)), {}, ROWS)],
    "Fold": [((6, 2), {}, _floats(8, 25))],
    "Unfold": [((2,), {}, PLANES)],
    "PixelShuffle": [((2,), {}, PLANES)],
    "PixelUnshuffle": [((2,), {}, PLANES)],
    "Upsample": [
        ((), {"scale_factor": 2}, PLANES),
        ((), {"scale_factor": 2, "mode": "bilinear"}, PLANES),
        ((), {"scale_factor": 2, "mode": "bicubic"}, PLANES),
        ((7,), {"mode": "linear"}, SPACES[1]),
        ((7,), {"mode": "trilinear"}, SPACES[3]),
    ],
    "UpsamplingBilinear2d": [((7,), {}, PLANES)],
    "UpsamplingNearest2d": [((7,), {}, PLANES)],
    "Embedding": [((9, 3), {}, _words), ((9, 3), {"padding_idx": 2}, _words)],
    "EmbeddingBag": [
        ((9, 3), {}, _words),
        ((9, 3), {"mode": "max", "padding_idx": 2}, _words),
        ((9, 3), {"mode": "sum"}, _words),
    ],
    **{f"MaxUnpool{n}d": [((2,), {}, _pooled(n))] for n in (1, 2, 3)},
    "FractionalMaxPool2d": [
        ((2,), {"output_size": 3}, PLANES),
        ((2,), {"output_ratio": 0.5, "return_indices": True}, PLANES),
    ],
    "FractionalMaxPool3d": [((2, 3), {}, SPACES[3])],
    "CrossMapLRN2d": [((3,), {}, PLANES)],
    "ChannelShuffle": [((2,), {}, PLANES)],
    "AdaptiveLogSoftmaxWithLoss": [((4, 9, [2, 5]), {"div_value": 2.0}, _ranked_words)],
    "CosineSimilarity": [((), {}, TWO)],
    "PairwiseDistance": [((), {"p": p}, TWO) for p in (2.0, 1.0, 3.0, np.inf, 0.0)],
    **dict.fromkeys(("RNN", "LSTM", "GRU"), _RECURRENT),
    **{name: [((4, 3), {}, ROWS)] for name in ("RNNCell", "LSTMCell", "GRUCell")},
    "MultiheadAttention": [
        ((4, 2), {}, _floats(5, 4, at=1, count=3)),
        (
            (4, 2),
            {"batch_first": True, "dropout": 0.5, "add_bias_kv": True, "add_zero_attn": True},
            _floats(5, 4, count=3),
        ),
    ],
    "TransformerEncoderLayer": [
        ((4, 2, 8), {}, STEPS),
        ((4, 2, 8), {"batch_first": True, "norm_first": True, "activation": "gelu"}, SENTENCES),
    ],
    "TransformerDecoderLayer": [((4, 2, 8), {}, _floats(5, 4, at=1, count=2))],
    "Transformer": [((4, 2, 1, 1, 8), {"batch_first": True}, _floats(5, 4, count=2))],
}


def _labels(rng: np.random.Generator, n: int) -> tuple[Any, ...]:
    return rng.normal(size=(n, 3)).astype("f4"), rng.integers(0, 3, n)


def _pixels(rng: np.random.Generator, n: int) -> tuple[Any, ...]:
    return rng.normal(size=(n, 3, 2)).astype("f4"), rng.integers(0, 3, (n, 2))


def _shares(rng: np.random.Generator, n: int) -> tuple[Any, ...]:
    return tuple(rng.uniform(0.1, 0.9, (n, 3)).astype("f4") for _ in range(2))


def _signs(rng: np.random.Generator, n: int) -> tuple[Any, ...]:
    return rng.normal(size=(n, 3)).astype("f4"), rng.choice([-1, 1], (n, 3))


def _several(rng: np.random.Generator, n: int) -> tuple[Any, ...]:
    return rng.normal(size=(n, 3)).astype("f4"), rng.integers(-1, 3, (n, 3))


def _ranked(rng: np.random.Generator, n: int) -> tuple[Any, ...]:
    x, y = rng.normal(size=(2, n, 3)).astype("f4")
    return x, y, rng.choice([-1.0, 1.0], (n, 3)).astype("f4")


def _alike(rng: np.random.Generator, n: int) -> tuple[Any, ...]:
    x, y = rng.normal(size=(2, n, 3)).astype("f4")
    return x, y, rng.choice([-1, 1], n)


def _spoken(rng: np.random.Generator, n: int) -> tuple[Any, ...]:
    p = rng.uniform(0.1, 1, (6, n, 4)).astype("f4")
    lengths = np.full(n, 6), np.full(n, 2)
    return np.log(p / p.sum(2, keepdims=True)), rng.integers(1, 4, (n, 2)), *lengths


def _spoken_in_one(rng: np.random.Generator, n: int) -> tuple[Any, ...]:
    log_probs, targets, *lengths = _spoken(rng, n)
    return log_probs, targets.reshape(-1), *lengths


_W = np.array([0.5, 2.0, 1.5], "f4")
_OTHERS["LinearCrossEntropyLoss"] = [((3, 3), {"bias": True}, _labels)]
LOSSES: dict[str, list[Call]] = {
    "MSELoss": [((), {}, TWO)],
    "L1Loss": [((), {}, TWO)],
    "HuberLoss": [((), {"delta": 0.4}, TWO)],
    "SmoothL1Loss": [((), {"beta": 0.4}, TWO), ((), {"beta": 0.0}, TWO)],
    "PoissonNLLLoss": [((), {"full": True}, _shares), ((), {"log_input": False}, _shares)],
    "GaussianNLLLoss": [
        ((), {"full": True}, lambda r, n: (*_shares(r, n), r.uniform(0.1, 1, (n, 1)).astype("f4")))
    ],
    "KLDivLoss": [
        ((), {}, _shares),
        ((), {"log_target": True}, _shares),
        ((), {"reduction": "batchmean"}, _shares),
    ],
    "CrossEntropyLoss": [
        ((), settings, draw)
        for settings in ({}, {"weight": _W}, {"label_smoothing": 0.1})
        for draw in (_labels, _pixels, _shares)
    ]
    + [((), {"weight": _W, "label_smoothing": 0.1, "ignore_index": 1}, _labels)],
    "NLLLoss2d": [((), {}, _pixels)],
    "NLLLoss": [((), {}, _labels), ((), {"weight": _W, "ignore_index": 2}, _pixels)],
    "BCELoss": [((), {}, _shares), ((), {"weight": _W}, _shares)],
    "BCEWithLogitsLoss": [((), {}, _shares), ((), {"weight": _W, "pos_weight": _W}, _shares)],
    "SoftMarginLoss": [((), {}, _signs)],
    "MultiMarginLoss": [((), {}, _labels), ((), {"p": 2, "weight": _W}, _labels)],
    "MultiLabelMarginLoss": [((), {}, _several)],
    "MultiLabelSoftMarginLoss": [((), {}, _shares), ((), {"weight": _W}, _shares)],
    "HingeEmbeddingLoss": [((), {}, _signs)],
    "MarginRankingLoss": [((), {"margin": 0.3}, _ranked)],
    "CosineEmbeddingLoss": [((), {"margin": 0.3}, _alike)],
    "TripletMarginLoss": [((), {"swap": True}, THREE), ((), {"p": 3.0}, THREE)],
    "TripletMarginWithDistanceLoss": [((), {}, THREE), ((), {"swap": True}, THREE)],
    "CTCLoss": [((), {}, _spoken), ((), {"zero_infinity": True}, _spoken_in_one)],
}


def _layers() -> Iterator[tuple[str, Call]]:
    for name in _ACTIVATIONS.split():
        yield name, ((), {}, PLANES)
    for name, calls in _SPATIAL.items():
        for space, draw in SPACES.items():
            for args, settings in calls:
                if "MaxPool" not in name or space == 2 or "dilation" not in settings:
                    yield f"{name}{space}d", (args, settings, draw)
    for name, layer_calls in _OTHERS.items():
        for call in layer_calls:
            yield name, call


LAYERS = list(_layers())
_LISTED = {name for name, _ in LAYERS} | set(LOSSES) | set(_NO_LAYERS.split())


def missing() -> set[str]:
    """The modules of ``nn`` that have no case here."""
    own = {
        n for n in nn.__all__ if isinstance(m := getattr(nn, n), type) and issubclass(m, nn.Module)
    }
    # tests/nn/test_lazy.py makes each lazy layer into the ordinary one of its name.
    return {n for n in own if not n.startswith("Lazy")} - _LISTED
