"""Gradient clipping, against explosion (Pascanu et al. 2013)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from distgrad.autograd.tensor import Array, Tensor
from distgrad.errors import NonFiniteError, ShapeError

# Below the size at which BLAS would thread a dot product: the order of the sum, and so the bits,
# depend on the parameter's size alone, not on buckets, ranks or threads.
_BLOCK = 8192


def clip_grad_norm_(
    params: Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> float:
    """Scale the gradients in place so that their joint norm is at most ``max_norm``.

    Returns the norm before clipping. ``norm_type`` is 2 or infinity. A norm that is not finite
    leaves NaNs in the gradients (as in PyTorch) or raises NonFiniteError if asked to.
    """
    grads = _gradients(params)
    norm = total_norm(grads, norm_type)
    if error_if_nonfinite and not math.isfinite(norm):
        raise NonFiniteError(
            f"the gradient norm is {norm}; lower the learning rate or look for the first "
            f"non-finite value, or pass error_if_nonfinite=False"
        )
    # Without a limit nothing is scaled: infinity / infinity would be a NaN.
    scale = max_norm / (norm + 1e-6) if max_norm < math.inf else 1.0
    if not scale >= 1.0:
        with np.errstate(invalid="ignore"):  # an infinite gradient times 0 is the promised NaN
            for g in grads:
                np.multiply(g, scale, out=g)
    return norm


def clip_grad_value_(params: Iterable[Tensor], clip_value: float) -> None:
    """Limit every gradient element to [-clip_value, clip_value], in place."""
    for g in _gradients(params):
        np.clip(g, -clip_value, clip_value, out=g)


def total_norm(grads: Iterable[Array], norm_type: float = 2.0) -> float:
    """Return the joint norm, summed over fixed-size blocks (design §4), in double precision."""
    if norm_type == math.inf:
        # np.max keeps a NaN wherever it stands; Python's max does not.
        return float(np.max([0.0, *(float(np.max(np.abs(g))) for g in grads if g.size)]))
    if norm_type != 2.0:
        raise ShapeError(f"norm_type must be 2 or infinity; got {norm_type}")
    with np.errstate(over="ignore", invalid="ignore"):  # the norm itself tells
        return math.sqrt(sum(_squares(g) for g in grads))


def _squares(g: Array) -> float:
    flat = np.ascontiguousarray(g).reshape(-1)  # BLAS sums strided elements in another order
    total = 0.0
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        squares = float(np.dot(block, block))
        if not math.isfinite(squares):  # the squares may overflow float32 where the norm does not
            wide = block.astype(np.float64)
            squares = float(np.dot(wide, wide))
        total += squares
    return total


def _gradients(params: Iterable[Tensor]) -> list[Array]:
    params = [params] if isinstance(params, Tensor) else params
    return [p.grad.data for p in params if p.grad is not None]
