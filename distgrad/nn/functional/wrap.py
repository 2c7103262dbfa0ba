"""What every functional does with its inputs: plain arrays are accepted for tensors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from numbers import Integral
from typing import Any, ParamSpec

import numpy as np

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError

P = ParamSpec("P")


def wrap(x: TensorLike) -> Tensor:
    """Return ``x`` as a Tensor."""
    return x if isinstance(x, Tensor) else Tensor(x)


def optional(x: TensorLike | None) -> Tensor | None:
    """Return ``x`` as a Tensor, or None."""
    return None if x is None else wrap(x)


def wrap_real(name: str, x: TensorLike) -> Tensor:
    """Return ``x`` as a Tensor. Errors: ShapeError if it is complex, with the caller's ``name``."""
    tensor = wrap(x)
    if tensor.dtype.kind == "c":
        raise ShapeError(
            f"{name} takes real numbers; got dtype {tensor.dtype}: take np.abs of it, or np.real "
            f"and np.imag"
        )
    return tensor


def lengths_of(name: str, output_size: Any) -> tuple[int, ...]:
    """Return an ``output_size`` as whole numbers. Errors: ShapeError with the ``name``."""
    several = isinstance(output_size, tuple | list) or np.ndim(output_size) == 1
    if not several or not all(isinstance(n, Integral) for n in output_size):
        got = f"shape {output_size.shape}" if hasattr(output_size, "shape") else repr(output_size)
        raise ShapeError(f"{name}: output_size is whole numbers, one for each axis; got {got}")
    return tuple(map(int, output_size))


def in_float32(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Let a function of float16 Tensors compute in float32: 256² overflows. The result is float16.

    Its inputs are the arguments, by position or by name, that are Tensors or arrays.
    """

    @functools.wraps(function)
    def widened(*args: P.args, **settings: P.kwargs) -> Tensor:
        given = [*args, *settings.values()]
        if not any(map(_is_half, given)):
            return function(*args, **settings)
        wide = {name: _widened(a) for name, a in settings.items()}
        result: Any = function(*map(_widened, args), **wide)
        mixed = any(getattr(a, "dtype", None) in (np.float32, np.float64) for a in given)
        narrow: Tensor = result if mixed else result.astype(np.float16)
        return narrow

    return widened


def _is_half(x: Any) -> bool:
    return isinstance(x, Tensor | np.ndarray) and x.dtype == np.float16


def _widened(x: Any) -> Any:
    return wrap(x).astype(np.float32) if _is_half(x) else x


def same_shape(name: str, x: TensorLike, y: TensorLike) -> tuple[Tensor, Tensor]:
    """Return both as Tensors. Errors: ShapeError, with the caller's ``name``, for two shapes."""
    x, y = wrap(x), wrap(y)
    if x.shape != y.shape:
        raise ShapeError(f"{name} compares equal shapes; got {x.shape} and {y.shape}: reshape one")
    return x, y


def stand_for(name: str, input: TensorLike, result: Tensor) -> Tensor:
    """Let ``input`` stand for ``result`` from here on, as PyTorch's operations in place do.

    What is no Tensor is left alone. Errors: GradError for a leaf that requires gradients.
    """
    if not isinstance(input, Tensor):
        return result
    # A slice or a reshaped tensor stands for its new value too; its base is left as it was.
    return input._become(result, name, views=True)
