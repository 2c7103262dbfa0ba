"""PyTorch's functional names and semantics over the ops. Plain arrays are accepted for tensors.

Holds no parameter and no state but dropout's call counter.
"""

from distgrad.nn.functional.activation import (
    celu,
    elu,
    gelu,
    glu,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    log_softmax,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu6,
    rrelu,
    selu,
    sigmoid,
    silu,
    softmax,
    softmin,
    softplus,
    softshrink,
    softsign,
    tanh,
    tanhshrink,
    threshold,
)
from distgrad.nn.functional.attention import scaled_dot_product_attention
from distgrad.nn.functional.conv import conv2d
from distgrad.nn.functional.dropout import dropout
from distgrad.nn.functional.linear import linear
from distgrad.nn.functional.loss import binary_cross_entropy_with_logits, cross_entropy, mse_loss
from distgrad.nn.functional.norm import batch_norm, batch_norm_training, layer_norm
from distgrad.nn.functional.pool import avg_pool2d, max_pool2d
from distgrad.nn.functional.sparse import embedding, one_hot
from distgrad.nn.functional.vision import pad

__all__ = [
    "avg_pool2d",
    "batch_norm",
    "batch_norm_training",
    "binary_cross_entropy_with_logits",
    "celu",
    "conv2d",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "gelu",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsigmoid",
    "max_pool2d",
    "mish",
    "mse_loss",
    "one_hot",
    "pad",
    "prelu",
    "relu",
    "relu6",
    "rrelu",
    "scaled_dot_product_attention",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
]
