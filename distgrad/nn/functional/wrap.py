"""What every functional does with its inputs: plain arrays are accepted for tensors."""

from __future__ import annotations

from typing import Any

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError


def wrap(x: Any) -> Tensor:
    """Return ``x`` as a Tensor."""
    return x if isinstance(x, Tensor) else Tensor(x)


def optional(x: Any) -> Tensor | None:
    """Return ``x`` as a Tensor, or None."""
    return None if x is None else wrap(x)


def wrap_real(name: str, x: Any) -> Tensor:
    """Return ``x`` as a Tensor. Errors: ShapeError if it is complex, with the caller's ``name``."""
    x = wrap(x)
    if x.dtype.kind == "c":
        raise ShapeError(
            f"{name} takes real numbers; got dtype {x.dtype}: take np.abs of it, or np.real and "
            f"np.imag"
        )
    return x


def same_shape(name: str, x: TensorLike, y: TensorLike) -> tuple[Tensor, Tensor]:
    """Return both as Tensors. Errors: ShapeError, with the caller's ``name``, for two shapes."""
    x, y = wrap(x), wrap(y)
    if x.shape != y.shape:
        raise ShapeError(f"{name} compares equal shapes; got {x.shape} and {y.shape}: reshape one")
    return x, y
