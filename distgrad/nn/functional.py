"""PyTorch's functional names and semantics over the ops. Plain arrays are accepted for tensors.

Holds no parameter and no state but dropout's call counter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.random import generator
from distgrad.autograd.tensor import Array, Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.ops.helpers import first_outside, integers

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
    "layer_norm",
    "linear",
    "log_softmax",
    "max_pool2d",
    "mse_loss",
    "one_hot",
    "pad",
    "relu",
    "scaled_dot_product_attention",
    "sigmoid",
    "softmax",
    "tanh",
]


def linear(x: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """x Wᵀ + b over the last axis: (…, in) to (…, out), W of shape (out, in)."""
    result: Tensor = ops.linear(_wrap(x), _wrap(weight), _optional(bias))
    return result


def conv2d(
    x: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Tensor:
    """2-D cross-correlation of (n, c, h, w) with filters (o, c / groups, y, x)."""
    result: Tensor = ops.conv2d(
        _wrap(x),
        _wrap(weight),
        _optional(bias),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    return result


def max_pool2d(x: TensorLike, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """The largest of each window of (n, c, h, w); the stride is the kernel's size if None."""
    result: Tensor = ops.max_pool2d(
        _wrap(x), kernel_size=kernel_size, stride=stride, padding=padding
    )
    return result


