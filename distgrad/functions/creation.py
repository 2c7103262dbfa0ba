"""New tensors: of numbers, filled, counted up; and what they are."""

from __future__ import annotations

import math
from typing import Any, SupportsIndex

import numpy as np

from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.device import Device
from distgrad.autograd.dtypes import get_default_dtype
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, DTypeLike
from distgrad.errors import DistgradError, ShapeError
from distgrad.functions.arguments import (
    array_of,
    check_place,
    dtype_or,
    lengths_of,
    made,
    tensor_of,
)
from distgrad.functions.out import with_out

__all__ = [
    "arange",
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
    "linspace",
    "logspace",
    "numel",
    "ones",
    "ones_like",
    "range",
    "scalar_tensor",
    "tensor",
    "zeros",
    "zeros_like",
]


@apart
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
def scalar_tensor(
    s: float, *, dtype: DTypeLike | None = None, device: Device = None, requires_grad: bool = False
) -> Tensor:
    """Return a Tensor of one number, of the default dtype unless another is given."""
    check_place(device)
    return made(np.asarray(s, _real(dtype, None)), requires_grad)


# -- filled ---------------------------------------------------------------------------------------


@apart
@keeps_form
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
    return made(np.zeros(_lengths("zeros", sizes, size), _real(dtype, out)), requires_grad, out)


@apart
@keeps_form
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
    return made(np.ones(_lengths("ones", sizes, size), _real(dtype, out)), requires_grad, out)


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
    number = fill_value.item() if isinstance(fill_value, np.generic) else fill_value
    value = array_of(number, None)  # NumPy's scalars count as Python's numbers
    filled = np.full(lengths_of((size,), "full"), value, dtype_or(dtype, out, value.dtype))
    return made(filled, requires_grad, out)


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
    return made(np.zeros_like(tensor_of(input).array, dtype=dtype), requires_grad)


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
    return made(np.ones_like(tensor_of(input).array, dtype=dtype), requires_grad)


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
    return made(np.full_like(tensor_of(input).array, fill_value, dtype=dtype), requires_grad)


@apart
@keeps_form
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
    return made(np.eye(rows, columns, dtype=_real(dtype, out)), requires_grad, out)


def _lengths(name: str, sizes: tuple[Any, ...], size: Any) -> Any:
    return lengths_of(sizes if size is None else (size,), name)


# -- counted up -----------------------------------------------------------------------------------


@apart
@keeps_form
def arange(
    start: float | None = None,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Return ``start``, ``start + step``, … below ``end`` (from 0 if one number is given).

    int64 if all are whole numbers, the default dtype otherwise.
    """
    check_place(device, layout, pin_memory)
    if start is None and end is None:
        raise TypeError("arange takes an end, or a start and an end")
    given = (0, start) if end is None else (0 if start is None else start, end)
    first, last, step = (_number("arange", x) for x in (*given, step))
    if step == 0:
        raise ShapeError("arange: the step is not 0")
    whole = all(isinstance(x, SupportsIndex) for x in (first, last, step))
    kind = dtype_or(dtype, out, np.int64 if whole else get_default_dtype())
    return made(np.arange(first, last, step).astype(kind), requires_grad, out)


@with_out
@apart
@keeps_form
def range(  # deprecated in PyTorch, and still typed
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: DTypeLike | None = None,
    device: Device = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return ``start``, ``start + step``, … up to and with ``end``, of the default dtype."""
    check_place(device)
    first, last = (0, start) if end is None else (start, end)
    if step == 0:
        raise ShapeError("range: the step is not 0")
    count = max(math.floor((last - first) / step) + 1, 0)
    return made((first + step * np.arange(count)).astype(_real(dtype, None)), requires_grad)


@apart
@keeps_form
def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Return ``steps`` numbers evenly from ``start`` to ``end``, both included."""
    check_place(device, layout)
    first, last, count, kind = _ends("linspace", start, end, steps, dtype, out)
    return made(np.linspace(first, last, count, dtype=kind), requires_grad, out)


@apart
@keeps_form
def logspace(
    start: float,
    end: float,
    steps: int,
    base: float = 10.0,
    *,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Return ``base`` to the powers of ``linspace(start, end, steps)``."""
    check_place(device, layout)
    first, last, count, kind = _ends("logspace", start, end, steps, dtype, out)
    powers = np.logspace(first, last, count, base=base)
    return made(powers.astype(kind), requires_grad, out)


def _ends(
    name: str, start: Any, end: Any, steps: Any, dtype: DTypeLike | None, out: Tensor | None
) -> tuple[Any, Any, int, np.dtype[Any]]:
    first, last = _number(name, start), _number(name, end)
    count = int(_number(name, steps))
    if count < 0:
        raise ShapeError(f"{name}: there are 0 steps or more; got {count}")
    kind = array_of((first + last) * 1.0, None).dtype  # of real or of complex numbers
    return first, last, count, dtype_or(dtype, out, kind)


def _number(name: str, x: Any) -> Any:
    if not isinstance(x, Tensor | np.ndarray | np.generic):
        return x
    if np.ndim(x):
        raise ShapeError(f"{name} takes numbers and tensors of no axis; got shape {x.shape}")
    return x.item()


def _real(dtype: DTypeLike | None, out: Tensor | None) -> Any:
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
