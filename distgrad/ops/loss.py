"""Losses that are worth an op: for stability, or because composing them would copy too often."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.tensor import TensorLike
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.ops.activation import sigmoid
from distgrad.ops.helpers import aside, data_of, fractional, in_dtype, in_float32
from distgrad.ops.reduction import reduced, scale_of, share
from distgrad.ops.softmax import check_labels


def _cases(rng: np.random.Generator) -> list[Sample]:
    x, y = 2 * rng.normal(size=(3, 2)), rng.random((3, 2))
    return [((x, y), {"reduction": r}) for r in ("mean", "sum", "none")]


@op("..., ... ->", samples=_cases, real=True)
@in_float32
def mse(a: Array, b: Array, *, reduction: str = "mean") -> OpResult:
    """(a - b)², averaged, summed or as it is (``reduction`` "mean", "sum", "none")."""
    d = a - b
    scale = scale_of(d, reduction)

    def slope(g: Array) -> Any:
        return 2 * d * (g * scale)

    return reduced(d * d, reduction, scale), (slope, lambda g: -slope(g))


@op(
    "..., ... -> ...",
    samples=lambda rng: [
        (inputs, {**settings, "delta": 0.7, "scale": 1.3}) for inputs, settings in _cases(rng)
    ],
    real=True,
)
@in_float32
def huber(
    a: Array, b: Array, *, delta: float, scale: float = 1.0, reduction: str = "none"
) -> OpResult:
    """scale · d²/2 for d = a - b within ±delta, delta (|d| - delta/2) outside (Huber 1964)."""
    d = a - b
    cut = np.clip(d, -delta, delta)
    share_of_one = scale_of(d, reduction)

    def slope(g: Array) -> Any:
        return (scale * cut) * (g * share_of_one)

    loss = scale * (cut * (d - 0.5 * cut))
    return reduced(loss, reduction, share_of_one), (slope, lambda g: -slope(g))


@op(
    "..., ... -> ...",
    samples=lambda rng: [((rng.uniform(0.1, 0.9, (3, 2)), y), s) for (_, y), s in _cases(rng)],
    real=True,
)
@in_float32
def binary_cross_entropy(p: Array, t: Array, *, reduction: str = "none") -> OpResult:
    """-(t log p + (1 - t) log(1 - p)), logarithms cut at -100; the gradient is that of no cut."""
    with np.errstate(divide="ignore"):
        yes, no = np.maximum(np.log(p), -100), np.maximum(np.log1p(-p), -100)
    scale = scale_of(p, reduction)

    def slope(g: Array) -> Any:
        return g * scale * (p - t) / np.maximum(p * (1 - p), 1e-12)

    loss = (t - 1) * no - t * yes
    return reduced(loss, reduction, scale), (slope, lambda g: g * scale * (no - yes))


@op("..., ... ->", samples=_cases, real=True)
@in_float32
def binary_cross_entropy_with_logits(
    logits: Array, targets: Array, *, reduction: str = "mean"
) -> OpResult:
    """-(t log σ(x) + (1 - t) log(1 - σ(x))), without overflow."""
    x, t = logits, targets
    loss = np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.absolute(x)))
    scale = scale_of(loss, reduction)
    return reduced(loss, reduction, scale), (
        lambda g: (sigmoid.function(x)[0] - t) * (g * scale),
        lambda g: -x * (g * scale),
    )


@op(
    "..., ... ->",
    samples=lambda rng: [
        (inputs, {**settings, "log_target": logs})
        for logs in (False, True)
        for inputs, settings in _cases(rng)
    ],
    real=True,
)
@in_float32
def kl_div(x: Array, t: Array, *, log_target: bool = False, reduction: str = "mean") -> OpResult:
    """t (log t - x), 0 where t is 0; with ``log_target`` of a t that is a logarithm itself."""
    share_of_one, nothing = scale_of(x, reduction), aside(np.equal, t, 0)
    p, log = (np.exp(t), t) if log_target else (t, np.log(np.where(nothing, 1, t)))
    d = log - x

    def to_t(g: Array) -> Any:
        slope = p * (d + 1) if log_target else np.where(nothing, d, d + 1)
        return slope * (g * share_of_one)

    return reduced(p * d, reduction, share_of_one), (lambda g: -p * (g * share_of_one), to_t)


@op("..., ... ->", samples=_cases, real=True)
@in_float32
def poisson_nll(x: Array, counts: Array, *, reduction: str = "mean") -> OpResult:
    """exp(x) - counts · x: -log of the Poisson probability of a rate exp(x), but for a constant."""
    rate = np.exp(x)
    scale = scale_of(x, reduction)
    return reduced(rate - counts * x, reduction, scale), (
        lambda g: (rate - counts) * (g * scale),
        lambda g: -x * (g * scale),
    )


@op("..., ... ->", samples=_cases, real=True)
@in_float32
def soft_margin(x: Array, y: Array, *, reduction: str = "mean") -> OpResult:
    """log(1 + exp(-y x)), without overflow."""
    z = -y * x
    scale, e = scale_of(z, reduction), np.exp(-np.absolute(z))
    loss = np.maximum(z, 0) + np.log1p(e)

    def slope(g: Array) -> Any:
        return -np.where(aside(np.less, z, 0), e, 1) / (1 + e) * (g * scale)

    return reduced(loss, reduction, scale), (lambda g: slope(g) * y, lambda g: slope(g) * x)


def _signed(rng: np.random.Generator) -> list[Sample]:
    signs = np.array([[1, -1], [-1, 1], [1, 0]])
    pairs = [((x, y), s) for (x, _), s in _cases(rng) for y in (signs, rng.normal(size=(3, 2)))]
    return [(pair, {**settings, "margin": 0.5}) for pair, settings in pairs]


@op(
    "..., ... ->",
    samples=lambda rng: [((d, 1.0 * y), settings) for (d, y), settings in _signed(rng)],
    real=True,
)
@in_float32
def margin_ranking(d: Array, y: Array, *, margin: float = 0.0, reduction: str = "mean") -> OpResult:
    """max(0, margin - y d); at exactly 0, where many start, it has a slope."""
    z = margin - y * d
    scale = scale_of(z, reduction)
    there = aside(in_dtype, aside(np.greater_equal, z, 0), z.dtype)

    def slope(g: Array) -> Any:
        return -there * (g * scale)

    loss = np.maximum(z, 0)
    return reduced(loss, reduction, scale), (lambda g: slope(g) * y, lambda g: slope(g) * d)


@op("..., ... ->", samples=_signed, real=True)
@in_float32
def hinge_embedding(
    x: Array, y: Array, *, margin: float = 1.0, reduction: str = "mean"
) -> OpResult:
    """x unless y is -1, and max(0, margin - x) unless y is 1; y, a choice, has the gradient 0."""
    sign, rest = data_of(y), margin - x
    near, far = (sign != -1).astype(x.dtype), (sign != 1).astype(x.dtype)
    loss = np.where(far, np.maximum(rest, 0), 0) + np.where(near, x, 0)
    scale, slope = scale_of(loss, reduction), near - far * (data_of(rest) >= 0)
    none = np.zeros_like(slope)
    return reduced(loss, reduction, scale), (
        lambda g: slope * (g * scale),
        lambda g: none * (g * scale),
    )


def _labelled(rng: np.random.Generator) -> list[Sample]:
    rows, labels = rng.normal(size=(4, 3)), np.array([2, 0, -100, 1])
    images, pixels = rng.normal(size=(2, 3, 2)), np.array([[0, 2], [1, 1]])
    weight = np.array([0.5, 2, 0.25])
    return [
        ((rows, labels), {}),
        ((rows, labels), {"weight": weight}),
        ((images, pixels), {"weight": weight, "reduction": "sum", "ignore_index": 1}),
        ((images, pixels), {"reduction": "none", "ignore_index": 1}),
    ]


@op("n c, n ->", "n c ..., n ... ->", samples=_labelled, real=True)
@in_float32
def nll(
    log_probs: Array,
    labels: Array,
    *,
    weight: TensorLike | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
) -> OpResult:
    """-weight[label] log_probs[label], over classes in axis 1; the mean divides by Σ weight[label].

    ``weight`` (c) is a constant. Errors: ShapeError for a label out of range, naming it.
    """
    shape, dtype = log_probs.shape, fractional(log_probs.dtype)
    n, c = shape[:2]
    places = math.prod(shape[2:])
    flat = np.reshape(log_probs, (n, c, places))
    aims = aside(_aims, labels, data_of(weight), shape, dtype, reduction, ignore_index)
    rows, targets, columns, keep, lost, scale, hit, slope = aims
    at = (rows, targets, columns)

    def vjp(g: Array) -> Array:
        g = g * slope if reduction == "mean" else g
        spread = np.reshape(g, (n, 1, places)) if reduction == "none" else g
        return np.reshape(hit * spread, shape)

    # Ignored entries may be infinite: they are left out, not multiplied by 0.
    loss = np.where(keep, flat[at] * lost, 0)
    return reduced(loss, reduction, scale, (n, *shape[2:])), (vjp, None)


def _aims(
    labels: Array,
    weight: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    reduction: str,
    ignore_index: int,
) -> tuple[Array, ...]:
    """Return where the labels point to (three arrays), which count, and what they count."""
    n, c, places = shape[0], shape[1], math.prod(shape[2:])
    targets, keep = check_labels(labels, shape, ignore_index, "nll_loss")
    rows, columns = np.divmod(np.arange(n * places), max(places, 1))
    weights = keep.astype(dtype)
    if weight is not None:
        weights = weights * class_weights("nll_loss", weight, c)[targets].astype(dtype)
    total = np.add.reduce(weights)
    slope = scale = share(total, dtype)
    hit = np.zeros((n, c, places), dtype)
    hit[rows, targets, columns] = -weights
    if reduction == "mean" and total == 0:
        # The mean is 0 / 0, and so is its gradient where a label counts; 0 where none does.
        hit[rows, targets, columns] = np.where(keep, np.nan, 0)
        slope = np.asarray(1, dtype)
    return rows, targets, columns, keep, -weights, scale, hit, slope


def class_weights(who: str, weight: TensorLike, classes: int) -> Array:
    """Return the weights of classes. Errors: ShapeError for another number, or complex ones."""
    given = np.asarray(data_of(weight))
    if given.shape != (classes,):
        raise ShapeError(f"{who}: {classes} classes need as many weights; got {given.shape}")
    if given.dtype.kind == "c":
        raise ShapeError(f"{who}: weights of classes are real numbers; got {given.dtype}")
    return given
