"""Scaled dot-product attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.apart import fixed
from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.types import Array
from distgrad.ops.helpers import aside, in_dtype, in_float32
from distgrad.ops.linalg import T


def _cases(rng: np.random.Generator) -> list[Sample]:
    def qkv(*lead: int, keys: int = 3) -> list[Any]:
        shapes = [(*lead, 3, 2), (*lead, keys, 2), (*lead, keys, 4)]
        return [rng.normal(size=s) for s in shapes]

    some = np.array([[True, False, True], [True, True, True], [False, False, False]])
    return [
        ((*qkv(2), None), {}),
        ((*qkv(2, 2), None), {"is_causal": True}),
        ((*qkv(keys=5), None), {"is_causal": True, "scale": 0.3}),
        ((*qkv(2), rng.normal(size=(3, 3))), {}),
        ((*qkv(2), some), {}),
    ]


@op("... t d, ... s d, ... s v, t s -> ... t v", samples=_cases, real=True)
@in_float32
def scaled_dot_product_attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
) -> OpResult:
    """softmax(scale q kᵀ + mask) v (Vaswani et al. 2017); scale is 1 / √d if None.

    ``mask`` broadcasts to (…, t, s) and may be None: numbers are added, booleans say which keys
    take part. A query that sees no key gets zeros. ``is_causal`` lets query i see keys 0..i.
    """
    # math.sqrt: a NumPy float64 scalar would turn float32 into float64.
    factor = 1 / math.sqrt(max(q.shape[-1], 1)) if scale is None else scale
    scores = np.matmul(q, T(k)) * factor  # ... t s
    if mask is not None:
        scores = scores + (aside(_additive, mask, q.dtype) if mask.dtype == bool else mask)
    if is_causal:
        scores = scores + fixed(_additive(np.tri(*scores.shape[-2:], dtype=bool), q.dtype))
    e = np.exp(scores - aside(_top, scores))
    total = np.add.reduce(e, axis=-1, keepdims=True)
    p = e / (total + aside(in_dtype, aside(np.equal, total, 0), q.dtype))

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, ...]:
        dp = np.matmul(g, T(v))
        ds = p * (dp - np.add.reduce(dp * p, axis=-1, keepdims=True))
        return (
            np.matmul(ds, k) * factor if wanted[0] else None,
            np.matmul(T(ds), q) * factor if wanted[1] else None,
            np.matmul(T(p), g) if wanted[2] else None,
            ds if wanted[3] else None,
        )

    return np.matmul(p, v), Joint(vjp)


def _top(scores: Array) -> Array:
    top = np.maximum.reduce(scores, axis=-1, keepdims=True, initial=-np.inf)
    return np.where(top == -np.inf, np.zeros_like(top), top)


def _additive(mask: Array, dtype: np.dtype[Any]) -> Array:
    return np.where(mask, np.asarray(0, dtype), np.asarray(-np.inf, dtype))
