"""Scaled dot-product attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import fixed
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.nn.functional.dropout import dropout
from distgrad.nn.functional.wrap import optional, wrap


def scaled_dot_product_attention(
    query: TensorLike,
    key: TensorLike,
    value: TensorLike,
    attn_mask: TensorLike | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(q kᵀ scale + mask) v over (…, t, d); scale is 1 / √d if None.

    ``attn_mask`` broadcasts to (…, t, s): it is added, or, if boolean, says which keys take part;
    a query that sees none gets zeros. ``is_causal`` lets query i see keys 0..i, of those that a
    mask allows. With ``dropout_p`` the attention weights are dropped out. ``enable_gqa`` shares
    each head of keys and values (axis -3) among consecutive heads of queries (Ainslie et al. 2023).
    Errors: ShapeError for a mask of integers and for heads that do not divide.
    """
    q, k, v, mask = wrap(query), wrap(key), wrap(value), optional(attn_mask)
    if mask is not None and mask.dtype.kind not in "bf":
        raise ShapeError(
            f"scaled_dot_product_attention: attn_mask is boolean (True takes part) or floating "
            f"point (added to the scores); got {mask.dtype}: use .astype(bool) if that is meant"
        )
    if enable_gqa:
        k, v = _repeated(q, k), _repeated(q, v)
    attention = ops.scaled_dot_product_attention
    if dropout_p == 0.0:
        result: Tensor = attention(q, k, v, mask, is_causal=is_causal, scale=scale)
        return result
    # The weights are attention to the unit vectors.
    unit = fixed(np.eye(k.shape[-2], dtype=v.dtype))
    weights = attention(q, k, unit, mask, is_causal=is_causal, scale=scale)
    product: Tensor = dropout(weights, dropout_p) @ v
    return product


def _repeated(q: Tensor, k: Tensor) -> Any:
    """Return ``k`` with each head as often as there are heads of ``q`` for it."""
    heads = k.shape[-3] if k.ndim > 2 else 0
    if q.ndim < 3 or not heads or q.shape[-3] % heads:
        raise ShapeError(
            f"enable_gqa needs heads of queries (axis -3) that are a multiple of those of keys and "
            f"values; got {q.shape} and {k.shape}"
        )
    shape = (*k.shape[:-2], q.shape[-3] // heads, *k.shape[-2:])
    return np.broadcast_to(np.expand_dims(k, -3), shape).reshape(
        (*k.shape[:-3], q.shape[-3], *k.shape[-2:])
    )
