"""Twin of attention: products by NumPy's BLAS, softmax and its gradient fused, in place."""

from __future__ import annotations

import math

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array
from distgrad.kernels.arrays import Scalar, suits
from distgrad.kernels.jit import kernel
from distgrad.kernels.mathematics import exp
from distgrad.ops.linalg import T


def scaled_dot_product_attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
) -> OpResult | None:
    """The twin of ``ops.scaled_dot_product_attention`` without a mask array."""
    if mask is not None or not suits(q, k, v) or min(q.ndim, k.ndim, v.ndim) < 2:
        return None
    factor = q.dtype.type(1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    t, keys = q.shape[-2], k.shape[-2]
    if is_causal and keys > _BLOCK:
        return _in_blocks(q, k, v, factor)
    # In C order whatever the inputs' is: the kernels work on a view of it.
    p = np.matmul(q, T(k), order="C")  # ... t s
    matrices = (-1, t, keys)
    _attend(p.reshape(matrices), factor, 0 if is_causal else keys)

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, ...]:
        dv = np.matmul(T(p), g) if wanted[2] else None
        if not (wanted[0] or wanted[1]):
            return None, None, dv, None
        ds = np.matmul(g, T(v), order="C")
        _attend_back(p.reshape(matrices), ds.reshape(matrices), factor, 0 if is_causal else keys)
        dq = np.matmul(ds, k) if wanted[0] else None
        dk = np.matmul(T(ds), q) if wanted[1] else None
        return dq, dk, dv, None

    return np.matmul(p, v), Joint(vjp)


_BLOCK = 64
"""Queries whose keys are cut off together: what a causal row does not see is not computed."""


def _in_blocks(q: Array, k: Array, v: Array, factor: Scalar) -> OpResult:
    """Causal attention: a block of queries with the keys up to its last."""
    t, keys = q.shape[-2], k.shape[-2]
    blocks = [(start, min(start + _BLOCK, t)) for start in range(0, t, _BLOCK)]
    lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    y = np.empty((*lead, t, v.shape[-1]), q.dtype)
    weights = []
    for start, stop in blocks:
        end = min(stop, keys)
        p = np.matmul(q[..., start:stop, :], T(k[..., :end, :]), order="C")
        _attend(p.reshape(-1, stop - start, end), factor, start)
        np.matmul(p, v[..., :end, :], out=y[..., start:stop, :])
        weights.append(p)

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, ...]:
        dq = np.empty((*lead, *q.shape[-2:]), q.dtype) if wanted[0] else None
        dk = np.zeros((*lead, *k.shape[-2:]), q.dtype) if wanted[1] else None
        dv = np.zeros((*lead, *v.shape[-2:]), q.dtype) if wanted[2] else None
        for (start, stop), p in zip(blocks, weights, strict=True):
            end = p.shape[-1]
            ours = g[..., start:stop, :]
            if dv is not None:
                dv[..., :end, :] += np.matmul(T(p), ours)
            if dq is None and dk is None:
                continue
            ds = np.matmul(ours, T(v[..., :end, :]), order="C")
            flat = (-1, stop - start, end)
            _attend_back(p.reshape(flat), ds.reshape(flat), factor, start)
            if dq is not None:
                np.matmul(ds, k[..., :end, :], out=dq[..., start:stop, :])
            if dk is not None:
                dk[..., :end, :] += np.matmul(T(ds), q[..., start:stop, :])
        return dq, dk, dv, None

    return y, Joint(vjp)


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
            total = zero
            for j in range(end):
                e = exp(s[m, i, j] * factor - top)
                s[m, i, j] = e
                total += e
            r = one / total
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
