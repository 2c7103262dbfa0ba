"""PyTorch's functional names and semantics over the ops. Plain arrays are accepted for tensors.

Holds no parameter and no state but dropout's call counter.
"""

from distgrad.nn.functional.activation import gelu, log_softmax, relu, sigmoid, softmax, tanh
from distgrad.nn.functional.attention import scaled_dot_product_attention
from distgrad.nn.functional.conv import conv2d
from distgrad.nn.functional.dropout import dropout
from distgrad.nn.functional.linear import linear
from distgrad.nn.functional.loss import binary_cross_entropy_with_logits, cross_entropy, mse_loss
from distgrad.nn.functional.norm import (
    batch_norm,
    batch_norm_training,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    rms_norm,
)
from distgrad.nn.functional.pool import avg_pool2d, max_pool2d
from distgrad.nn.functional.sparse import embedding, one_hot
from distgrad.nn.functional.vision import pad

__all__ = [
    "avg_pool2d",
    "batch_norm",
    "batch_norm_training",
    "binary_cross_entropy_with_logits",
    "conv2d",
    "cross_entropy",
    "dropout",
    "embedding",
    "gelu",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "linear",
    "local_response_norm",
    "log_softmax",
    "max_pool2d",
    "mse_loss",
    "one_hot",
    "pad",
    "relu",
    "rms_norm",
    "scaled_dot_product_attention",
    "sigmoid",
    "softmax",
    "tanh",
]
