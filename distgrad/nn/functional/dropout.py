"""Dropout: masks keyed by seed, step, shard and call."""

from __future__ import annotations

import numpy as np

from distgrad import ops
from distgrad.autograd.random import generator
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.nn.functional.wrap import wrap


def dropout(x: TensorLike, p: float = 0.5, training: bool = True) -> Tensor:
    """Zero elements with probability ``p`` and scale the rest by 1 / (1 - p), in training.

    The mask depends on seed, step, shard and call, not on the rank (Srivastava et al. 2014).
    """
    if not 0 <= p <= 1:
        raise ShapeError(f"dropout: p is a probability, from 0 to 1; got {p}")
    x = wrap(x)
    if not training or p == 0:
        return x
    keep = generator().random(x.shape, dtype=np.float32) >= p
    result: Tensor = ops.dropout(x, keep, p=p)
    return result
