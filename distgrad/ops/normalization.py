"""Normalisation over features (layer-norm, rms-norm) and over the batch (batch-norm)."""

from __future__ import annotations

import numpy as np

from distgrad.autograd.op import OpResult, OpResults, Sample, op
from distgrad.autograd.types import Array
from distgrad.ops.helpers import in_float32
from distgrad.ops.reduce import count


def _layers(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(3, 2, 4))
    return [
        ((x, rng.normal(size=4), rng.normal(size=4)), {}),
        ((x, rng.normal(size=(2, 4)), rng.normal(size=(2, 4))), {"axes": 2, "eps": 0.1}),
        ((x, rng.normal(size=4), None), {}),
        ((x, None, None), {"axes": 2}),
    ]


@op("... d, d, d -> ... d", "... c d, c d, c d -> ... c d", samples=_layers, real=True)
@in_float32
def layer_norm(
    x: Array, weight: Array | None, bias: Array | None, *, axes: int = 1, eps: float = 1e-5
) -> OpResult:
    """(x - mean) / √(var + eps) · weight + bias over the last ``axes`` axes (Ba et al. 2016).

    Weight and bias have the shape of these axes; either may be None.
    """
    over = tuple(range(-axes, 0))
    _check_axes(x, axes, weight=weight, bias=bias)
    xh, r, *_ = _normalised(x, over, eps)
    y = xh if weight is None else xh * weight

    def to_x(g: Array) -> Array:
        return _back(g if weight is None else g * weight, xh, r, over)

    return (y if bias is None else y + bias), (
        to_x,
        None if weight is None else lambda g: g * xh,
        None if bias is None else lambda g: g,
    )


def _roots(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(3, 2, 4))
    return [
        ((x, rng.normal(size=4)), {}),
        ((x, rng.normal(size=(2, 4))), {"axes": 2, "eps": 0.1}),
        ((x, None), {}),
    ]


@op("... d, d -> ... d", "... c d, c d -> ... c d", samples=_roots, real=True)
@in_float32
def rms_norm(x: Array, weight: Array | None, *, axes: int = 1, eps: float = 1e-5) -> OpResult:
    """x / √(mean(x²) + eps) · weight over the last ``axes`` axes (Zhang & Sennrich 2019)."""
    over = tuple(range(-axes, 0))
    _check_axes(x, axes, weight=weight)
    n = _count(x.shape, over)
    r = 1 / np.sqrt(np.add.reduce(x * x, axis=over, keepdims=True) / n + eps)
    xh = x * r

    def to_x(g: Array) -> Array:
        gw = g if weight is None else g * weight
        return (gw - xh * (np.add.reduce(gw * xh, axis=over, keepdims=True) / n)) * r

    return (xh if weight is None else xh * weight), (
        to_x,
        None if weight is None else lambda g: g * xh,
    )


def _groups(rng: np.random.Generator) -> list[Sample]:
    w, b = rng.normal(size=4), rng.normal(size=4)
    return [
        ((rng.normal(size=(3, 4)), w, b), {"groups": 2}),
        ((rng.normal(size=(2, 4, 3, 2)), w, None), {"groups": 2, "eps": 0.1}),
        ((rng.normal(size=(2, 4, 3)), None, b), {"groups": 4}),
        ((rng.normal(size=(2, 4, 3)), None, None), {"groups": 1}),
    ]


@op("n c, c, c -> n c", "n c ..., c, c -> n c ...", samples=_groups, real=True)
@in_float32
def group_norm(
    x: Array, weight: Array | None, bias: Array | None, *, groups: int, eps: float = 1e-5
) -> OpResult:
    """Normalise (n, c, …) over groups of channels and what follows (Wu & He 2018)."""
    for name, p in (("weight", weight), ("bias", bias)):
        if p is not None and p.shape != x.shape[1:2]:
            raise ValueError(f"{name} has shape {p.shape}, axis 1 of the input {x.shape[1:2]}")
    shape = x.shape
    n, each = shape[0], count(shape[1:], None) // max(groups, 1)
    column = (-1,) + (1,) * (x.ndim - 2)
    others = (0, *range(2, x.ndim))
    rows, r, *_ = _normalised(np.reshape(x, (n, groups, each)), (2,), eps)
    xh = np.reshape(rows, shape)
    w = None if weight is None else np.reshape(weight, column)
    y = xh if w is None else xh * w

    def to_x(g: Array) -> Array:
        gw = g if w is None else g * w
        return np.reshape(_back(np.reshape(gw, (n, groups, each)), rows, r, (2,)), shape)

    return (y if bias is None else y + np.reshape(bias, column)), (
        to_x,
        None if weight is None else lambda g: np.add.reduce(g * xh, axis=others),
        None if bias is None else lambda g: np.add.reduce(g, axis=others),
    )