def avg_pool2d(x: TensorLike, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """The mean of each window of (n, c, h, w), zeros of the padding included."""
    result: Tensor = ops.avg_pool2d(
        _wrap(x), kernel_size=kernel_size, stride=stride, padding=padding
    )
    return result


def layer_norm(
    x: TensorLike,
    normalized_shape: int | Sequence[int],
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise the last axes, of lengths ``normalized_shape``. Errors: ShapeError if others."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    x = _wrap(x)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ShapeError(
            f"layer_norm over {shape} needs an input that ends in these axes; got {x.shape}"
        )
    result: Tensor = ops.layer_norm(x, _optional(weight), _optional(bias), axes=len(shape), eps=eps)
    return result


def batch_norm(
    x: TensorLike,
    running_mean: TensorLike,
    running_var: TensorLike,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise (n, c, …) with given statistics of shape (c,): batch-norm in evaluation."""
    x = _wrap(x)
    column = (-1,) + (1,) * (x.ndim - 2)
    scale: Any = 1 / np.sqrt(_wrap(running_var) + eps)
    scale = scale if weight is None else scale * _wrap(weight)
    shift = -_wrap(running_mean) * scale
    shift = shift if bias is None else shift + _wrap(bias)
    result: Tensor = x * scale.reshape(column) + shift.reshape(column)
    return result


def batch_norm_training(
    x: TensorLike,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Array, Array]:
    """Normalise (n, c, …) with its own statistics; return also them: mean, variance (biased)."""
    y, mean, var = ops.batch_norm(_wrap(x), _optional(weight), _optional(bias), eps=eps)
    return y, mean.data, var.data


def embedding(indices: Any, weight: TensorLike) -> Tensor:
    """Rows of ``weight`` (v, d): integers (…) to (…, d). Errors: ShapeError out of range."""
    result: Tensor = ops.embedding(indices, _wrap(weight))
    return result


def dropout(x: TensorLike, p: float = 0.5, training: bool = True) -> Tensor:
    """Zero elements with probability ``p`` and scale the rest by 1 / (1 - p), in training.

    The mask depends on seed, step, shard and call, not on the rank (Srivastava et al. 2014).
    """
    if not 0 <= p <= 1:
        raise ShapeError(f"dropout: p is a probability, from 0 to 1; got {p}")
    x = _wrap(x)
    if not training or p == 0:
        return x
    keep = generator().random(x.shape, dtype=np.float32) >= p
    result: Tensor = ops.dropout(x, keep, p=p)
    return result


def relu(x: TensorLike) -> Tensor:
    """max(x, 0)."""
    result: Tensor = ops.relu(_wrap(x))
    return result


def gelu(x: TensorLike, approximate: str = "none") -> Tensor:
    """x Φ(x); ``approximate="tanh"`` is the faster form."""
    if approximate not in {"none", "tanh"}:
        raise ShapeError(f"gelu: approximate is 'none' or 'tanh'; got {approximate!r}")
    result: Tensor = (ops.gelu_tanh if approximate == "tanh" else ops.gelu)(_wrap(x))
    return result


def tanh(x: TensorLike) -> Tensor:
    """The hyperbolic tangent."""
    result: Tensor = ops.tanh(_wrap(x))
    return result


def sigmoid(x: TensorLike) -> Tensor:
    """1 / (1 + exp(-x))."""
    result: Tensor = ops.sigmoid(_wrap(x))
    return result


def softmax(x: TensorLike, dim: int = -1) -> Tensor:
    """exp(x) / Σ exp(x) over axis ``dim``."""
    result: Tensor = ops.softmax(_wrap(x), axis=dim)
    return result


def log_softmax(x: TensorLike, dim: int = -1) -> Tensor:
    """x - log Σ exp(x) over axis ``dim``."""
    result: Tensor = ops.log_softmax(_wrap(x), axis=dim)
    return result


def cross_entropy(
    logits: TensorLike,
    labels: Any,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Softmax cross-entropy of logits (n, c, …) and integer labels (n, …).

    The mean is over the labels that are not ``ignore_index``. Errors: ShapeError naming a label
    out of range.
    """
    result: Tensor = ops.cross_entropy(
        _wrap(logits),
        labels if isinstance(labels, Tensor) else np.asarray(labels),
        reduction=reduction,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
    )
    return result


def mse_loss(x: TensorLike, y: TensorLike, reduction: str = "mean") -> Tensor:
    """(x - y)², averaged, summed or as it is. Errors: ShapeError for two shapes."""
    x, y = _same_shape("mse_loss", x, y)
    result: Tensor = ops.mse(x, y, reduction=reduction)
    return result


def binary_cross_entropy_with_logits(
    logits: TensorLike, targets: TensorLike, reduction: str = "mean"
) -> Tensor:
    """-(t log σ(x) + (1 - t) log(1 - σ(x))). Errors: ShapeError for two shapes."""
    x, t = _same_shape("binary_cross_entropy_with_logits", logits, targets)
    result: Tensor = ops.binary_cross_entropy_with_logits(x, t, reduction=reduction)
    return result


def scaled_dot_product_attention(
    q: TensorLike,
    k: TensorLike,
    v: TensorLike,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """softmax(q kᵀ scale + mask) v over (…, t, d); scale is 1 / √d if None.

    ``attn_mask`` is added, or, if boolean, says which keys take part. With ``dropout_p`` the
    attention weights are dropped out.
    """
    q, k, v, mask = _wrap(q), _wrap(k), _wrap(v), _optional(attn_mask)
    attention = ops.scaled_dot_product_attention
    if dropout_p == 0.0:
        result: Tensor = attention(q, k, v, mask, is_causal=is_causal, scale=scale)
        return result
    # The weights are attention to the unit vectors.
    unit = np.eye(k.shape[-2], dtype=v.dtype)
    weights = attention(q, k, unit, mask, is_causal=is_causal, scale=scale)
    product: Tensor = dropout(weights, dropout_p) @ v
    return product


def pad(x: TensorLike, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    """Zeros around the last axes: ``pad`` is (before, after) of the last axis, then the one before.

    Errors: ShapeError for other modes and values, or an odd number of widths.
    """
    x = _wrap(x)
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise ShapeError(
            f"pad needs (before, after) for each of at most {x.ndim} axes, the last axis first; "
            f"got {tuple(pad)}"
        )
    last = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    width = [(0, 0)] * (x.ndim - len(last)) + last[::-1]
    result: Tensor = ops.pad(x, width, mode, value)
    return result


def one_hot(labels: Any, num_classes: int = -1) -> Tensor:
    """Integers (…) to rows of zeros with a one, (…, num_classes), int64.

    The number of classes is the largest label + 1 if it is -1. Errors: ShapeError out of range.
    """
    rows = integers(labels, "labels")
    count = int(rows.max(initial=-1)) + 1 if num_classes == -1 else num_classes
    bad = first_outside(rows, count)
    if bad is not None:
        raise ShapeError(
            f"one_hot: label {bad[0]} at index {bad[1]} is out of range for {count} classes"
        )
    return Tensor(np.eye(count, dtype=np.int64)[rows])


def _wrap(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else Tensor(x)


def _optional(x: Any) -> Tensor | None:
    return None if x is None else _wrap(x)


def _same_shape(name: str, x: TensorLike, y: TensorLike) -> tuple[Tensor, Tensor]:
    x, y = _wrap(x), _wrap(y)
    if x.shape != y.shape:
        raise ShapeError(f"{name} compares equal shapes; got {x.shape} and {y.shape}: reshape one")
    return x, y
