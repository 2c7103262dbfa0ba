"""What the functionals over images share: the batch axis may be missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.nn.functional.wrap import wrap

AXES = {1: "l", 2: "h, w", 3: "d, h, w"}


def batched(name: str, axes: int, x: TensorLike, call: Callable[[Tensor], Any]) -> Any:
    """Return ``call(x)``, through a batch of one where ``x`` has none. Errors: ShapeError."""
    x = wrap(x)
    if x.ndim == axes + 2:
        return call(x)
    if x.ndim != axes + 1:
        raise ShapeError(
            f"{name} takes (n, c, {AXES[axes]}) or (c, {AXES[axes]}); got a shape of {x.shape}"
        )
    result = call(x.reshape((1, *x.shape)))
    if isinstance(result, tuple):
        return tuple(y.reshape(y.shape[1:]) for y in result)
    return result.reshape(result.shape[1:])