def _batches(rng: np.random.Generator) -> list[Sample]:
    w, b = rng.normal(size=3), rng.normal(size=3)
    return [
        ((rng.normal(size=(4, 3)), w, b), {}),
        ((rng.normal(size=(2, 3, 2, 2)), w, b), {"eps": 0.1}),
        ((rng.normal(size=(4, 3)), None, None), {}),
    ]


@op("n c, c, c -> n c, c, c", "n c ..., c, c -> n c ..., c, c", samples=_batches, real=True)
@in_float32
def batch_norm(
    x: Array, weight: Array | None, bias: Array | None, *, eps: float = 1e-5
) -> OpResults:
    """Normalise (n, c, …) over all axes but 1 with their own statistics (Ioffe & Szegedy 2015).

    Returns the result and the statistics: the mean and the variance (biased), each of shape (c,).
    """
    over = (0, *range(2, x.ndim))
    column = (-1,) + (1,) * (x.ndim - 2)
    for name, p in (("weight", weight), ("bias", bias)):
        if p is not None and p.shape != x.shape[1:2]:
            raise ValueError(f"{name} has shape {p.shape}, axis 1 of the input {x.shape[1:2]}")
    n, shape = _count(x.shape, over), x.shape
    xh, r, mean, var, centred = _normalised(x, over, eps)
    w = None if weight is None else np.reshape(weight, column)
    y = xh if w is None else xh * w
    y = y if bias is None else y + np.reshape(bias, column)

    def to_x(g: Array | None, g_mean: Array | None, g_var: Array | None) -> Array:
        terms = []
        if g is not None:
            terms.append(_back(g if w is None else g * w, xh, r, over))
        if g_mean is not None:
            terms.append(np.broadcast_to(np.reshape(g_mean / n, column), shape))
        if g_var is not None:
            terms.append(np.reshape(g_var * (2 / n), column) * centred)
        return sum(terms[1:], terms[0])

    def to_weight(g: Array | None, *_: Array | None) -> Array:
        return np.zeros_like(weight) if g is None else np.add.reduce(g * xh, axis=over)

    def to_bias(g: Array | None, *_: Array | None) -> Array:
        return np.zeros_like(bias) if g is None else np.add.reduce(g, axis=over)

    return (y, np.reshape(mean, (-1,)), np.reshape(var, (-1,))), (
        to_x,
        None if weight is None else to_weight,
        None if bias is None else to_bias,
    )


def _check_axes(x: Array, axes: int, **parameters: Array | None) -> None:
    for name, p in parameters.items():
        if p is not None and p.shape != x.shape[-axes:]:
            raise ValueError(f"{name} has shape {p.shape}, the normalised axes {x.shape[-axes:]}")


def _count(shape: tuple[int, ...], over: tuple[int, ...]) -> int:
    return max(count(shape, over), 1)  # the mean of nothing is 0


def _normalised(
    x: Array, over: tuple[int, ...], eps: float
) -> tuple[Array, Array, Array, Array, Array]:
    n = _count(x.shape, over)
    mean = np.add.reduce(x, axis=over, keepdims=True) / n
    centred = x - mean
    var = np.add.reduce(centred * centred, axis=over, keepdims=True) / n
    r = 1 / np.sqrt(var + eps)
    return centred * r, r, mean, var, centred


def _back(g: Array, xh: Array, r: Array, over: tuple[int, ...]) -> Array:
    n = _count(xh.shape, over)
    mean_g = np.add.reduce(g, axis=over, keepdims=True) / n
    mean_gx = np.add.reduce(g * xh, axis=over, keepdims=True) / n
    return (g - mean_g - xh * mean_gx) * r
