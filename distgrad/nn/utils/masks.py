"""Masks of zeros and ones: which elements or channels have the lowest scores."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.nn import init


def array(t: Any) -> Array:
    """Return the array of a Tensor, or of what can be one."""
    return t.array if isinstance(t, Tensor) else np.asarray(t)


def restricted(method: Any, t: Array, mask: Array) -> Array:
    """Return the mask that ``method`` makes of what ``mask`` has left, within it."""
    left: Any = ...
    if method.PRUNING_TYPE == "unstructured":
        left = mask == 1
    elif method.PRUNING_TYPE == "structured":
        dim: int = method.dim  # what "structured" says it has
        channels = channels_of(t, dim)
        kept = np.moveaxis(mask, dim, 0).reshape(channels, -1).any(axis=1)
        left = (slice(None),) * (dim % t.ndim) + (kept,)
    elif method.PRUNING_TYPE != "global":
        raise ShapeError(
            f"{type(method).__name__}: PRUNING_TYPE={method.PRUNING_TYPE!r} must be unstructured, "
            f"structured or global"
        )
    if mask.all() and method.PRUNING_TYPE == "unstructured":
        left = ...  # in its own shape, where there is no mask yet
    new = mask.copy()
    new[left] = array(method.compute_mask(Tensor(t[left]), Tensor(mask[left].copy())))
    return new


def without_lowest(scores: Array, amount: Any, mask: Array) -> Array:
    """Return ``mask`` with zeros at the ``amount`` lowest scores."""
    size = scores.size
    count = int(amount) if isinstance(amount, Integral) else round(amount * size)
    if count > size:
        raise ShapeError(f"prune: amount={amount} is more than the {size} there are")
    new = mask.copy().reshape(-1)
    new[np.argsort(scores.reshape(-1), kind="stable")[:count]] = 0
    return new.reshape(mask.shape)


def random(shape: int | tuple[int, ...]) -> Array:
    """Return random scores, the same on every rank."""
    scores = Tensor(np.zeros(shape))
    init.uniform_(scores)
    return scores.array


def channels_of(t: Array, dim: int) -> int:
    """Return the number of channels along ``dim``. Errors: ShapeError."""
    if t.ndim < 2 or not -t.ndim <= dim < t.ndim:
        raise ShapeError(f"prune: a tensor of shape {t.shape} has no channels along dim={dim}")
    return int(t.shape[dim])


def along(keep: Array, t: Array, dim: int) -> Array:
    """Return one number a channel, spread over the shape of ``t``."""
    shape = [1] * t.ndim
    shape[dim] = -1
    return np.broadcast_to(keep.reshape(shape), t.shape).astype(t.dtype)


def checked(amount: Any) -> Any:
    """Return an amount to be pruned, if it is one. Errors: TypeError, ShapeError."""
    if not isinstance(amount, Real):
        raise TypeError(f"prune: amount is a number; got a {type(amount).__name__}")
    top = np.inf if isinstance(amount, Integral) else 1
    if not 0 <= float(amount) <= top:
        raise ShapeError(
            f"prune: amount={amount} must be a whole number of 0 or more, or a part in [0, 1]"
        )
    return amount
