"""PyTorch's functional names and semantics over the ops. Plain arrays are accepted for tensors.

Holds no parameter and no state but dropout's call counter.
"""

from distgrad.nn.functional.activation import gelu, log_softmax, relu, sigmoid, softmax, tanh
from distgrad.nn.functional.attention import scaled_dot_product_attention
from distgrad.nn.functional.conv import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from distgrad.nn.functional.dropout import dropout
from distgrad.nn.functional.interpolate import interpolate
from distgrad.nn.functional.linear import linear
from distgrad.nn.functional.loss import binary_cross_entropy_with_logits, cross_entropy, mse_loss
from distgrad.nn.functional.norm import batch_norm, batch_norm_training, layer_norm
from distgrad.nn.functional.pool import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from distgrad.nn.functional.sparse import embedding, one_hot
from distgrad.nn.functional.vision import pad
from distgrad.nn.functional.windows import fold, pixel_shuffle, pixel_unshuffle, unfold

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "batch_norm_training",
    "binary_cross_entropy_with_logits",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cross_entropy",
    "dropout",
    "embedding",
    "fold",
    "gelu",
    "interpolate",
    "layer_norm",
    "linear",
    "log_softmax",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "mse_loss",
    "one_hot",
    "pad",
    "pixel_shuffle",
    "pixel_unshuffle",
    "relu",
    "scaled_dot_product_attention",
    "sigmoid",
    "softmax",
    "tanh",
    "unfold",
]
