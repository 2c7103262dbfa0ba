"""Twins of layer-norm and batch-norm."""

from __future__ import annotations

import math

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult, OpResults
from distgrad.autograd.types import Array
from distgrad.kernels import channels_last
from distgrad.kernels.arrays import (
    Scalar,
    dense,
    empty,
    flat,
    lies_last,
    on_forms,
    ones,
    run,
    suits,
    zeros,
)
from distgrad.kernels.jit import kernel


@on_forms
def layer_norm(
    x: Array, weight: Array | None, bias: Array | None, *, axes: int = 1, eps: float = 1e-5
) -> OpResult | None:
    """The twin of ``ops.layer_norm``."""
    shape = x.shape[-axes:]
    if not suits(x, weight, bias) or any(
        p is not None and p.shape != shape for p in (weight, bias)
    ):
        return None
    width = math.prod(shape)
    rows = dense(x).reshape(-1, width)
    w = ones(x, (width,)) if weight is None else flat(weight)
    b = zeros(x, (width,)) if bias is None else flat(bias)
    form, y = x.shape, empty(x, rows.shape)
    mean, r = empty(x, rows.shape[:1]), empty(x, rows.shape[:1])
    run(_layer_norm, rows, w, b, x.dtype.type(eps), y, mean, r, writes=(4, 5, 6))

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, ...]:
        d, dw, db = empty(rows, rows.shape), zeros(w, w.shape), zeros(w, w.shape)
        g = dense(g).reshape(rows.shape)
        run(_layer_norm_back, g, rows, w, mean, r, d, dw, db, writes=(5, 6, 7))
        return d.reshape(form), dw.reshape(shape), db.reshape(shape)

    return y.reshape(form), Joint(vjp)


@kernel
def _layer_norm(x: Array, w: Array, b: Array, eps: Scalar, y: Array, mean: Array, r: Array) -> None:
    zero, one, n = x.dtype.type(0), x.dtype.type(1), x.dtype.type(x.shape[1])
    for i in range(x.shape[0]):
        total = zero
        for j in range(x.shape[1]):
            total += x[i, j]
        m = total / n
        square = zero
        for j in range(x.shape[1]):
            square += (x[i, j] - m) * (x[i, j] - m)
        s = one / np.sqrt(square / n + eps)
        for j in range(x.shape[1]):
            y[i, j] = (x[i, j] - m) * s * w[j] + b[j]
        mean[i] = m
        r[i] = s


@kernel
def _layer_norm_back(
    g: Array, x: Array, w: Array, mean: Array, r: Array, d: Array, dw: Array, db: Array
) -> None:
    zero, n = x.dtype.type(0), x.dtype.type(x.shape[1])
    for i in range(x.shape[0]):
        m, s = mean[i], r[i]
        sum_g = sum_gx = zero
        for j in range(x.shape[1]):
            xh = (x[i, j] - m) * s
            gw = g[i, j] * w[j]
            sum_g += gw
            sum_gx += gw * xh
            dw[j] += g[i, j] * xh
            db[j] += g[i, j]
        sum_g /= n
        sum_gx /= n
        for j in range(x.shape[1]):
            d[i, j] = (g[i, j] * w[j] - sum_g - (x[i, j] - m) * s * sum_gx) * s


def batch_norm(
    x: Array, weight: Array | None, bias: Array | None, *, eps: float = 1e-5
) -> OpResults | None:
    """The twin of ``ops.batch_norm``; gradients to the statistics are left to the reference."""
    shape = x.shape[1:2]
    if not suits(x, weight, bias) or any(
        p is not None and p.shape != shape for p in (weight, bias)
    ):
        return None
    w = np.ones(shape, x.dtype) if weight is None else flat(weight)
    b = np.zeros(shape, x.dtype) if bias is None else flat(bias)
    if lies_last(x) or 1 < len(x) == x.size // x.shape[1]:  # rows: their channels lie last
        return channels_last.batch_norm(x, w, b, eps)
    form, planes = x.shape, dense(x).reshape(x.shape[0], x.shape[1], -1)
    y, mean, var = np.empty_like(planes), np.empty(shape, x.dtype), np.empty(shape, x.dtype)
    _statistics(planes, mean, var)
    r = 1 / np.sqrt(var + x.dtype.type(eps))
    _affine(planes, mean, r * w, b, y)

    def vjp(
        wanted: tuple[bool, ...], g: Array | None, g_mean: Array | None, g_var: Array | None
    ) -> tuple[Array | None, ...]:
        d, dw, db = np.zeros_like(planes), np.zeros_like(mean), np.zeros_like(mean)
        n = planes.size // len(mean)
        if g is not None:
            _batch_norm_back(dense(g).reshape(planes.shape), planes, w, mean, r, d, dw, db)
        if g_mean is not None:
            d += (g_mean / n)[:, None]
        if g_var is not None:
            d += (planes - mean[:, None]) * (g_var * (2 / n))[:, None]
        return d.reshape(form), dw, db

    return (y.reshape(form), mean, var), Joint(vjp)


@kernel
def _statistics(x: Array, mean: Array, var: Array) -> None:
    # A plane is summed in its own dtype, planes in float64: large batches lose nothing.
    count = x.shape[0] * x.shape[2]
    for c in range(x.shape[1]):
        total = 0.0
        for n in range(x.shape[0]):
            part = x.dtype.type(0)
            for k in range(x.shape[2]):
                part += x[n, c, k]
            total += part
        m = x.dtype.type(total / count)
        total = 0.0
        for n in range(x.shape[0]):
            part = x.dtype.type(0)
            for k in range(x.shape[2]):
                part += (x[n, c, k] - m) * (x[n, c, k] - m)
            total += part
        mean[c] = m
        var[c] = total / count


@kernel
def _affine(x: Array, mean: Array, scale: Array, shift: Array, y: Array) -> None:
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            m, s, b = mean[c], scale[c], shift[c]
            for k in range(x.shape[2]):
                y[n, c, k] = (x[n, c, k] - m) * s + b


@kernel
def _batch_norm_back(
    g: Array, x: Array, w: Array, mean: Array, r: Array, d: Array, dw: Array, db: Array
) -> None:
    count = x.shape[0] * x.shape[2]
    for c in range(x.shape[1]):
        m, s = mean[c], r[c]
        sum_g = sum_gx = 0.0
        for n in range(x.shape[0]):
            part_g = part_gx = x.dtype.type(0)
            for k in range(x.shape[2]):
                part_g += g[n, c, k]
                part_gx += g[n, c, k] * (x[n, c, k] - m)
            sum_g += part_g
            sum_gx += part_gx
        db[c] = sum_g
        dw[c] = sum_gx * s
        mean_g = x.dtype.type(sum_g / count)
        slope = x.dtype.type(sum_gx / count * s * s)
        scale = w[c] * s
        for n in range(x.shape[0]):
            for k in range(x.shape[2]):
                d[n, c, k] = (g[n, c, k] - mean_g - (x[n, c, k] - m) * slope) * scale
