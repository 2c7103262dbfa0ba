"""Twin of attention: products by NumPy's BLAS, softmax and its gradient fused, in place."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array, Shape
from distgrad.kernels.arrays import Scalar, empty, flat, on_forms, run, suits, zeros
from distgrad.kernels.jit import kernel
from distgrad.kernels.mathematics import exp, exp_of_negative, rank, unrank
from distgrad.ops.linalg import T


@on_forms
def scaled_dot_product_attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
) -> OpResult | None:
    """The twin of ``ops.scaled_dot_product_attention``."""
    if not suits(q, k, v) or min(q.ndim, k.ndim, v.ndim) < 2:
        return None
    factor = q.dtype.type(1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    t, keys = q.shape[-2], k.shape[-2]
    if mask is not None:
        lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2])
        return _masked(q, k, v, mask, factor, is_causal) if _fits(mask, (*lead, t, keys)) else None
    if is_causal and keys > _BLOCK:
        return _in_blocks(q, k, v, factor)
    # In C order whatever the inputs' is: the kernels work on a view of it.
    p = np.matmul(q, T(k), order="C")  # ... t s
    first = 0 if is_causal else keys
    sums = _weigh(p, factor, first)

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, ...]:
        p, ds = np.matmul(q, T(k), order="C"), np.matmul(g, T(v), order="C")
        _weigh_back(p, ds, factor, first, sums)
        dq = np.matmul(ds, k) if wanted[0] else None
        dk = np.matmul(T(ds), q) if wanted[1] else None
        return dq, dk, np.matmul(T(p), g) if wanted[2] else None, None

    return np.matmul(p, v), Joint(vjp)


def _fits(mask: Array, scores: Shape) -> bool:
    """Whether a mask can be added to the scores where they lie."""
    if mask.dtype.kind not in "bf" or not mask.size or mask.ndim > len(scores):
        return False
    return all(n in (1, m) for n, m in zip(mask.shape[::-1], scores[::-1], strict=False))


def _masked(
    q: Array, k: Array, v: Array, mask: Array, factor: Scalar, is_causal: bool
) -> OpResult | None:
    added = mask
    if mask.dtype == bool:
        added = empty(q, mask.shape)
        run(_additive, flat(mask), flat(added), writes=(1,))
    elif mask.dtype != q.dtype:
        return None

    def scores() -> Array:
        s = np.matmul(q, T(k), order="C")  # ... t s
        np.multiply(s, factor, out=s)
        return np.add(s, added, out=s)

    p = scores()
    one, first = q.dtype.type(1), 0 if is_causal else p.shape[-1]
    sums = _weigh(p, one, first)

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, ...]:
        p, ds = scores(), np.matmul(g, T(v), order="C")
        _weigh_back(p, ds, one, first, sums)
        scaled = np.multiply(ds, factor)
        dq = np.matmul(scaled, k) if wanted[0] else None
        dk = np.matmul(T(scaled), q) if wanted[1] else None
        return dq, dk, np.matmul(T(p), g) if wanted[2] else None, ds if wanted[3] else None

    return np.matmul(p, v), Joint(vjp)


Sums: TypeAlias = "tuple[Array, Array]"
"""Of each query its largest score, and one over the sum: weights are computed again from them."""


def _weigh(scores: Array, factor: Scalar, first: int) -> Sums:
    """Let scores (…, t, s) become weights; query i of the t sees the keys up to ``first`` + i."""
    s = scores.reshape(-1, *scores.shape[-2:])
    top, share = empty(s, s.shape[:2]), empty(s, s.shape[:2])
    run(_attend, s, factor, first, top, share, writes=(0, 3, 4))
    return top, share


def _weigh_back(scores: Array, ds: Array, factor: Scalar, first: int, sums: Sums) -> None:
    """Let scores become weights again, and the weights' gradients those of the products q kᵀ."""
    shape = (-1, *scores.shape[-2:])
    given = scores.reshape(shape), ds.reshape(shape), factor, first, *sums
    run(_attend_back, *given, writes=(0, 1))


_BLOCK = 64
"""Queries whose keys are cut off together: what a causal row does not see is not computed."""


