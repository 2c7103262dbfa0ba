"""How layers make their parameters and buffers."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any, TypeAlias

import numpy as np

from distgrad.autograd.dtypes import get_default_dtype
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import DTypeLike
from distgrad.kinds import Kind
from distgrad.nn import init
from distgrad.nn.module import Module, Parameter


def _is_fractional(dtype: Any) -> bool:
    try:
        return dtype is None or np.dtype(dtype).kind in "fc"
    except TypeError:
        return False


ParameterDType: TypeAlias = Annotated[
    "DTypeLike | None", Kind("a floating-point dtype, or None", _is_fractional, (str, type))
]
"""What constructors of layers annotate ``dtype=`` with: ``made_in_dtype`` heeds it for them."""

# What ``dtype=`` of the layer that is being made says; layers inside it follow.
_asked: ContextVar[np.dtype[Any] | None] = ContextVar("dtype of new parameters", default=None)


def parameter_dtype() -> np.dtype[Any]:
    """Return the dtype of new parameters: ``dtype=`` of the layer being made, or the default."""
    return _asked.get() or get_default_dtype()


@contextmanager
def parameters_of(dtype: DTypeLike) -> Iterator[None]:
    """Make parameters of ``dtype`` inside."""
    before = _asked.set(np.dtype(dtype))
    try:
        yield
    finally:
        _asked.reset(before)


def made_in_dtype(layer: type) -> None:
    """Let the parameters of a layer, also those of layers made in it, be of its ``dtype=``."""
    construct: Any = layer.__init__  # type: ignore[misc]
    names = [*inspect.signature(construct).parameters][1:]
    if "dtype" not in names:
        return
    place = names.index("dtype")

    @functools.wraps(construct)
    def made(self: Any, *args: Any, **settings: Any) -> None:
        dtype = args[place] if len(args) > place else settings.get("dtype")
        if dtype is None:
            construct(self, *args, **settings)
            return
        with parameters_of(dtype):
            construct(self, *args, **settings)

    layer.__init__ = made  # type: ignore[misc]


def empty(*shape: int) -> Parameter:
    """Return a parameter of ``shape``, to be initialised."""
    # Not a copy: memory that no one has written is not taken yet.
    parameter = Parameter(np.zeros(0, parameter_dtype()))
    parameter.array = np.zeros(shape, parameter_dtype())
    return parameter


def constant(value: float, *shape: int) -> Parameter:
    """Return a parameter of ``shape`` filled with ``value``."""
    return Parameter(np.full(shape, value, parameter_dtype()))


def buffer(value: float, *shape: int) -> Tensor:
    """Return a buffer of ``shape`` filled with ``value``, in the parameters' dtype."""
    return Tensor(np.full(shape, value, parameter_dtype()))


def uniform_bias_(bias: Tensor, fan_in: int) -> None:
    """Draw a bias from U(-1/√fan_in, 1/√fan_in), PyTorch's default."""
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    init.uniform_(bias, -bound, bound)


def reset_affine_(module: Module) -> None:
    """Set the weight of a norm to 1 and its bias to 0, where it has them."""
    for name, p in module.named_parameters(recurse=False):
        p.array[...] = 1 if name == "weight" else 0
