"""Embeddings of bags of tokens: rows of a table added up, averaged, or the largest of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import keeps_form
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.autograd.whole import whole
from distgrad.errors import ShapeError
from distgrad.nn.functional.sparse import padding_row, refuse_settings
from distgrad.nn.functional.wrap import optional, wrap
from distgrad.ops.helpers import integers


@whole
@keeps_form
def embedding_bag(
    input: TensorLike,
    weight: TensorLike,
    offsets: TensorLike | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: TensorLike | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """The sum, mean or maximum of each bag's rows of ``weight`` (v, d): (bags, d).

    Bags are the rows of integers (bags, length), or the parts of (n) that begin at ``offsets``
    (with ``include_last_offset`` these end with n). ``per_sample_weights`` scale the rows of a
    sum. Row ``padding_idx`` takes no part; an empty bag is zeros. With ``sparse`` gradients are
    dense all the same. Errors: ShapeError for what does not fit, and as ``embedding``.
    """
    table, tokens = wrap(weight), integers(input, "embedding_bag: indices")
    refuse_settings("embedding_bag", max_norm, scale_grad_by_freq)
    if mode not in {"sum", "mean", "max"}:
        raise ShapeError(f"embedding_bag: mode is 'sum', 'mean' or 'max'; got {mode!r}")
    scale: Any = optional(per_sample_weights)
    if scale is not None and (mode != "sum" or scale.shape != tokens.shape):
        raise ShapeError(
            f"embedding_bag: per_sample_weights are for mode='sum', of the shape of the indices, "
            f"{tokens.shape}; got mode={mode!r} and {scale.shape}"
        )
    ends = _ends(tokens, offsets, include_last_offset)
    row = None if padding_idx is None else padding_row(padding_idx, table.shape[0], "embedding_bag")
    flat = tokens.reshape(-1)[: ends[-1] if len(ends) else 0]
    scale = None if scale is None else scale.reshape(-1)
    if row is not None and (flat == row).any():
        kept = flat != row
        flat, ends = flat[kept], np.append(0, np.cumsum(kept))[ends]
        scale = None if scale is None else scale[kept]
    count = np.diff(ends, prepend=0)
    if not len(flat) or (mode != "max" and scale is None):
        total: Any = ops.bag_sum(table, flat, ends=ends)
        if mode == "mean":
            total = total / np.maximum(count, 1).astype(table.dtype)[:, None]
        return wrap(total)
    steps = np.arange(int(count.max(initial=0)))
    held = steps < count[:, None]  # bags longest
    where = np.where(held, (ends - count)[:, None] + steps, 0)
    rows = ops.embedding(np.where(held, flat[where], 0), table)
    return _joined(mode, rows, held, None if scale is None else scale[where])


def _ends(tokens: Array, offsets: TensorLike | None, include_last: bool) -> Array:
    """Return where in all ``tokens``, row after row, each bag ends."""
    if tokens.ndim == 2:
        if offsets is not None:
            raise ShapeError(
                "embedding_bag: the bags are the rows of indices (bags, length); leave out offsets"
            )
        return np.asarray(np.arange(1, len(tokens) + 1) * tokens.shape[1])
    if tokens.ndim != 1:
        raise ShapeError(
            f"embedding_bag takes indices (bags, length), or (n) and offsets; got {tokens.shape}"
        )
    if offsets is None:
        raise ShapeError("embedding_bag: indices (n) need offsets, where each bag begins")
    starts = integers(offsets, "embedding_bag: offsets")
    n = len(tokens)
    if starts.ndim != 1 or (include_last and len(starts) < 1):
        raise ShapeError(
            f"embedding_bag: offsets are numbers (bags), with include_last_offset one more; got "
            f"{starts.shape}"
        )
    ends = np.append(starts[1:], [] if include_last else [n]).astype(np.intp)
    starts = starts[: len(ends)].astype(np.intp)
    if len(starts) and (starts[0] != 0 or np.any(ends < starts) or ends[-1] > n):
        raise ShapeError(
            f"embedding_bag: offsets begin with 0, never fall, and are at most the {n} indices; "
            f"got {[*starts.tolist(), *ends[-1:].tolist()]}"
        )
    return ends


def _joined(mode: str, rows: Any, held: Array, scale: Any) -> Tensor:
    """Return the largest of rows (bags, longest, d) where ``held``, or sums times ``scale``."""
    mask = held[..., None]
    zero = np.asarray(0, rows.dtype)
    if mode == "max":
        kept: Any = np.where(mask, rows, np.asarray(-np.inf, rows.dtype))
        some: Any = held.any(axis=1, keepdims=True)
        return wrap(np.where(some, np.max(kept, axis=1), zero))
    rows = rows * np.expand_dims(scale, -1)
    return wrap(np.sum(rows if held.all() else np.where(mask, rows, zero), axis=1))
