"""Multi-head attention over given weights (Vaswani et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from distgrad.autograd.apart import apart, fixed, keeps_form
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, DTypeLike
from distgrad.errors import ShapeError
from distgrad.nn.functional.activation import softmax
from distgrad.nn.functional.attention import scaled_dot_product_attention
from distgrad.nn.functional.dropout import dropout
from distgrad.nn.functional.linear import linear
from distgrad.nn.functional.wrap import optional, wrap


class Heads(NamedTuple):
    """The weights of an attention, and its settings; one in_proj, or one each for q, k and v."""

    embed_dim: int
    num_heads: int
    in_proj_weight: Any
    projections: tuple[Any, Any, Any]
    in_proj_bias: Any
    bias_k: Any
    bias_v: Any
    add_zero_attn: bool
    dropout: float
    out_weight: Any
    out_bias: Any


def multi_head_attention_forward(
    query: TensorLike,
    key: TensorLike,
    value: TensorLike,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: TensorLike | None,
    in_proj_bias: TensorLike | None,
    bias_k: TensorLike | None,
    bias_v: TensorLike | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: TensorLike,
    out_proj_bias: TensorLike | None,
    training: bool = True,
    key_padding_mask: TensorLike | None = None,
    need_weights: bool = True,
    attn_mask: TensorLike | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: TensorLike | None = None,
    k_proj_weight: TensorLike | None = None,
    v_proj_weight: TensorLike | None = None,
    static_k: TensorLike | None = None,
    static_v: TensorLike | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """``nn.MultiheadAttention`` of (t, b, e), (s, b, …) and (s, b, …) with weights that are given.

    Errors: ShapeError for shapes that do not fit, and for ``static_k`` and ``static_v``.
    """
    name = "multi_head_attention_forward"
    if static_k is not None or static_v is not None:
        raise ShapeError(f"{name}: static_k and static_v are not there; project them yourself")
    if embed_dim_to_check % num_heads:
        raise ShapeError(f"{name}: num_heads={num_heads} must divide {embed_dim_to_check}")
    separate: Any = (q_proj_weight, k_proj_weight, v_proj_weight)
    whole = None if use_separate_proj_weight else in_proj_weight
    if whole is None and any(w is None for w in separate):
        raise ShapeError(f"{name} needs in_proj_weight, or three weights for q, k and v")
    heads = Heads(
        embed_dim_to_check,
        num_heads,
        optional(whole),
        tuple(map(optional, separate)),  # type: ignore[arg-type]
        optional(in_proj_bias),
        optional(bias_k),
        optional(bias_v),
        add_zero_attn,
        dropout_p if training else 0.0,
        wrap(out_proj_weight),
        optional(out_proj_bias),
    )
    q, k, v = checked(name, query, key, value, widths(heads), False)
    masks = key_padding_mask, attn_mask, is_causal
    return attend(heads, q, k, v, *masks, need_weights, average_attn_weights, False)


def widths(heads: Heads) -> tuple[int, int, int]:
    """The features of queries, keys and values."""
    if heads.in_proj_weight is not None:
        return (heads.embed_dim,) * 3
    q, k, v = (w.shape[-1] for w in heads.projections)
    return q, k, v


def checked(
    name: str,
    query: TensorLike,
    key: TensorLike,
    value: TensorLike,
    sizes: tuple[int, int, int],
    batch_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the three as Tensors. Errors: ShapeError for shapes that do not fit."""
    # The same tensor stays the same object: self-attention needs one product.
    q = wrap(query)
    k = q if key is query else wrap(key)
    v = k if value is key else wrap(value)
    fits = q.ndim in {2, 3} and q.ndim == k.ndim == v.ndim and k.shape[:-1] == v.shape[:-1]
    if fits and q.ndim == 3:
        batch = 0 if batch_first else 1
        fits = q.shape[batch] == k.shape[batch]
    if not fits or (q.shape[-1], k.shape[-1], v.shape[-1]) != sizes:
        axes = ("b, t", "b, s") if batch_first else ("t, b", "s, b")
        raise ShapeError(
            f"{name} expects query ({axes[0]}, {sizes[0]}), key ({axes[1]}, {sizes[1]}) and value "
            f"({axes[1]}, {sizes[2]}), or all without b; got {q.shape}, {k.shape} and {v.shape}"
        )
    return q, k, v


