"""Distances between all rows of two matrices, and between all pairs of rows of one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.ops.helpers import aside, data_of, fractional, in_float32
from distgrad.ops.indexing import put_back
from distgrad.ops.reduce import nonzero

ORDERS = (2.0, 1.0, 0.0, math.inf)
"""Those whose norms take no powers."""

_BLOCK = 1 << 16
"""Differences that there are at a time."""


def _two(rng: np.random.Generator) -> list[Sample]:
    a, b = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 5, 4))
    orders: list[dict[str, Any]] = [{"p": p} for p in (*ORDERS, 3.0, 1.5)]
    many = [((rng.normal(size=(9, 2)), rng.normal(size=(2, 2))), {"p": p}) for p in ORDERS]
    return [*(((a, b), s) for s in orders), ((a[1], b), {"product": True}), *many]


@op("... m d, ... n d -> ... m n", samples=_two, real=True)
@in_float32
def distances(a: Array, b: Array, *, p: float = 2.0, product: bool = False) -> OpResult:
    """(Σ |aᵢ - bⱼ|ᵖ)^(1/p) of all rows; for inf the greatest difference, for 0 how many differ.

    With ``product``, for p = 2 alone, |aᵢ|² + |bⱼ|² - 2 aᵢ·bⱼ, which is fast for long rows and has
    an error of the order of √ε of the rows' spread where two are close. The gradient of equal rows
    is 0; of differences that are the greatest alike each has all of it, as in PyTorch's cdist.
    """
    again = any(isinstance(x, Tensor) for x in (a, b))
    y: Any
    if again:
        y = distances(a, b, p=p, product=product)
    else:
        y = _by_product(a, b) if product else _between(a, b, p)

    def vjp(wanted: Sequence[bool], g: Array) -> Sequence[Any]:
        if product:
            return _slopes_by_product(np.where(data_of(y) == 0, 0, g / nonzero(y)), a, b)
        if again:
            each = _pulled(g, np.expand_dims(a, -2) - np.expand_dims(b, -3), y, p)
            return np.sum(each, axis=-2), -np.sum(each, axis=-3)
        return _slopes(g, a, b, y, p)

    return y, Joint(vjp)


def _between(a: Array, b: Array, p: float) -> Array:
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    (m, d), n = a.shape[-2:], b.shape[-2]
    y = np.empty((*batch, m, n), fractional(np.result_type(a, b)))
    rows, others = _batched(a, batch), _batched(b, batch)
    step = max(_BLOCK // max(n * d, 1), 1)
    for place in np.ndindex(batch):
        for i in range(0, m, step):
            here = (*place, slice(i, i + step))
            y[here] = norms(rows[here][:, None] - others[place], p)
    return y


def _slopes(g: Array, a: Array, b: Array, y: Array, p: float) -> tuple[Array, Array]:
    batch, (n, d) = y.shape[:-2], b.shape[-2:]
    rows, others = _batched(a, batch), _batched(b, batch)
    da, db = np.zeros(rows.shape, y.dtype), np.zeros(others.shape, y.dtype)
    step = max(_BLOCK // max(n * d, 1), 1)
    for place in np.ndindex(batch):
        for i in range(0, rows.shape[-2], step):
            here = (*place, slice(i, i + step))
            each = _pulled(g[here], rows[here][:, None] - others[place], y[here], p)
            da[here] = each.sum(1)
            db[place] -= each.sum(0)
    return da, db


def _batched(a: Array, batch: tuple[int, ...]) -> Array:
    return np.broadcast_to(a, (*batch, *a.shape[-2:]))


def _by_product(a: Array, b: Array) -> Array:
    a, b = _centred(a, b)
    y: Array = np.matmul(a, np.swapaxes(b, -1, -2))
    y *= -2
    y += np.sum(a * a, axis=-1, keepdims=True)
    y += np.sum(b * b, axis=-1)[..., None, :]
    return np.sqrt(np.maximum(y, 0, out=y), out=y)


def _slopes_by_product(w: Array, a: Array, b: Array) -> tuple[Any, Any]:
    a, b = _centred(a, b)
    to_a = a * np.sum(w, axis=-1, keepdims=True) - np.matmul(w, b)
    turned = np.swapaxes(w, -1, -2)
    return to_a, b * np.sum(turned, axis=-1, keepdims=True) - np.matmul(turned, a)


def _centred(a: Array, b: Array) -> tuple[Array, Array]:
    # Distances do not see where all rows are, but what cancels in a product is as large as they.
    if not a.shape[-2]:
        return a, b
    centre = data_of(a).mean(axis=-2, keepdims=True)
    return a - centre, b - centre


def _pairs(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(5, 3))
    return [((x,), {"p": p}) for p in (*ORDERS, 3.0, 1.5)]


@op("m d -> k", samples=_pairs, real=True)
@in_float32
def pair_distances(x: Array, *, p: float = 2.0) -> OpResult:
    """``distances`` of the pairs of rows i < j, in the order of i and then j."""
    again = isinstance(x, Tensor)
    first, second = np.triu_indices(x.shape[0], 1)
    y: Any
    if again:
        y = pair_distances(x, p=p)
    else:
        y = np.empty(len(first), fractional(x.dtype))
        step = max(_BLOCK // max(x.shape[1], 1), 1)
        for k in range(0, len(y), step):
            i, j = first[k : k + step], second[k : k + step]
            y[k : k + step] = norms(x[i] - x[j], p)
    shape = x.shape

    def vjp(g: Array) -> Any:
        each = _pulled(g, x[first] - x[second], y, p)
        if again:
            place = {"shape": shape, "dtype": x.dtype}
            return put_back(each, index=first, **place) - put_back(each, index=second, **place)
        d = np.zeros(shape, y.dtype)
        begin = 0
        for i in range(shape[0] - 1):
            end = begin + shape[0] - 1 - i
            d[i] += each[begin:end].sum(0)
            d[i + 1 :] -= each[begin:end]
            begin = end
        return d

    return y, vjp


def norms(differences: Array, p: float) -> Array:
    """Return the p-norms along the last axis."""
    z = np.absolute(differences)
    if p == math.inf:
        return np.asarray(np.max(z, axis=-1, initial=0))
    if p == 0:
        return np.asarray(np.sum(np.where(np.isnan(z), z, z != 0), axis=-1))
    if p == 1:
        return np.asarray(np.sum(z, axis=-1))
    if p == 2:
        return np.asarray(np.sqrt(np.sum(z * z, axis=-1)))
    return np.asarray(np.sum(z**p, axis=-1) ** (1 / p))


def _pulled(g: Array, differences: Array, y: Array, p: float) -> Any:
    """Return the gradient of ``differences`` whose p-norms ``y`` have the gradient ``g``."""
    g, y = np.expand_dims(g, -1), np.expand_dims(y, -1)
    sign = aside(np.sign, differences)
    if p == 0:
        return g * np.zeros_like(sign)
    if p == 1:
        return g * sign
    if p == math.inf:
        return g * np.where(np.absolute(data_of(differences)) < data_of(y), 0, sign)
    if p == 2:
        return g / nonzero(y) * differences
    ratio = np.where(sign == 0, 1, np.absolute(differences) / nonzero(y))
    return g * sign * np.power(ratio, p - 1)
