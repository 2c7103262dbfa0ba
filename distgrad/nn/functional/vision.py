"""Padding of images."""

from __future__ import annotations

from collections.abc import Sequence

from distgrad import ops
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.nn.functional.wrap import wrap


def pad(x: TensorLike, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    """Zeros around the last axes: ``pad`` is (before, after) of the last axis, then the one before.

    Errors: ShapeError for other modes and values, or an odd number of widths.
    """
    x = wrap(x)
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise ShapeError(
            f"pad needs (before, after) for each of at most {x.ndim} axes, the last axis first; "
            f"got {tuple(pad)}"
        )
    last = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    width = [(0, 0)] * (x.ndim - len(last)) + last[::-1]
    result: Tensor = ops.pad(x, width, mode, value)
    return result