def attend(
    heads: Heads,
    q: Any,
    k: Any,
    v: Any,
    key_padding_mask: TensorLike | None,
    attn_mask: TensorLike | None,
    is_causal: bool,
    need_weights: bool,
    average_attn_weights: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor | None]:
    """Project, attend, and project back; return what was found, and the weights."""
    batched = q.ndim == 3
    qkv = [_batch_first(x, batched, batch_first) for x in _projected(heads, q, k, v)]
    (b, t, _), s = qkv[0].shape, qkv[1].shape[1]
    dtype = qkv[0].dtype
    mask: Any = _mask(key_padding_mask, attn_mask, (b, heads.num_heads, t, s), batched, dtype)
    added = [_added(heads, b, row, dtype) for row in (heads.bias_k, heads.bias_v)]
    if extra := len(added[0]):
        qkv[1:] = [np.concatenate([x, *a], axis=1) for x, a in zip(qkv[1:], added, strict=True)]
        if is_causal:
            causal = _causal(t, s, dtype)
            mask, is_causal = causal if mask is None else mask + causal, False
        if mask is not None:
            mask = np.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(0, extra)])
    q, k, v = (_split(heads, x) for x in qkv)
    weights = None
    if need_weights:
        weights = dropout(_weights(q, k, mask, is_causal), heads.dropout)
        found = weights @ v  # b heads t d
        weights = weights.mean(axis=1) if average_attn_weights else weights
    else:
        found = scaled_dot_product_attention(q, k, v, mask, heads.dropout, is_causal)
    joined = found.swapaxes(1, 2).reshape(b, t, heads.embed_dim)
    y = linear(joined, heads.out_weight, heads.out_bias)
    if not batched:
        return y[0], None if weights is None else weights[0]
    return (y if batch_first else y.swapaxes(0, 1)), weights


def _projected(heads: Heads, q: Tensor, k: Tensor, v: Tensor) -> list[Any]:
    """Apply in_proj: the weights of q, k and v stand in one matrix if their sizes allow."""
    whole, bias = heads.in_proj_weight, heads.in_proj_bias
    if whole is not None and q is k and k is v:
        return np.split(linear(q, whole, bias), 3, axis=-1)
    weights: Any = heads.projections if whole is None else np.split(whole, 3)
    biases: Any = [None] * 3 if bias is None else np.split(bias, 3)
    return [linear(x, w, b) for x, w, b in zip((q, k, v), weights, biases, strict=True)]


def _batch_first(x: Tensor, batched: bool, batch_first: bool) -> Any:
    if not batched:
        return np.expand_dims(x, 0)
    return x if batch_first else np.swapaxes(x, 0, 1)


def _added(heads: Heads, b: int, row: Tensor | None, dtype: DTypeLike) -> list[Any]:
    """The keys (or values) that follow each sequence's own: (b, 1, e) each."""
    shape = (b, 1, heads.embed_dim)
    rows: list[Any] = [] if row is None else [np.broadcast_to(row, shape)]
    return [*rows, fixed(np.zeros(shape, dtype))] if heads.add_zero_attn else rows


def _split(heads: Heads, x: Tensor) -> Any:
    b, t, e = x.shape
    split = np.reshape(x, (b, t, heads.num_heads, e // heads.num_heads))
    return np.swapaxes(split, 1, 2)  # b heads t d


def _mask(
    padding: TensorLike | None,
    attention: TensorLike | None,
    sizes: tuple[int, int, int, int],
    batched: bool,
    dtype: DTypeLike,
) -> Tensor | None:
    """Return the sum of both masks, which broadcasts to (b, heads, t, s), or None."""
    b, heads, t, s = sizes
    masks = []
    if attention is not None:
        mask = _additive("attn_mask", attention, [(t, s), (b * heads, t, s)], dtype)
        masks.append(mask if mask.ndim == 2 else mask.reshape(b, heads, t, s))
    if padding is not None:
        mask = _additive("key_padding_mask", padding, [(b, s) if batched else (s,)], dtype)
        masks.append(mask.reshape(b, 1, 1, s))
    return sum(masks[1:], masks[0]) if masks else None


def _additive(
    name: str, mask: TensorLike, allowed: Sequence[tuple[int, ...]], dtype: DTypeLike
) -> Tensor:
    """Return what is added to the scores: -inf where a boolean mask is True."""
    mask = wrap(mask)
    if mask.shape not in allowed:
        raise ShapeError(
            f"MultiheadAttention: {name} has shape {mask.shape}, expected "
            f"{' or '.join(map(str, allowed))}"
        )
    if mask.dtype == bool:
        return _hidden(mask, dtype)
    if mask.dtype.kind != "f":
        raise ShapeError(
            f"MultiheadAttention: {name} is boolean (True: not seen) or floating point (added to "
            f"the scores); got {mask.dtype}"
        )
    return mask if mask.dtype == dtype else mask.astype(dtype)


@apart
@keeps_form
def _hidden(mask: Tensor, dtype: DTypeLike) -> Tensor:
    return Tensor(np.where(mask.array, np.asarray(-np.inf, dtype), np.asarray(0, dtype)))


@apart
@keeps_form
def _causal(t: int, s: int, dtype: DTypeLike) -> Tensor:
    return _additive("", ~np.tri(t, s, dtype=bool), [(t, s)], dtype)


def _weights(q: Tensor, k: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
    """softmax(q kᵀ / √d + mask), and zeros for a query that sees no key."""
    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.swapaxes(-1, -2)
    if is_causal:
        causal = _causal(q.shape[-2], k.shape[-2], q.dtype)
        mask = causal if mask is None else mask + causal
    if mask is None:
        return softmax(scores, -1)
    sees = _seeing(mask)
    chosen: Any = np.where(sees, scores + mask, 0)
    weights: Tensor = softmax(chosen, -1) * sees
    return weights


@apart
@keeps_form
def _seeing(mask: Tensor) -> Array:
    sees: Array = np.max(mask.array, axis=-1, keepdims=True, initial=-np.inf) > -np.inf
    return sees
