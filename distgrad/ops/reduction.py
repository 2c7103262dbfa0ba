"""What ``reduction=`` means in every loss: the mean, the sum, or the losses as they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.types import Array, DTypeLike
from distgrad.errors import ShapeError
from distgrad.ops.helpers import fractional, mean_count


def check_reduction(reduction: str) -> None:
    """Raise ShapeError for a reduction that is none."""
    if reduction not in {"mean", "sum", "none"}:
        raise ShapeError(f"reduction is 'mean', 'sum' or 'none'; got {reduction!r}")


def share(count: int | np.intp | Array, dtype: DTypeLike) -> Array:
    """Return 1 / ``count``, of losses or the weight of them all; of none as in ``mean_count``."""
    return np.asarray(1 / mean_count(count), fractional(dtype))


def scale_of(loss: Array, reduction: str) -> Array:
    """Return what the sum of ``loss`` is multiplied by: its ``share`` for the mean, else 1."""
    return share(loss.size if reduction == "mean" else 1, loss.dtype)


def reduced(loss: Array, reduction: str, scale: Array, shape: tuple[int, ...] | None = None) -> Any:
    """Return the sum of the losses, times ``scale`` for the mean; for "none" all, in ``shape``.

    Errors: ShapeError for a reduction that is none.
    """
    check_reduction(reduction)
    if reduction == "none":
        return loss if shape is None else np.reshape(loss, shape)
    total = np.add.reduce(loss, axis=tuple(range(loss.ndim)))
    return total * scale if reduction == "mean" else total
