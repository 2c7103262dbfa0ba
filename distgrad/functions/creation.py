"""New tensors: of numbers, or filled; and what they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.apart import apart, keeps_form, of_settings
from distgrad.autograd.device import Device
from distgrad.autograd.dtypes import get_default_dtype
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, DTypeLike
from distgrad.errors import DistgradError
from distgrad.functions.arguments import (
    array_of,
    check_place,
    dtype_or,
    filled,
    lengths_of,
    made,
    tensor_of,
)

__all__ = [
    "as_tensor",
    "asarray",
    "empty",
    "empty_like",
    "eye",
    "from_numpy",
    "full",
    "full_like",
    "is_complex",
    "is_floating_point",
    "is_tensor",
    "numel",
    "ones",
    "ones_like",
    "scalar_tensor",
    "tensor",
    "zeros",
    "zeros_like",
]


@apart
@keeps_form
def tensor(
    data: TensorLike,
    *,
    dtype: DTypeLike | None = None,
    device: Device = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Return a new Tensor of ``data``, a copy: numbers, nested lists, arrays, Tensors.

    Python's floats and complex numbers become the default dtype, whole numbers int64; NumPy's
    numbers and arrays keep theirs, in lists too.
    """
    check_place(device, pin_memory=pin_memory)
    return made(np.array(array_of(data, dtype)), requires_grad)


def as_tensor(data: TensorLike, dtype: DTypeLike | None = None, device: Device = None) -> Tensor:
    """Return ``data`` as a Tensor that shares its memory where it can (a Tensor is itself)."""
    check_place(device)
    if isinstance(data, Tensor):
        return data if dtype is None or data.dtype == np.dtype(dtype) else data.astype(dtype)
    return _wrapped(data, dtype)


@apart
@keeps_form
def _wrapped(data: TensorLike, dtype: DTypeLike | None) -> Tensor:
    return Tensor(array_of(data, dtype))


def asarray(
    obj: TensorLike,
    *,
    dtype: DTypeLike | None = None,
    device: Device = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return ``obj`` as a Tensor; ``copy=False`` refuses one that cannot share its memory."""
    check_place(device)
    found = as_tensor(obj, dtype)
    if copy:
        return made(np.array(found.array), requires_grad)
    given = obj.array if isinstance(obj, Tensor) else obj
    if copy is False and not (isinstance(given, np.ndarray) and found.array is given):
        raise DistgradError("asarray(copy=False): this data has to be copied; leave copy out")
    return found.requires_grad_() if requires_grad else found


def from_numpy(ndarray: Array) -> Tensor:
    """Return a Tensor that shares the memory of an array. Errors: TypeError for anything else."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(
            f"from_numpy takes a NumPy array; got {type(ndarray).__name__}: use dg.tensor"
        )
    return Tensor(ndarray)


@apart
@keeps_form
@of_settings
def scalar_tensor(
    s: float, *, dtype: DTypeLike | None = None, device: Device = None, requires_grad: bool = False
) -> Tensor:
    """Return a Tensor of one number, of the default dtype unless another is given."""
    check_place(device)
    return made(np.asarray(s, real_or_default(dtype, None)), requires_grad)


# -- filled ---------------------------------------------------------------------------------------


