"""Twin of attention: products by NumPy's BLAS, softmax and its gradient fused, in place."""

from __future__ import annotations

import math

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array, Shape
from distgrad.kernels.arrays import Scalar, empty, flat, on_forms, run, suits, zeros
from distgrad.kernels.jit import kernel
from distgrad.kernels.mathematics import exp
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
    _weigh(p, factor, first)

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, ...]:
        dv = np.matmul(T(p), g) if wanted[2] else None
        if not (wanted[0] or wanted[1]):
            return None, None, dv, None
        ds = np.matmul(g, T(v), order="C")
        _weigh_back(p, ds, factor, first)
        dq = np.matmul(ds, k) if wanted[0] else None
        dk = np.matmul(T(ds), q) if wanted[1] else None
        return dq, dk, dv, None

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
    p = np.matmul(q, T(k), order="C")  # ... t s
    np.multiply(p, factor, out=p)
    np.add(p, added, out=p)
    one, first = q.dtype.type(1), 0 if is_causal else p.shape[-1]
    _weigh(p, one, first)

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, ...]:
        dv = np.matmul(T(p), g) if wanted[2] else None
        if not (wanted[0] or wanted[1] or wanted[3]):
            return None, None, dv, None
        ds = np.matmul(g, T(v), order="C")
        _weigh_back(p, ds, one, first)
        dmask = ds if wanted[3] else None
        if not (wanted[0] or wanted[1]):
            return None, None, dv, dmask
        scaled = np.multiply(ds, factor)
        dq = np.matmul(scaled, k) if wanted[0] else None
        dk = np.matmul(T(scaled), q) if wanted[1] else None
        return dq, dk, dv, dmask

    return np.matmul(p, v), Joint(vjp)


def _weigh(scores: Array, factor: Scalar, first: int) -> None:
    """Let scores (…, t, s) become weights; query i of the t sees the keys up to ``first`` + i."""
    run(_attend, scores.reshape(-1, *scores.shape[-2:]), factor, first, writes=(0,))


def _weigh_back(p: Array, ds: Array, factor: Scalar, first: int) -> None:
    """Let gradients of the weights become those of the products q kᵀ."""
    shape = (-1, *p.shape[-2:])
    run(_attend_back, p.reshape(shape), ds.reshape(shape), factor, first, writes=(1,))


_BLOCK = 64
"""Queries whose keys are cut off together: what a causal row does not see is not computed."""


def _in_blocks(q: Array, k: Array, v: Array, factor: Scalar) -> OpResult:
    """Causal attention: a block of queries with the keys up to its last."""
    t, keys = q.shape[-2], k.shape[-2]
    blocks = [(start, min(start + _BLOCK, t)) for start in range(0, t, _BLOCK)]
    lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    y = empty(q, (*lead, t, v.shape[-1]))
    weights = []
    for start, stop in blocks:
        end = min(stop, keys)
        p = np.matmul(q[..., start:stop, :], T(k[..., :end, :]), order="C")
        _weigh(p, factor, start)
        np.matmul(p, v[..., :end, :], out=y[..., start:stop, :])
        weights.append(p)

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, ...]:
        dq = empty(q, (*lead, *q.shape[-2:])) if wanted[0] else None
        dk = zeros(q, (*lead, *k.shape[-2:])) if wanted[1] else None
        dv = zeros(q, (*lead, *v.shape[-2:])) if wanted[2] else None
        for (start, stop), p in zip(blocks, weights, strict=True):
            end = p.shape[-1]
            ours = g[..., start:stop, :]
            if dv is not None:
                dv[..., :end, :] += np.matmul(T(p), ours)
            if dq is None and dk is None:
                continue
            ds = np.matmul(ours, T(v[..., :end, :]), order="C")
            _weigh_back(p, ds, factor, start)
            if dq is not None:
                np.matmul(ds, k[..., :end, :], out=dq[..., start:stop, :])
            if dk is not None:
                dk[..., :end, :] += np.matmul(T(ds), q[..., start:stop, :])
        return dq, dk, dv, None

    return y, Joint(vjp)


@kernel
def _additive(mask: Array, out: Array) -> None:
    """Booleans become what is added to scores: 0 where a key takes part."""
    none = out.dtype.type(-np.inf)
    for i in range(out.size):
        out[i] = 0 if mask[i] else none


@kernel
def _attend(s: Array, factor: Scalar, first: int) -> None:
    """Scores become weights, row by row; row i sees the keys up to ``first`` + i."""
    zero, one = s.dtype.type(0), s.dtype.type(1)
    for m in range(s.shape[0]):
        for i in range(s.shape[1]):
            end = min(first + i + 1, s.shape[2])
            top = s[m, i, 0] * factor
            for j in range(end):
                top = max(top, s[m, i, j] * factor)
            if top == -np.inf:  # it sees no key
                top = zero
            total = zero
            for j in range(end):
                e = exp(s[m, i, j] * factor - top)
                s[m, i, j] = e
                total += e
            r = one / total if total != zero else zero
            for j in range(end):
                s[m, i, j] *= r
            for j in range(end, s.shape[2]):
                s[m, i, j] = zero


@kernel
def _attend_back(p: Array, ds: Array, factor: Scalar, first: int) -> None:
    """Gradients of the weights become those of the products q kᵀ, in place."""
    zero = ds.dtype.type(0)
    for m in range(p.shape[0]):
        for i in range(p.shape[1]):
            end = min(first + i + 1, p.shape[2])
            dot = zero
            for j in range(end):
                dot += p[m, i, j] * ds[m, i, j]
            for j in range(end):
                ds[m, i, j] = p[m, i, j] * (ds[m, i, j] - dot) * factor
            for j in range(end, p.shape[2]):
                ds[m, i, j] = zero
