"""The layers and losses that benchmarks/ops.py times, with inputs of about n elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from op_calls import (
    CASES,
    Case,
    Draw,
    Fixed,
    case,
    labels,
    normal,
    planes,
    sequences,
    shares,
    signs,
    target,
)

from distgrad import nn
from distgrad.nn import functional as F

Settings = tuple[tuple[Any, ...], dict[str, Any]]


def layer(name: str, draw: Draw, *args: Any, group: str = "layer", **settings: Any) -> None:
    """Time a layer whose settings are fixed, or a function of the inputs drawn."""

    def build() -> tuple[Callable[..., Any], Callable[..., Any]]:
        theirs = getattr(torch.nn, kind)(*args, **settings)
        ours = getattr(nn, kind)(*args, **settings)
        state = theirs.state_dict()
        if state:
            ours.load_state_dict({k: v.numpy() for k, v in state.items()})
        return ours, theirs

    kind = name.split(maxsplit=1)[0]
    CASES.append(Case(name, group, build, draw, False, kind))


def channels(width: int) -> Draw:
    """Rows of ``width``, as many as fit."""

    def draw(r: np.random.Generator, s: tuple[int, int]) -> tuple[Any, ...]:
        return (r.standard_normal((max(s[0] * s[1] // width, 2), width), "f4"),)

    return draw


def words(length: int, width: int) -> Draw:
    def draw(r: np.random.Generator, s: tuple[int, int]) -> tuple[Any, ...]:
        n = max(s[0] * s[1] // width, 2)
        return (Fixed(r.integers(0, 1000, (max(n // length, 1), min(n, length)))),)

    return draw


# -- normalisation ------------------------------------------------------------------------------

LINE, IMAGE, SPACE = planes(1), planes(2), planes(3, 8)
for _width in (16, 256):
    _rows = channels(_width)
    layer(f"LayerNorm {_width}", _rows, _width)
    layer(f"RMSNorm {_width}", _rows, _width)
    layer(f"BatchNorm1d {_width}", _rows, _width)
_few = planes(2, 4)
layer("BatchNorm1d of lines", planes(1, 4), 4)
layer("BatchNorm2d", _few, 4)
layer("BatchNorm3d", planes(3, 4), 4)
layer("InstanceNorm1d", planes(1, 4), 4)
layer("InstanceNorm2d", _few, 4)
layer("InstanceNorm3d", planes(3, 4), 4)
layer("GroupNorm", _few, 2, 4)
layer("LocalResponseNorm", IMAGE, 3)
layer("CrossMapLRN2d", IMAGE, 3)

# -- pooling and resampling -----------------------------------------------------------------------

for _axes, _draw in ((1, LINE), (2, IMAGE), (3, SPACE)):
    layer(f"MaxPool{_axes}d", _draw, 2, group="pool")
    layer(f"AvgPool{_axes}d", _draw, 2, group="pool")
    layer(f"AdaptiveAvgPool{_axes}d", _draw, 1, group="pool")
    layer(f"AdaptiveMaxPool{_axes}d", _draw, 1, group="pool")
    layer(f"LPPool{_axes}d", _draw, 2.0, 2, group="pool")
    layer(f"CircularPad{_axes}d", _draw, 1, group="pool")
    layer(f"ConstantPad{_axes}d", _draw, 1, 0.5, group="pool")
    layer(f"ReflectionPad{_axes}d", _draw, 1, group="pool")
    layer(f"ReplicationPad{_axes}d", _draw, 1, group="pool")
    layer(f"ZeroPad{_axes}d", _draw, 1, group="pool")
layer("MaxPool2d 3 s2", IMAGE, 3, 2, 1, group="pool")
layer("AvgPool2d 3 s2", IMAGE, 3, 2, 1, group="pool")
layer("AdaptiveAvgPool2d 4", IMAGE, 4, group="pool")
layer("Upsample", IMAGE, scale_factor=2, group="pool")
layer("Upsample bilinear", IMAGE, scale_factor=2, mode="bilinear", group="pool")
layer("Upsample bicubic", IMAGE, scale_factor=2, mode="bicubic", group="pool")
layer("UpsamplingNearest2d", IMAGE, scale_factor=2, group="pool")
layer("UpsamplingBilinear2d", IMAGE, scale_factor=2, group="pool")
layer("PixelShuffle", planes(2, 4), 2)
layer("PixelUnshuffle", IMAGE, 2)
layer("ChannelShuffle", IMAGE, 2)
layer("Unfold", planes(2, 8), 3)

# -- convolutions and recurrent layers -------------------------------------------------------------

_c = planes(2, 4)
layer("Conv1d", planes(1, 4), 4, 4, 5, padding=2, group="convolution")
layer("Conv2d 3×3", _c, 4, 4, 3, padding=1, group="convolution")
layer("Conv2d depthwise", _c, 4, 4, 3, padding=1, groups=4, group="convolution")
layer("Conv3d", planes(3, 4), 4, 4, 3, padding=1, group="convolution")
layer("ConvTranspose1d", planes(1, 4), 4, 4, 4, 2, 1, group="convolution")
layer("ConvTranspose2d", _c, 4, 4, 4, 2, 1, group="convolution")
layer("ConvTranspose3d", planes(3, 4), 4, 4, 4, 2, 1, group="convolution")
for _name in ("RNN", "GRU", "LSTM"):
    layer(_name, sequences(64), 64, 64, batch_first=True, group="recurrent")
    layer(f"{_name}Cell", channels(64), 64, 64, group="recurrent")

# -- other layers ---------------------------------------------------------------------------------

layer("Linear", channels(64), 64, 64)
layer("Bilinear", lambda r, s: channels(8)(r, s) * 2, 8, 8, 8)
layer("Embedding", words(32, 64), 1000, 64)
layer("EmbeddingBag", words(32, 64), 1000, 64)
layer("MultiheadAttention", lambda r, s: sequences(64)(r, s) * 3, 64, 4, batch_first=True)
layer("TransformerEncoderLayer", sequences(64), 64, 4, 256, 0.0, batch_first=True)
layer("TransformerDecoderLayer", lambda r, s: sequences(64)(r, s) * 2, 64, 4, 256, 0.0,
      batch_first=True)  # fmt: skip
for _name in ("Dropout", "AlphaDropout", "FeatureAlphaDropout"):
    layer(_name, IMAGE, 0.1)
for _axes, _draw in ((1, LINE), (2, IMAGE), (3, SPACE)):
    layer(f"Dropout{_axes}d", _draw, 0.1)
for _name in ("Softmax", "LogSoftmax", "Softmin"):
    layer(_name, normal(), -1)
layer("Softmax2d", IMAGE)
layer("GLU", channels(16))
layer("PReLU", _c, 4)
layer("RReLU", normal())
layer("Threshold", normal(), 0.5, -1.0)
layer("CosineSimilarity", normal(2))
layer("PairwiseDistance", normal(2))


def _attend(causal: bool) -> None:
    def call(f: Any) -> Any:
        return lambda q, k, v: f(q, k, v, is_causal=causal)

    def draw(r: np.random.Generator, s: tuple[int, int]) -> tuple[Any, ...]:
        n = max(s[0] * s[1] // 32, 2)
        heads = 1 if n < 64 else 8
        shape = (1, heads, min(n // heads, 256), 32) if n < 4096 else (n // 2048, 8, 256, 32)
        return tuple(r.standard_normal((3, *shape), "f4"))

    name = "scaled_dot_product_attention" + " causal" * causal
    theirs = torch.nn.functional.scaled_dot_product_attention
    case(name, call(F.scaled_dot_product_attention), call(theirs), draw, "layer")


_attend(False)
_attend(True)

# -- losses ---------------------------------------------------------------------------------------

_two = normal(2, target)
for _name in ("MSELoss", "L1Loss", "HuberLoss", "SmoothL1Loss"):
    layer(_name, _two, group="loss")
layer("BCELoss", shares, group="loss")
layer("BCEWithLogitsLoss", shares, group="loss")
layer("KLDivLoss", shares, group="loss")
layer("PoissonNLLLoss", shares, group="loss")
layer("GaussianNLLLoss", lambda r, s: (*shares(r, s), Fixed(np.ones(s, "f4"))), group="loss")
layer("CrossEntropyLoss", normal(1, labels), group="loss")
layer("NLLLoss", normal(1, labels), group="loss")
layer("MultiMarginLoss", normal(1, labels), group="loss")
layer("MultiLabelSoftMarginLoss", shares, group="loss")
layer("SoftMarginLoss", normal(1, signs), group="loss")
layer("HingeEmbeddingLoss", normal(1, signs), group="loss")
layer("MarginRankingLoss", normal(2, lambda r, a, b: (a, *signs(r, b))), group="loss")
layer("CosineEmbeddingLoss", normal(2, lambda r, a, b: (a, b, signs(r, a[:, 0])[1])), group="loss")
layer("TripletMarginLoss", normal(3), group="loss")


def _several(r: np.random.Generator, a: Any) -> tuple[Any, ...]:
    return a, Fixed(r.integers(-1, a.shape[1], a.shape))


layer("MultiLabelMarginLoss", normal(1, _several), group="loss")


def _spoken(r: np.random.Generator, s: tuple[int, int]) -> tuple[Any, ...]:
    steps, batch = (4, 2) if s[0] < 50 else (50, max(1, s[0] * s[1] // 50 // 40))
    x = r.standard_normal((steps, batch, 40 if s[0] > 50 else 8), "f4")
    heard, spoken = np.full(batch, steps), np.full(batch, steps // 4)
    targets = r.integers(1, x.shape[2], (batch, steps // 4))
    return x, *map(Fixed, (targets, heard, spoken))


case(
    "ctc",
    lambda x, *rest: F.ctc_loss(F.log_softmax(x, -1), *(f.array for f in rest)),
    lambda x, *rest: torch.nn.functional.ctc_loss(x.log_softmax(-1), *rest),
    _spoken,
    "loss",
)

LAYERS_LEFT_OUT = {
    **dict.fromkeys(
        ("Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential",
         "Container", "DataParallel", "RNNBase", "RNNCellBase", "Identity"),
        "holds others",
    ),
    **dict.fromkeys(
        ("Transformer", "TransformerDecoder", "TransformerEncoder"), "made of timed layers"
    ),
    **dict.fromkeys(("MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d", "FractionalMaxPool2d",
                     "FractionalMaxPool3d"), "draws or takes places"),
    "AdaptiveLogSoftmaxWithLoss": "made of timed layers",
    "CTCLoss": "ctc is timed",
    **dict.fromkeys(("Flatten", "Unflatten"), "reshape is timed"),
    "Fold": "fold is timed",
    "NLLLoss2d": "the old name of NLLLoss",
    "LinearCrossEntropyLoss": "a Linear and a CrossEntropyLoss",
    "SyncBatchNorm": "BatchNorm on several ranks",
    "TripletMarginWithDistanceLoss": "TripletMarginLoss with a function of the user's",
}  # fmt: skip

OPS_THROUGH_LAYERS = {
    "alpha_dropout": "AlphaDropout",
    "adaptive_max_pool": "AdaptiveMaxPool2d",
    "avg_pool": "AvgPool2d",
    "batch_norm": "BatchNorm2d",
    "binary_cross_entropy": "BCELoss",
    "binary_cross_entropy_with_logits": "BCEWithLogitsLoss",
    "convolution": "Conv2d",
    "convolution_transpose": "ConvTranspose2d",
    "cosine": "CosineSimilarity",
    "cross_entropy": "CrossEntropyLoss",
    "embedding": "Embedding",
    "glu": "GLU",
    "group_norm": "GroupNorm",
    "gru": "GRU",
    "hinge_embedding": "HingeEmbeddingLoss",
    "huber": "HuberLoss",
    "kl_div": "KLDivLoss",
    "layer_norm": "LayerNorm",
    "lstm": "LSTM",
    "margin_ranking": "MarginRankingLoss",
    "max_pool": "MaxPool2d",
    "mse": "MSELoss",
    "multi_margin": "MultiMarginLoss",
    "multilabel_margin": "MultiLabelMarginLoss",
    "nll": "NLLLoss",
    "pad_border": "ReflectionPad2d",
    "poisson_nll": "PoissonNLLLoss",
    "reordered": "PixelShuffle",
    "resample": "Upsample",
    "rms_norm": "RMSNorm",
    "rnn": "RNN",
    "soft_margin": "SoftMarginLoss",
}