def _in_blocks(q: Array, k: Array, v: Array, factor: Scalar) -> OpResult:
    """Causal attention: a block of queries with the keys up to its last."""
    t, keys = q.shape[-2], k.shape[-2]
    blocks = [(start, min(start + _BLOCK, t)) for start in range(0, t, _BLOCK)]
    lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    y = empty(q, (*lead, t, v.shape[-1]))
    sums = []
    for start, stop in blocks:
        end = min(stop, keys)
        p = np.matmul(q[..., start:stop, :], T(k[..., :end, :]), order="C")
        sums.append(_weigh(p, factor, start))
        np.matmul(p, v[..., :end, :], out=y[..., start:stop, :])

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, ...]:
        dq = empty(q, (*lead, *q.shape[-2:])) if wanted[0] else None
        dk = zeros(q, (*lead, *k.shape[-2:])) if wanted[1] else None
        dv = zeros(q, (*lead, *v.shape[-2:])) if wanted[2] else None
        for (start, stop), kept in zip(blocks, sums, strict=True):
            end = min(stop, keys)
            theirs, ours = q[..., start:stop, :], g[..., start:stop, :]
            p = np.matmul(theirs, T(k[..., :end, :]), order="C")
            ds = np.matmul(ours, T(v[..., :end, :]), order="C")
            _weigh_back(p, ds, factor, start, kept)
            if dv is not None:
                dv[..., :end, :] += np.matmul(T(p), ours)
            if dq is not None:
                np.matmul(ds, k[..., :end, :], out=dq[..., start:stop, :])
            if dk is not None:
                dk[..., :end, :] += np.matmul(T(ds), theirs)
        return dq, dk, dv, None

    return y, Joint(vjp)


@kernel
def _additive(mask: Array, out: Array) -> None:
    """Booleans become what is added to scores: 0 where a key takes part."""
    none = out.dtype.type(-np.inf)
    for i in range(out.size):
        out[i] = 0 if mask[i] else none


@kernel
def _attend(s: Array, factor: Scalar, first: int, tops: Array, shares: Array) -> None:
    """Scores become weights, row by row; row i sees the keys up to ``first`` + i."""
    zero, one, none = s.dtype.type(0), s.dtype.type(1), s.dtype.type(-np.inf)
    keys = _numbers(s.shape[2])
    # Whole rows, what is not seen as -∞: they are as long as vectors like it, the seen parts not.
    for m in range(s.shape[0]):
        for i in range(s.shape[1]):
            end = np.int32(first + i + 1)
            highest = rank(none)
            for j in range(s.shape[2]):
                highest = max(highest, rank(s[m, i, j] * factor if keys[j] < end else none))
            top = unrank(highest)
            if top == none:  # it sees no key
                top = zero
            total = zero
            for j in range(s.shape[2]):
                e = exp(s[m, i, j] * factor - top if keys[j] < end else none)
                s[m, i, j] = e
                total += e
            r = one / total if total != zero else zero
            for j in range(s.shape[2]):
                s[m, i, j] *= r
            tops[m, i] = top
            shares[m, i] = r


@kernel
def _attend_back(
    s: Array, ds: Array, factor: Scalar, first: int, tops: Array, shares: Array
) -> None:
    """Scores become weights, and gradients of these those of the products q kᵀ, in place."""
    zero, none = ds.dtype.type(0), ds.dtype.type(-np.inf)
    keys = _numbers(s.shape[2])
    for m in range(s.shape[0]):
        for i in range(s.shape[1]):
            end = np.int32(first + i + 1)
            top, r = tops[m, i], shares[m, i]
            dot = zero
            for j in range(s.shape[2]):
                # Where this is no number for NaN, neither is r.
                p = exp_of_negative(s[m, i, j] * factor - top if keys[j] < end else none) * r
                s[m, i, j] = p
                dot += p * ds[m, i, j] if keys[j] < end else zero
            for j in range(s.shape[2]):
                d = s[m, i, j] * (ds[m, i, j] - dot) * factor
                ds[m, i, j] = d if keys[j] < end else zero


@kernel
def _numbers(n: int) -> Array:
    """0, 1, …: numbers that are as wide as float32 are compared as fast as these."""
    numbers = np.empty(n, np.int32)
    for j in range(n):
        numbers[j] = j
    return numbers
