"""Normalisations over the batch and over axes.

``batch_norm`` follows PyTorch. Layers use ``batch_norm_training`` and ``instance_norm_training``,
which return the statistics: what becomes of them over shards and ranks is not decided here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.nn.functional.wrap import in_float32, optional, wrap


def layer_norm(
    input: TensorLike,
    normalized_shape: int | Sequence[int],
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise the last axes, of lengths ``normalized_shape``. Errors: ShapeError if others."""
    input, axes = _last_axes("layer_norm", input, normalized_shape)
    result: Tensor = ops.layer_norm(input, optional(weight), optional(bias), axes=axes, eps=eps)
    return result


def rms_norm(
    input: TensorLike,
    normalized_shape: int | Sequence[int],
    weight: TensorLike | None = None,
    eps: float | None = None,
) -> Tensor:
    """Divide the last axes by their root mean square; ``eps`` is that of the dtype if None.

    Errors: ShapeError if the last axes have other lengths than ``normalized_shape``, or for whole
    numbers without ``eps``.
    """
    input, axes = _last_axes("rms_norm", input, normalized_shape)
    if eps is None and input.dtype.kind not in "fc":
        raise ShapeError(
            f"rms_norm: eps is None, that of the dtype, and {input.dtype} has none; give eps, or "
            f"convert the input by .float()"
        )
    eps = float(np.finfo(input.dtype).eps) if eps is None else eps
    result: Tensor = ops.rms_norm(input, optional(weight), axes=axes, eps=eps)
    return result


