"""Softmax and the losses of classification that are built on it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.apart import fixed
from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.tensor import TensorLike
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.ops.helpers import aside, first_outside, in_float32, integers
from distgrad.ops.reduction import reduced, share


def _cases(rng: np.random.Generator) -> list[Sample]:
    return [((3 * rng.normal(size=(2, 3, 4)),), {"axis": axis}) for axis in (-1, 1)]


@op("... -> ...", samples=_cases, real=True)
@in_float32
def softmax(a: Array, *, axis: int) -> OpResult:
    """exp(a) / Σ exp(a) over ``axis``, without overflow; NaN where all of a is -∞."""
    e = np.exp(_shifted(a, axis))
    y = e / np.add.reduce(e, axis=axis, keepdims=True)

    def vjp(g: Array) -> Array:
        gy = g * y
        return gy - y * np.add.reduce(gy, axis=axis, keepdims=True)

    return y, vjp


@op("... -> ...", samples=_cases, real=True)
@in_float32
def log_softmax(a: Array, *, axis: int) -> OpResult:
    """a - log Σ exp(a) over ``axis``, without overflow."""
    shifted = _shifted(a, axis)
    e = np.exp(shifted)
    total = np.add.reduce(e, axis=axis, keepdims=True)

    def vjp(g: Array) -> Array:
        return g - (e / total) * np.add.reduce(g, axis=axis, keepdims=True)

    if 0 in a.shape:
        total = total + 1  # an empty axis sums to 0; nothing is subtracted from
    return shifted - np.log(total), vjp


def _shifted(a: Array, axis: int) -> Array:
    # The shift cancels in the gradient, so it may stand outside the tape.
    top = aside(np.maximum.reduce, a, axis=axis, keepdims=True, initial=-np.inf)
    if type(top) is np.ndarray and np.count_nonzero(np.isfinite(top)) == top.size:
        return a - top
    with np.errstate(invalid="ignore"):  # ∞ - ∞ is NaN, as in PyTorch
        shifted: Array = a - top
    return shifted


def _labelled(rng: np.random.Generator) -> list[Sample]:
    logits, labels = rng.normal(size=(4, 3)), np.array([2, 0, -100, 1])
    images, pixels = rng.normal(size=(2, 3, 2)), np.array([[0, 2], [1, 1]])
    settings: list[dict[str, Any]] = [
        {},
        {"reduction": "sum"},
        {"reduction": "none", "label_smoothing": 0.1},
    ]
    return [
        *(((logits, labels), s) for s in settings),
        *(((images, pixels), {**s, "ignore_index": 1}) for s in settings),
    ]


@op("n c, n ->", "n c ..., n ... ->", samples=_labelled, real=True)
@in_float32
def cross_entropy(
    logits: Array,
    labels: Array,
    *,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> OpResult:
    """-log softmax(logits)[label], over classes in axis 1; labels equal to ignore_index count not.

    ``label_smoothing`` ε mixes the label with the uniform distribution (Szegedy et al. 2016).
    Errors: ShapeError for a label out of range, naming it.
    """
    shape = logits.shape
    n, c = shape[0], shape[1]
    targets, keep = aside(check_labels, labels, shape, ignore_index)
    places = math.prod(shape[2:])  # not -1: there may be no sample
    flat = np.reshape(np.swapaxes(np.reshape(logits, (n, c, places)), 1, 2), (n * places, c))
    rows = fixed(np.arange(targets.size))
    shifted = _shifted(flat, 1)
    e = np.exp(shifted)
    total = np.add.reduce(e, axis=1, keepdims=True)
    log_total = np.reshape(np.log(total), (-1,))
    loss = log_total - shifted[rows, targets]
    if label_smoothing:
        uniform = log_total - np.add.reduce(shifted, axis=1) / c
        loss = (1 - label_smoothing) * loss + label_smoothing * uniform
    form, dtype = flat.shape, flat.dtype
    scale = aside(_share, keep, dtype)

    def vjp(g: Array) -> Array:
        if reduction == "mean":
            g = g * scale
        # Left out, not multiplied by 0: where all are ignored the mean's g is NaN.
        weighted = np.reshape(np.where(keep, np.reshape(g, (-1,)), 0), (-1, 1))
        target = aside(_smoothed, targets, form, label_smoothing, dtype)
        d = np.reshape((e / total - target) * weighted, (n, places, c))
        return np.reshape(np.swapaxes(d, 1, 2), shape)

    loss = np.where(keep, loss, 0)
    return reduced(loss, reduction, scale, (n, *shape[2:])), (vjp, None)


def _share(keep: Array, dtype: np.dtype[Any]) -> Array:
    return share(np.count_nonzero(keep), dtype)


def _smoothed(targets: Array, form: Any, smoothing: float, dtype: np.dtype[Any]) -> Array:
    target = np.full(form, smoothing / form[1], dtype)
    target[np.arange(targets.size), targets] += 1 - smoothing
    return target


def check_labels(
    labels: TensorLike, shape: tuple[int, ...], ignore_index: int, name: str = "cross_entropy"
) -> tuple[Array, Array]:
    """Return the labels as a flat array, with 0 for ignored ones, and which are not ignored."""
    labels = integers(labels, "labels")
    if labels.shape != (shape[0], *shape[2:]):
        raise ValueError(f"labels have shape {labels.shape}, not {(shape[0], *shape[2:])}")
    keep = labels != ignore_index
    # A copy: whoever changes the labels before the backward pass changes theirs.
    safe = labels.copy() if np.count_nonzero(keep) == keep.size else np.where(keep, labels, 0)
    bad = first_outside(safe, shape[1])
    if bad is not None:
        raise ShapeError(
            f"{name}: label {bad[0]} at index {bad[1]} is out of range for {shape[1]} "
            f"classes (0..{shape[1] - 1}, or ignore_index={ignore_index}); check the labels or "
            f"the width of the last layer"
        )
    return safe.reshape(-1), keep.reshape(-1)
