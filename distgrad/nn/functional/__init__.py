"""PyTorch's functional names and semantics over the ops. Plain arrays are accepted for tensors.

Holds no parameter and no state but dropout's call counter.
"""

from distgrad.nn.functional.activation import gelu, log_softmax, relu, sigmoid, softmax, tanh
from distgrad.nn.functional.attention import scaled_dot_product_attention
from distgrad.nn.functional.classification import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    nll_loss,
    soft_margin_loss,
)
from distgrad.nn.functional.conv import conv2d
from distgrad.nn.functional.ctc import ctc_loss
from distgrad.nn.functional.distance import (
    cosine_embedding_loss,
    cosine_similarity,
    hinge_embedding_loss,
    margin_ranking_loss,
    normalize,
    pairwise_distance,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from distgrad.nn.functional.dropout import (
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
    gumbel_softmax,
)
from distgrad.nn.functional.linear import bilinear, linear
from distgrad.nn.functional.loss import (
    gaussian_nll_loss,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    poisson_nll_loss,
    smooth_l1_loss,
)
from distgrad.nn.functional.norm import batch_norm, batch_norm_training, layer_norm
from distgrad.nn.functional.pad import pad
from distgrad.nn.functional.pool import avg_pool2d, max_pool2d
from distgrad.nn.functional.sparse import embedding, one_hot

__all__ = [
    "alpha_dropout",
    "avg_pool2d",
    "batch_norm",
    "batch_norm_training",
    "bilinear",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv2d",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "ctc_loss",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "embedding",
    "feature_alpha_dropout",
    "gaussian_nll_loss",
    "gelu",
    "gumbel_softmax",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "linear",
    "log_softmax",
    "margin_ranking_loss",
    "max_pool2d",
    "mse_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "pairwise_distance",
    "poisson_nll_loss",
    "relu",
    "scaled_dot_product_attention",
    "sigmoid",
    "smooth_l1_loss",
    "soft_margin_loss",
    "softmax",
    "tanh",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]
