"""What losses of angles and margins are made of: cosines, and hinge losses of several classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.tensor import TensorLike
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.ops.helpers import (
    aside,
    data_of,
    either,
    first_outside,
    fractional,
    in_float32,
    integers,
)
from distgrad.ops.loss import class_weights
from distgrad.ops.measure import vector_norm
from distgrad.ops.reduce import expand
from distgrad.ops.reduction import reduced, scale_of


def _pairs(rng: np.random.Generator) -> list[Sample]:
    a, b = rng.normal(size=(2, 3, 4, 2))
    return [
        ((a, b), {"axis": 1, "eps": 1e-8}),
        ((a, b), {"axis": -1, "eps": 1.0}),  # some are shorter, some longer
        ((a, b), {"axis": -2, "tiny": 0.1}),
    ]


@op("..., ... -> ...", samples=_pairs, real=True)
@in_float32
def cosine(a: Array, b: Array, *, axis: int, eps: float = 0.0, tiny: float = 0.0) -> OpResult:
    """a·b / (max(‖a‖, ``eps``) max(‖b‖, ``eps``)) along ``axis``; ``tiny`` is added to ‖·‖².

    Where ‖a‖ is below ``eps`` the divisor is a constant. Errors: ShapeError for two shapes.
    """
    if a.shape != b.shape:
        raise ValueError(f"cosine compares equal shapes; got {a.shape} and {b.shape}")
    (r, short), (s, under) = (_length(x, axis, eps, tiny) for x in (a, b))
    product = r * s
    y = np.sum(a * b, axis=axis, keepdims=True) / product
    shape = a.shape

    def back(g: Array, x: Array, z: Array, own: Array, constant: Array) -> Any:
        g = expand(g, shape, axis, False)
        return g / product * z - np.where(constant, 0, g * y / (own * own)) * x

    value = np.squeeze(y, axis=axis)
    return value, (lambda g: back(g, a, b, r, short), lambda g: back(g, b, a, s, under))


def _length(x: Array, axis: int, eps: float, tiny: float) -> tuple[Any, Array]:
    """Return the length of ``x``, no less than ``eps``, and where it is less."""
    if tiny:
        return np.sqrt(np.sum(x * x, axis=axis, keepdims=True) + tiny), np.zeros((), np.bool_)
    length = either(vector_norm, x, axis=axis, keepdims=True)
    return np.maximum(length, eps), aside(np.less, length, eps)


def _labelled(rng: np.random.Generator) -> list[Sample]:
    x, labels = 2 * rng.normal(size=(4, 3)), np.array([2, 0, 0, 1])
    weight = np.array([0.5, 2, 0.25])
    return [
        ((x, labels), {}),
        ((x, labels), {"p": 2, "margin": 0.7, "weight": weight, "reduction": "sum"}),
        ((x, labels), {"p": 2, "reduction": "none"}),
        ((x, labels), {"weight": weight}),
    ]


@op("n c, n ->", samples=_labelled, real=True)
@in_float32
def multi_margin(
    x: Array,
    labels: Array,
    *,
    p: int = 1,
    margin: float = 1.0,
    weight: TensorLike | None = None,
    reduction: str = "mean",
) -> OpResult:
    """weight[y] Σ max(0, margin - x[y] + x[i])ᵖ / c over i ≠ y, averaged over the rows.

    ``weight`` (c) is a constant. Errors: ShapeError for a label out of range, naming it.
    """
    (n, c), rows = x.shape, np.arange(len(x))
    y = classes_of("multi_margin_loss", labels, (n,), c)
    others = np.ones((n, c), np.bool_)
    others[rows, y] = False
    excess = np.where(others, np.maximum((margin - x[rows, y]).reshape(n, 1) + x, 0), 0)
    share_of_one = np.asarray(1 / max(c, 1), fractional(x.dtype))
    if weight is not None:
        given = class_weights("multi_margin_loss", weight, c).astype(share_of_one.dtype)
        share_of_one = (given[y] * share_of_one).reshape(n, 1)
    loss = np.sum((excess if p == 1 else excess * excess) * share_of_one, axis=1)
    scale = scale_of(data_of(loss), reduction)
    steps = (data_of(excess) > 0).astype(share_of_one.dtype)

    def vjp(g: Array) -> Any:
        each = np.reshape(g * scale, (-1, 1)) * share_of_one
        d = (steps if p == 1 else 2 * excess) * each
        return np.where(others, d, -np.sum(d, axis=1, keepdims=True))

    return reduced(loss, reduction, scale), (vjp, None)


def _several(rng: np.random.Generator) -> list[Sample]:
    x = 2 * rng.normal(size=(4, 3))
    labels = np.array([[2, 0, -1], [1, 1, 0], [-1, 0, 0], [0, 1, 2]])
    return [((x, labels), {"reduction": r}) for r in ("mean", "sum", "none")]


@op("n c, n c ->", samples=_several, real=True)
@in_float32
def multilabel_margin(x: Array, labels: Array, *, reduction: str = "mean") -> OpResult:
    """Σ max(0, 1 - x[y] + x[i]) / c over the labels y of a row and all i that are none of them.

    The labels of a row end at the first -1. Errors: ShapeError for a label out of range, naming it.
    """
    (n, c), whole = x.shape, data_of(x)
    counted = np.logical_and.accumulate(data_of(labels) != -1, axis=1)
    y = classes_of("multilabel_margin_loss", np.where(counted, data_of(labels), 0), (n, c), c)
    share_of_one = np.asarray(1 / max(c, 1), fractional(x.dtype))
    loss, slope = np.zeros(n, share_of_one.dtype), np.zeros((n, c), share_of_one.dtype)
    # Row by row: all pairs of all rows would be n c² numbers.
    for i in range(n):
        mine, free = y[i, counted[i]], np.ones(c, np.bool_)
        free[mine] = False
        excess = np.maximum((1 - whole[i, mine])[:, None] + whole[i, free], 0)
        loss[i] = np.add.reduce(excess, axis=(0, 1))
        steps = excess > 0
        slope[i, free] = np.count_nonzero(steps, axis=0)
        np.subtract.at(slope[i], mine, np.count_nonzero(steps, axis=1))
    slope *= share_of_one
    scale = scale_of(loss, reduction)

    def vjp(g: Array) -> Any:
        return np.reshape(g * scale, (-1, 1)) * slope

    return reduced(loss * share_of_one, reduction, scale), (vjp, None)


def classes_of(name: str, labels: TensorLike, shape: tuple[int, ...], classes: int) -> Array:
    """Return labels as an array. Errors: ShapeError for other numbers, shapes and classes."""
    given = integers(labels, f"{name}: labels")
    if given.shape != shape:
        raise ValueError(f"labels have shape {given.shape}, not {shape}")
    bad = first_outside(given, classes)
    if bad is not None:
        raise ShapeError(
            f"{name}: label {bad[0]} at index {bad[1]} is out of range for {classes} classes "
            f"(0..{classes - 1})"
        )
    return given
