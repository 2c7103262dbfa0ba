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
            for place, value in zip(out, result, strict=True):
                _fill(place, value)
        else:
            _fill(out, result)
        return out

    return call  # type: ignore[return-value]


def _fill(out: Tensor, result: Tensor) -> None:
    if out.array.size == 0 and result.array.size:  # torch.empty(0) takes any shape
        out.array = np.empty(result.shape, out.dtype)
    if out.shape != result.shape:
        raise ShapeError(f"out= has shape {out.shape}, the result {result.shape}; make it equal")
    out._become(result, "out=")
