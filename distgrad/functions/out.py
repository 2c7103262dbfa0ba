"""``out=``: the tensor that takes a result. On the tape it stands for the result from then on."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.errors import ShapeError

F = TypeVar("F", bound=Callable[..., Any])


def with_out(function: F) -> F:
    """Let ``function`` take ``out=``: a Tensor of the result's shape, or an empty one.

    Of several results it is a tuple. The function returns it. ``axis`` and ``keepdims`` are
    understood as ``dim`` and ``keepdim``, as PyTorch does. Errors: ShapeError.
    """
    taken = inspect.signature(function).parameters
    names = {a: d for a, d in (("axis", "dim"), ("keepdims", "keepdim")) if d in taken}

    @functools.wraps(function)
    def call(*args: Any, out: Any = None, **settings: Any) -> Any:
        if out is None and not settings:
            return function(*args)
        if names:
            settings = {names.get(name, name): value for name, value in settings.items()}
        result = function(*args, **settings)
        if out is None:
            return result
        if isinstance(result, tuple):
            if not isinstance(out, tuple | list) or len(out) != len(result):
                raise TypeError(f"out= is a tuple of {len(result)} Tensors; got {out!r}")
            for place, value in zip(out, result, strict=True):
                fill(place, value)
            return type(result)(*out) if hasattr(result, "_fields") else tuple(out)
        fill(out, result)
        return out

    return call  # type: ignore[return-value]


def fill(out: Tensor, result: Tensor) -> None:
    """Write ``result`` to ``out``. Errors: TypeError, ShapeError for one that it does not fit."""
    if not isinstance(out, Tensor):
        raise TypeError(f"out= is a Tensor, a tuple of them for several results; got {out!r}")
    if not np.can_cast(result.dtype, out.dtype, "same_kind"):
        raise TypeError(f"out= holds {out.dtype}, the result is {result.dtype}; make it equal")
    if out.array.size == 0 and out.shape != result.shape:  # torch.empty(0) takes any shape
        out.array = np.empty(result.shape, out.dtype)
    if out.shape != result.shape:
        raise ShapeError(f"out= has shape {out.shape}, the result {result.shape}; make it equal")
    out._become(result, "out=")
