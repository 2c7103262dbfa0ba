"""Scaled dot-product attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.nn.functional.dropout import dropout
from distgrad.nn.functional.wrap import optional, wrap


def scaled_dot_product_attention(
    q: TensorLike,
    k: TensorLike,
    v: TensorLike,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """softmax(q kᵀ scale + mask) v over (…, t, d); scale is 1 / √d if None.

    ``attn_mask`` is added, or, if boolean, says which keys take part. With ``dropout_p`` the
    attention weights are dropped out.
    """
    q, k, v, mask = wrap(q), wrap(k), wrap(v), optional(attn_mask)
    attention = ops.scaled_dot_product_attention
    if dropout_p == 0.0:
        result: Tensor = attention(q, k, v, mask, is_causal=is_causal, scale=scale)
        return result
    # The weights are attention to the unit vectors.
    unit = np.eye(k.shape[-2], dtype=v.dtype)
    weights = attention(q, k, unit, mask, is_causal=is_causal, scale=scale)
    product: Tensor = dropout(weights, dropout_p) @ v
    return product
