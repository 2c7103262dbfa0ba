"""Multi-head attention: names, weights and masks are PyTorch's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import DTypeLike
from distgrad.errors import ShapeError
from distgrad.nn import functional as F
from distgrad.nn import init
from distgrad.nn.functional.wrap import wrap
from distgrad.nn.linear import Linear
from distgrad.nn.make import empty
from distgrad.nn.module import Module


class MultiheadAttention(Module):
    """Attention in ``num_heads`` parts of the features, joined by ``out_proj`` (Vaswani 2017).

    ``add_bias_kv`` adds a learned key and value to each sequence, ``add_zero_attn`` one of zeros.
    ``kdim`` and ``vdim`` are the features of keys and values, ``embed_dim`` if None. Errors:
    ShapeError if ``num_heads`` does not divide ``embed_dim``.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
    ) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ShapeError(
                f"MultiheadAttention: num_heads={num_heads} must divide embed_dim={embed_dim}"
            )
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.in_proj_weight = self.q_proj_weight = self.k_proj_weight = self.v_proj_weight = None
        self.in_proj_bias = self.bias_k = self.bias_v = None
        # PyTorch draws out_proj first.
        out_proj = Linear(embed_dim, embed_dim, bias)
        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight = init.xavier_uniform_(empty(3 * embed_dim, embed_dim))
        else:
            self.q_proj_weight = init.xavier_uniform_(empty(embed_dim, embed_dim))
            self.k_proj_weight = init.xavier_uniform_(empty(embed_dim, self.kdim))
            self.v_proj_weight = init.xavier_uniform_(empty(embed_dim, self.vdim))
        if out_proj.bias is not None:
            self.in_proj_bias = empty(3 * embed_dim)
            init.zeros_(out_proj.bias)
        if add_bias_kv:
            self.bias_k = init.xavier_normal_(empty(1, 1, embed_dim))
            self.bias_v = init.xavier_normal_(empty(1, 1, embed_dim))
        self.out_proj = out_proj

    def forward(
        self,
        query: TensorLike,
        key: TensorLike,
        value: TensorLike,
        key_padding_mask: TensorLike | None = None,
        need_weights: bool = True,
        attn_mask: TensorLike | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return what the queries (t, b, e) find in keys and values (s, b, …), and the weights.

        Axes are (b, t, e) with ``batch_first``; b may be left out. ``key_padding_mask`` (b, s) and
        ``attn_mask`` (t, s) or (b x heads, t, s) are added to the scores or, if boolean, True for
        keys that are NOT seen. ``is_causal`` lets query i see keys 0..i, and needs no mask. A query
        that sees no key finds zeros. The weights are (b, t, s), or (b, heads, t, s) unless
        averaged; without ``need_weights`` they are None, and a faster way is taken.
        Errors: ShapeError.
        """
        q, k, v = self._checked(query, key, value)
        batched = q.ndim == 3
        qkv = [self._batch_first(x, batched) for x in self._projected(q, k, v)]
        (b, t, _), s = qkv[0].shape, qkv[1].shape[1]
        mask: Any = self._mask(key_padding_mask, attn_mask, (b, t, s), batched, qkv[0].dtype)
        added = [self._added(b, row, qkv[0].dtype) for row in (self.bias_k, self.bias_v)]
        if extra := len(added[0]):
            qkv[1:] = [np.concatenate([x, *a], axis=1) for x, a in zip(qkv[1:], added, strict=True)]
            if is_causal:
                causal = _causal(t, s, qkv[0].dtype)
                mask, is_causal = causal if mask is None else mask + causal, False
            if mask is not None:
                mask = np.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(0, extra)])
        q, k, v = (self._heads(x) for x in qkv)
        p = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            weights = F.dropout(_weights(q, k, mask, is_causal), p)
            found = weights @ v  # b heads t d
            weights = weights.mean(axis=1) if average_attn_weights else weights
        else:
            found = F.scaled_dot_product_attention(q, k, v, mask, p, is_causal)
        y = self.out_proj(found.swapaxes(1, 2).reshape(b, t, self.embed_dim))
        if not batched:
            return y[0], None if weights is None else weights[0]
        return (y if self.batch_first else y.swapaxes(0, 1)), weights

    def _checked(
        self, query: TensorLike, key: TensorLike, value: TensorLike
    ) -> tuple[Tensor, Tensor, Tensor]:
        # The same tensor stays the same object: self-attention needs one product.
        q = wrap(query)
        k = q if key is query else wrap(key)
        v = k if value is key else wrap(value)
        fits = q.ndim in {2, 3} and q.ndim == k.ndim == v.ndim and k.shape[:-1] == v.shape[:-1]
        if fits and q.ndim == 3:
            batch = 0 if self.batch_first else 1
            fits = q.shape[batch] == k.shape[batch]
        sizes = (self.embed_dim, self.kdim, self.vdim)
        if not fits or (q.shape[-1], k.shape[-1], v.shape[-1]) != sizes:
            axes = ("b, t", "b, s") if self.batch_first else ("t, b", "s, b")
            raise ShapeError(
                f"MultiheadAttention expects query ({axes[0]}, {sizes[0]}), key ({axes[1]}, "
                f"{sizes[1]}) and value ({axes[1]}, {sizes[2]}), or all without b; got {q.shape}, "
                f"{k.shape} and {v.shape}"
            )
        return q, k, v

    def _projected(self, q: Tensor, k: Tensor, v: Tensor) -> list[Any]:
        """Apply in_proj: the weights of q, k and v stand in one matrix if their sizes allow."""
        whole, bias = self.in_proj_weight, self.in_proj_bias
        if whole is not None and q is k and k is v:
            return np.split(F.linear(q, whole, bias), 3, axis=-1)
        weights: Any = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        weights = weights if whole is None else np.split(whole, 3)
        biases: Any = [None] * 3 if bias is None else np.split(bias, 3)
        return [F.linear(x, w, b) for x, w, b in zip((q, k, v), weights, biases, strict=True)]

    def _batch_first(self, x: Tensor, batched: bool) -> Any:
        if not batched:
            return np.expand_dims(x, 0)
        return x if self.batch_first else np.swapaxes(x, 0, 1)

    def _added(self, b: int, row: Tensor | None, dtype: DTypeLike) -> list[Any]:
        """The keys (or values) that follow each sequence's own: (b, 1, e) each."""
        shape = (b, 1, self.embed_dim)
        rows: list[Any] = [] if row is None else [np.broadcast_to(row, shape)]
        return [*rows, np.zeros(shape, dtype)] if self.add_zero_attn else rows

    def _heads(self, x: Tensor) -> Any:
        b, t, _ = x.shape
        split = np.reshape(x, (b, t, self.num_heads, self.head_dim))
        return np.swapaxes(split, 1, 2)  # b heads t d

    def _mask(
        self,
        padding: TensorLike | None,
        attention: TensorLike | None,
        sizes: tuple[int, int, int],
        batched: bool,
        dtype: DTypeLike,
    ) -> Tensor | None:
        """Return the sum of both masks, which broadcasts to (b, heads, t, s), or None."""
        b, t, s = sizes
        masks = []
        if attention is not None:
            each = (b * self.num_heads, t, s)
            mask = _additive("attn_mask", attention, [(t, s), each], dtype)
            masks.append(mask if mask.ndim == 2 else mask.reshape(b, self.num_heads, t, s))
        if padding is not None:
            mask = _additive("key_padding_mask", padding, [(b, s) if batched else (s,)], dtype)
            masks.append(mask.reshape(b, 1, 1, s))
        return sum(masks[1:], masks[0]) if masks else None

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.embed_dim}, {self.num_heads}, dropout={self.dropout}"


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
        return Tensor(np.where(mask.array, np.asarray(-np.inf, dtype), np.asarray(0, dtype)))
    if mask.dtype.kind != "f":
        raise ShapeError(
            f"MultiheadAttention: {name} is boolean (True: not seen) or floating point (added to "
            f"the scores); got {mask.dtype}"
        )
    return mask if mask.dtype == dtype else mask.astype(dtype)


def _causal(t: int, s: int, dtype: DTypeLike) -> Tensor:
    return _additive("", ~np.tri(t, s, dtype=bool), [(t, s)], dtype)


def _weights(q: Tensor, k: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
    """softmax(q kᵀ / √d + mask), and zeros for a query that sees no key."""
    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.swapaxes(-1, -2)
    if is_causal:
        causal = _causal(q.shape[-2], k.shape[-2], q.dtype)
        mask = causal if mask is None else mask + causal
    if mask is None:
        return F.softmax(scores, -1)
    sees = np.max(mask.array, axis=-1, keepdims=True, initial=-np.inf) > -np.inf
    chosen: Any = np.where(sees, scores + mask, 0)
    weights: Tensor = F.softmax(chosen, -1) * sees
    return weights
