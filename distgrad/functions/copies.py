"""Copies, and the functions that write in place: names of PyTorch for methods of Tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.device import Device, on_cpu
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import DTypeLike
from distgrad.errors import ShapeError
from distgrad.functions.arguments import tensor_of
from distgrad.functions.creation import full_like
from distgrad.functions.promotion import apply

# NumPy's arrays have a fill that writes in place.
METHODS: dict[str, Any] = {}
__all__ = [
    "clone",
    "detach",
    "detach_",
    "detach_copy",
    "fill",
    "fill_",
    "from_dlpack",
    "frombuffer",
    "get_device",
    "is_inference",
    "is_signed",
    "zero_",
]


def clone(input: TensorLike, *, memory_format: Any = None) -> Tensor:
    """A copy on the tape."""
    return tensor_of(input).clone()


def detach(input: TensorLike) -> Tensor:
    """A tensor of the same memory that stands outside the tape."""
    return tensor_of(input).detach()


def detach_copy(input: TensorLike) -> Tensor:
    """A copy that stands outside the tape."""
    return Tensor(np.array(tensor_of(input).array))


def from_dlpack(ext_tensor: Any, *, device: Device = None, copy: bool | None = None) -> Tensor:
    """A Tensor that shares the memory of another library's: PyTorch's, JAX's."""
    on_cpu(device)
    array = np.from_dlpack(ext_tensor)
    if copy is False or (copy is None and array.flags.writeable):
        return Tensor(array)
    return Tensor(np.array(array))  # NumPy before 2.2 makes it read-only


def frombuffer(
    buffer: Any, *, dtype: DTypeLike, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A row of the numbers in a buffer (bytes, an array.array, a mapped file), whose memory it is.

    ``offset`` is in bytes. Errors: ShapeError for a buffer that does not hold them.
    """
    try:
        found = np.frombuffer(buffer, dtype, count, offset)
    except ValueError as error:
        raise ShapeError(f"frombuffer: {error}") from error
    return Tensor(found, requires_grad)


def fill(input: TensorLike, value: TensorLike) -> Tensor:
    """One number, or a 0-d Tensor, for all elements of ``input``, in its dtype."""
    x = tensor_of(input)
    if isinstance(value, float | int) and x.array.dtype.kind == "f":
        return full_like(x, value)
    if np.ndim(value):
        raise ShapeError(f"fill takes one number; got shape {np.shape(value)}")
    return apply(np.broadcast_to, tensor_of(value).to(x.dtype), x.shape).clone()


def detach_(input: Tensor) -> Tensor:
    """Take ``input`` off the tape."""
    return input.detach_()


def fill_(input: Tensor, value: TensorLike) -> Tensor:
    """Write one number to all elements of ``input``."""
    return input.fill_(value)


def zero_(input: Tensor) -> Tensor:
    """Write zeros to all elements of ``input``."""
    return input.zero_()


def get_device(input: TensorLike) -> int:
    """Return -1: the CPU has no number."""
    return -1


def is_inference(input: TensorLike) -> bool:
    """Return False: every tensor may be used under gradients."""
    return False


def is_signed(input: TensorLike) -> bool:
    """Whether the dtype has negative numbers."""
    return tensor_of(input).is_signed()