def batch_norm(
    input: TensorLike,
    running_mean: TensorLike | None,
    running_var: TensorLike | None,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise (n, c, …) with given statistics of shape (c,), or in ``training`` with its own.

    In training the running ones, unless None, follow in place at once: a model that is trained on
    shards uses the layer, whose statistics are averaged over the whole batch.
    """
    input = wrap(input)
    if input.ndim < 2:
        raise ShapeError(f"batch_norm takes (n, c, …); got {input.shape}")
    if training:
        y, mean, var = batch_norm_training(input, weight, bias, eps)
        if not input.size:
            return y  # nothing was seen
        var = unbiased(var, input.size // max(input.shape[1], 1))
        _follow(running_mean, mean, momentum)
        _follow(running_var, var, momentum)
        return y
    if running_mean is None or running_var is None:
        raise ShapeError("batch_norm needs running_mean and running_var unless training=True")
    column = (-1,) + (1,) * (input.ndim - 2)
    scale: Any = 1 / np.sqrt(wrap(running_var) + eps)
    scale = scale if weight is None else scale * wrap(weight)
    shift = -wrap(running_mean) * scale
    shift = shift if bias is None else shift + wrap(bias)
    result: Tensor = input * scale.reshape(column) + shift.reshape(column)
    return result


def batch_norm_training(
    x: TensorLike,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Array, Array]:
    """Normalise (n, c, …) with its own statistics; return also them: mean, variance (biased)."""
    y, mean, var = ops.batch_norm(wrap(x), optional(weight), optional(bias), eps=eps)
    return y, mean.array, var.array


def group_norm(
    input: TensorLike,
    num_groups: int,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise (n, c, …) over groups of channels and what follows them (Wu & He 2018).

    Weight and bias have shape (c,). Errors: ShapeError for groups that do not divide c.
    """
    input = wrap(input)
    if input.ndim < 2 or num_groups < 1 or input.shape[1] % num_groups:
        raise ShapeError(
            f"group_norm needs (n, c, …) with c a multiple of num_groups={num_groups}; "
            f"got {input.shape}"
        )
    w, b = optional(weight), optional(bias)
    _check_channels("group_norm", input, w, b)
    y: Tensor = ops.group_norm(input, w, b, groups=num_groups, eps=eps)
    return y


def instance_norm(
    input: TensorLike,
    running_mean: TensorLike | None = None,
    running_var: TensorLike | None = None,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of each sample of (n, c, …) (Ulyanov et al. 2016).

    Without ``use_input_stats`` the running statistics are used; otherwise they follow, unless
    None. Weight and bias have shape (c,).
    """
    input = wrap(input)
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, eps=eps)
    if not input.size or (running_mean is None and running_var is None):
        return _instances(input, weight, bias, eps)
    y, mean, var = instance_norm_training(input, weight, bias, eps)
    _follow(running_mean, mean, momentum)
    _follow(running_var, unbiased(var, math.prod(input.shape[2:])), momentum)
    return y


def instance_norm_training(
    x: TensorLike,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Array, Array]:
    """Normalise each channel of each sample of (n, c, …); return also the statistics.

    These are the means over the samples of their means and variances (biased), of shape (c,).
    """
    x = wrap(x)
    return _instances(x, weight, bias, eps), *_means_over_samples(x)


def _instances(x: Tensor, weight: TensorLike | None, bias: TensorLike | None, eps: float) -> Tensor:
    """Return the channels of all samples, normalised: each is a group of its own."""
    if x.ndim < 3:
        raise ShapeError(f"instance_norm needs (n, c, …) with 3 or more axes; got {x.shape}")
    w, b = optional(weight), optional(bias)
    _check_channels("instance_norm", x, w, b)
    if not x.size:
        return _by_channel("instance_norm", x, w, b)
    y: Tensor = ops.group_norm(x, w, b, groups=x.shape[1], eps=eps)
    return y


@apart
@keeps_form
def _means_over_samples(x: Tensor) -> tuple[Array, Array]:
    """Return the means over the samples of the channels' means and variances (biased)."""
    a, places = x.array, tuple(range(2, x.ndim))
    if not a.size:
        return np.zeros(a.shape[1], a.dtype), np.zeros(a.shape[1], a.dtype)
    mean, var = a.mean(axis=places), a.var(axis=places)
    return mean.mean(axis=0), var.mean(axis=0)


@in_float32
def local_response_norm(
    input: TensorLike, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x / (k + alpha · mean of x² over ``size`` neighbouring channels)^beta (Krizhevsky 2012).

    Of (n, c, …); channels that are not there count as zeros. Errors: ShapeError for another input
    or a size below 1.
    """
    input = wrap(input)
    if input.ndim < 3 or size < 1:
        raise ShapeError(
            f"local_response_norm needs (n, c, …) with 3 or more axes and size >= 1; "
            f"got {input.shape}, size={size}"
        )
    none = [(0, 0)]
    around = [*none, (size // 2, (size - 1) // 2), *none * (input.ndim - 2)]
    squares: Any = np.pad(input * input, around)
    c = input.shape[1]
    total: Any = squares[:, 0:c]
    for i in range(1, size):
        total = total + squares[:, i : i + c]
    result: Tensor = input / (total * (alpha / size) + k) ** beta
    return result


@apart
@keeps_form
def unbiased(var: Array, n: int) -> Array:
    """Return the variance of ``n`` values with n - 1 under the sum of squares (n if it is 1)."""
    result: Array = var * np.asarray(n / max(n - 1, 1), var.dtype)
    return result


@apart
def _follow(running: TensorLike | None, value: Array, momentum: float) -> None:
    if running is not None:
        data = wrap(running).array
        data += momentum * (value - data)


def _last_axes(name: str, x: TensorLike, lengths: int | Sequence[int]) -> tuple[Tensor, int]:
    shape = (lengths,) if isinstance(lengths, int) else tuple(lengths)
    x = wrap(x)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ShapeError(
            f"{name} over {shape} needs an input that ends in these axes; got {x.shape}"
        )
    return x, len(shape)


def _check_channels(name: str, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> None:
    for what, p in (("weight", weight), ("bias", bias)):
        if p is not None and p.shape != x.shape[1:2]:
            raise ShapeError(f"{name}: {what} has shape {p.shape}, the channels {x.shape[1:2]}")


def _by_channel(name: str, y: Tensor, weight: TensorLike | None, bias: TensorLike | None) -> Tensor:
    column = (-1,) + (1,) * (y.ndim - 2)
    w, b = optional(weight), optional(bias)
    _check_channels(name, y, w, b)
    y = y if w is None else y * w.reshape(column)
    y = y if b is None else y + b.reshape(column)
    result: Tensor = y
    return result