@apart
@keeps_form
@of_settings
def zeros(
    *sizes: Any,
    size: Any = None,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Return zeros of shape ``size`` (numbers, or one sequence)."""
    check_place(device, layout, pin_memory)
    return made(
        np.zeros(_lengths("zeros", sizes, size), real_or_default(dtype, out)), requires_grad, out
    )


@apart
@keeps_form
@of_settings
def ones(
    *sizes: Any,
    size: Any = None,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Return ones of shape ``size`` (numbers, or one sequence)."""
    check_place(device, layout, pin_memory)
    shape = _lengths("ones", sizes, size)
    return made(filled(np.empty(shape, real_or_default(dtype, out)), 1.0), requires_grad, out)


@apart
@keeps_form
def empty(
    *sizes: Any,
    size: Any = None,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    memory_format: None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Return zeros of shape ``size``: memory that nobody has written would differ between ranks."""
    return zeros(
        *sizes,
        size=size,
        dtype=dtype,
        layout=layout,
        device=device,
        requires_grad=requires_grad,
        pin_memory=pin_memory,
        out=out,
    )


@apart
@keeps_form
@of_settings
def full(
    size: Any,
    fill_value: float | complex,
    *,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Return a Tensor of shape ``size`` filled with one number, of whose kind it is."""
    check_place(device, layout, pin_memory)
    shape = lengths_of((size,), "full")
    if type(fill_value) is float:
        return made(
            filled(np.empty(shape, real_or_default(dtype, out)), fill_value), requires_grad, out
        )
    # NumPy's scalars count as Python's numbers.
    number = fill_value.item() if isinstance(fill_value, np.generic) else fill_value
    value = array_of(number, None)
    y = np.empty(shape, dtype_or(dtype, out, value.dtype))
    return made(filled(y, value), requires_grad, out)


@apart
@keeps_form
def zeros_like(
    input: TensorLike,
    *,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    memory_format: None = None,
) -> Tensor:
    """Return zeros of the shape and dtype of ``input``."""
    check_place(device, layout)
    x = tensor_of(input).array
    plain = x.flags.c_contiguous  # then memory that is zeros already will do
    zeros = np.zeros(x.shape, dtype or x.dtype) if plain else np.zeros_like(x, dtype=dtype)
    return made(zeros, requires_grad)


@apart
@keeps_form
def ones_like(
    input: TensorLike,
    *,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    memory_format: None = None,
) -> Tensor:
    """Return ones of the shape and dtype of ``input``."""
    check_place(device, layout)
    return made(filled(np.empty_like(tensor_of(input).array, dtype), 1.0), requires_grad)


@apart
@keeps_form
def empty_like(
    input: TensorLike,
    *,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    memory_format: None = None,
) -> Tensor:
    """Return zeros of the shape and dtype of ``input`` (see ``empty``)."""
    return zeros_like(input, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)


@apart
@keeps_form
def full_like(
    input: TensorLike,
    fill_value: float | complex,
    *,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    memory_format: None = None,
) -> Tensor:
    """Return a Tensor of the shape and dtype of ``input``, filled with one number."""
    check_place(device, layout)
    y = np.empty_like(tensor_of(input).array, dtype)
    return made(filled(y, fill_value), requires_grad)


@apart
@keeps_form
@of_settings
def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Return the unit matrix of ``n`` rows (and ``m`` columns)."""
    check_place(device, layout)
    rows, columns = lengths_of((n, n if m is None else m), "eye")
    y = np.zeros((rows, columns), real_or_default(dtype, out))
    y.reshape(-1)[: columns * columns : columns + 1] = 1  # the step from one place to the next
    return made(y, requires_grad, out)


def _lengths(name: str, sizes: tuple[Any, ...], size: Any) -> Any:
    return lengths_of(sizes if size is None else (size,), name)


def real_or_default(dtype: DTypeLike | None, out: Tensor | None) -> Any:
    """Return ``dtype``, that of ``out``, or the default one."""
    return dtype_or(dtype, out, get_default_dtype())


# -- what they are --------------------------------------------------------------------------------


def is_tensor(obj: object) -> bool:
    """Whether ``obj`` is a Tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input: TensorLike) -> bool:
    """Whether the dtype is one of real numbers."""
    return tensor_of(input).dtype.kind == "f"


def is_complex(input: TensorLike) -> bool:
    """Whether the dtype is one of complex numbers."""
    return tensor_of(input).dtype.kind == "c"


def numel(input: TensorLike) -> int:
    """Return the number of elements."""
    return tensor_of(input).array.size


METHODS = {"is_complex": is_complex, "is_floating_point": is_floating_point}
