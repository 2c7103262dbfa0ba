"""Twins of rms-norm and group-norm."""

from __future__ import annotations

import math

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult
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
def rms_norm(
    x: Array, weight: Array | None, *, axes: int = 1, eps: float = 1e-5
) -> OpResult | None:
    """The twin of ``ops.rms_norm``."""
    shape = x.shape[-axes:]
    if not suits(x, weight) or (weight is not None and weight.shape != shape):
        return None
    width = math.prod(shape)
    rows, form = dense(x).reshape(-1, width), x.shape
    w = ones(x, (width,)) if weight is None else flat(weight)
    y, r = empty(x, form), empty(x, rows.shape[:1])
    run(_rms_norm, rows, w, x.dtype.type(eps), y.reshape(rows.shape), r, writes=(3, 4))

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, ...]:
        d, dw = empty(rows, form), zeros(w, w.shape)
        g = dense(g).reshape(rows.shape)
        run(_rms_norm_back, g, rows, w, r, d.reshape(rows.shape), dw, writes=(4, 5))
        return d, dw.reshape(shape)

    return y, Joint(vjp)


@kernel
def _rms_norm(x: Array, w: Array, eps: Scalar, y: Array, r: Array) -> None:
    one, n = x.dtype.type(1), x.dtype.type(x.shape[1])
    for i in range(x.shape[0]):
        square = x.dtype.type(0)
        for j in range(x.shape[1]):
            square += x[i, j] * x[i, j]
        s = one / np.sqrt(square / n + eps)
        for j in range(x.shape[1]):
            y[i, j] = x[i, j] * s * w[j]
        r[i] = s


@kernel
def _rms_norm_back(g: Array, x: Array, w: Array, r: Array, d: Array, dw: Array) -> None:
    n = x.dtype.type(x.shape[1])
    for i in range(x.shape[0]):
        s, dot = r[i], x.dtype.type(0)
        for j in range(x.shape[1]):
            dot += g[i, j] * w[j] * x[i, j]
            dw[j] += g[i, j] * x[i, j] * s
        dot = dot / n * s * s
        for j in range(x.shape[1]):
            d[i, j] = (g[i, j] * w[j] - x[i, j] * dot) * s


@on_forms
def group_norm(
    x: Array, weight: Array | None, bias: Array | None, *, groups: int, eps: float = 1e-5
) -> OpResult | None:
    """The twin of ``ops.group_norm``."""
    shape = x.shape[1:2]
    if not suits(x, weight, bias) or any(
        p is not None and p.shape != shape for p in (weight, bias)
    ):
        return None
    form = x.shape
    n, c = form[:2]
    w = ones(x, shape) if weight is None else flat(weight)
    b = zeros(x, shape) if bias is None else flat(bias)
    if x.ndim > 2 and lies_last(x):
        if type(x) is not np.ndarray:
            return None
        return channels_last.group_norm(x, w, b, groups, eps)
    planes = dense(x).reshape(n * groups, c // groups, -1)  # a group of a sample, channel, place
    y, mean, r = empty(x, form), empty(x, planes.shape[:1]), empty(x, planes.shape[:1])
    run(
        _group_norm,
        planes,
        w,
        b,
        x.dtype.type(eps),
        y.reshape(planes.shape),
        mean,
        r,
        writes=(4, 5, 6),
    )

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, ...]:
        d, dw, db = empty(planes, form), zeros(w, w.shape), zeros(w, w.shape)
        g = dense(g).reshape(planes.shape)
        run(
            _group_norm_back,
            g,
            planes,
            w,
            mean,
            r,
            d.reshape(planes.shape),
            dw,
            db,
            writes=(5, 6, 7),
        )
        return d, dw, db

    return y, Joint(vjp)


@kernel
def _group_norm(x: Array, w: Array, b: Array, eps: Scalar, y: Array, mean: Array, r: Array) -> None:
    # Channels are summed in their own dtype, their sums in float64.
    zero = x.dtype.type(0)
    members, places = x.shape[1], x.shape[2]
    groups, count = w.size // members, members * places
    for i in range(x.shape[0]):
        whole = 0.0
        for c in range(members):
            part = zero
            for k in range(places):
                part += x[i, c, k]
            whole += part
        m = x.dtype.type(whole / count)
        whole = 0.0
        for c in range(members):
            part = zero
            for k in range(places):
                part += (x[i, c, k] - m) * (x[i, c, k] - m)
            whole += part
        s = x.dtype.type(1) / np.sqrt(x.dtype.type(whole / count) + eps)
        first = i % groups * members
        for c in range(members):
            scale, shift = s * w[first + c], b[first + c]
            for k in range(places):
                y[i, c, k] = (x[i, c, k] - m) * scale + shift
        mean[i] = m
        r[i] = s


@kernel
def _group_norm_back(
    g: Array, x: Array, w: Array, mean: Array, r: Array, d: Array, dw: Array, db: Array
) -> None:
    zero = x.dtype.type(0)
    members, places = x.shape[1], x.shape[2]
    groups, count = w.size // members, members * places
    for i in range(x.shape[0]):
        m, s, first = mean[i], r[i], i % groups * members
        sum_g = sum_gx = 0.0
        for c in range(members):
            part_g = part_gx = zero
            for k in range(places):
                part_g += g[i, c, k]
                part_gx += g[i, c, k] * (x[i, c, k] - m)
            part_gx *= s
            db[first + c] += part_g
            dw[first + c] += part_gx
            sum_g += part_g * w[first + c]
            sum_gx += part_gx * w[first + c]
        mean_g = x.dtype.type(sum_g / count)
        slope = x.dtype.type(sum_gx / count) * s
        for c in range(members):
            scale = w[first + c]
            for k in range(places):
                d[i, c, k] = (g[i, c, k] * scale - mean_g - (x[i, c, k] - m) * slope) * s
