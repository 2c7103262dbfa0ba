"""New tensors: of numbers, filled, counted up; and what they are."""

from __future__ import annotations

import math
from typing import Any, SupportsIndex

import numpy as np

from distgrad.autograd.device import Device
from distgrad.autograd.dtypes import get_default_dtype
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, DTypeLike
from distgrad.errors import DistgradError
from distgrad.functions.arguments import check_place, made, shape_of, tensor_of

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
    return made(np.array(_array(data, dtype)), requires_grad)


def as_tensor(data: TensorLike, dtype: DTypeLike | None = None, device: Device = None) -> Tensor:
    """Return ``data`` as a Tensor that shares its memory where it can (a Tensor is itself)."""
    check_place(device)
    if isinstance(data, Tensor):
        return data if dtype is None or data.dtype == np.dtype(dtype) else data.astype(dtype)
    return Tensor(_array(data, dtype))


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


def scalar_tensor(
    s: float, *, dtype: DTypeLike | None = None, device: Device = None, requires_grad: bool = False
) -> Tensor:
    """Return a Tensor of one number, of the default dtype unless another is given."""
    check_place(device)
    return made(np.asarray(s, _real(dtype)), requires_grad)


def _array(data: Any, dtype: DTypeLike | None) -> Array:
    if isinstance(data, Tensor):
        found = data.array
    elif isinstance(data, list | tuple) and any(isinstance(x, Tensor) for x in data):
        found = np.stack([_array(x, None) for x in data])
    else:
        found = np.asarray(data)
        if dtype is None and found.dtype in _DOUBLE and not _double_precision(data):
            dtype = get_default_dtype()
            dtype = np.result_type(dtype, np.complex64) if found.dtype.kind == "c" else dtype
    return found if dtype is None else found.astype(dtype, copy=False)


_DOUBLE = (np.dtype(np.float64), np.dtype(np.complex128))


def _double_precision(data: Any) -> bool:
    """Whether data has a number of double precision of NumPy's: Python's have none of their own."""
    if isinstance(data, np.ndarray | np.generic):
        return data.dtype in _DOUBLE
    if not isinstance(data, list | tuple) or set(map(type, data)) <= {bool, int, float, complex}:
        return False
    return any(map(_double_precision, data))


# -- filled ---------------------------------------------------------------------------------------


def zeros(
    *sizes: Any,
    size: Any = None,
    dtype: DTypeLike | None = None,
    layout: None = None,
    device: Device = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    out: None = None,
) -> Tensor:
    """Return zeros of shape ``size`` (numbers, or one sequence)."""
    check_place(device, layout, pin_memory, out)
    return made(np.zeros(_lengths(sizes, size), _real(dtype)), requires_grad)


def ones(
    *sizes: Any,
    size: Any = None,
    dtype: DTypeLike | None = None,
    layout: None = None,
    device: Device = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    out: None = None,
) -> Tensor:
    """Return ones of shape ``size`` (numbers, or one sequence)."""
    check_place(device, layout, pin_memory, out)
    return made(np.ones(_lengths(sizes, size), _real(dtype)), requires_grad)


def empty(
    *sizes: Any,
    size: Any = None,
    dtype: DTypeLike | None = None,
    layout: None = None,
    device: Device = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    memory_format: None = None,
    out: None = None,
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


def full(
    size: Any,
    fill_value: float | complex,
    *,
    dtype: DTypeLike | None = None,
    layout: None = None,
    device: Device = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    out: None = None,
) -> Tensor:
    """Return a Tensor of shape ``size`` filled with one number, of whose kind it is."""
    check_place(device, layout, pin_memory, out)
    given: Any = fill_value  # complex numbers too
    value = tensor_of(given).array
    return made(np.full(shape_of((size,)), value, dtype or value.dtype), requires_grad)


def zeros_like(
    input: TensorLike,
    *,
    dtype: DTypeLike | None = None,
    layout: None = None,
    device: Device = None,
    requires_grad: bool = False,
    memory_format: None = None,
) -> Tensor:
    """Return zeros of the shape and dtype of ``input``."""
    check_place(device, layout)
    return made(np.zeros_like(tensor_of(input).array, dtype=dtype), requires_grad)


def ones_like(
    input: TensorLike,
    *,
    dtype: DTypeLike | None = None,
    layout: None = None,
    device: Device = None,
    requires_grad: bool = False,
    memory_format: None = None,
) -> Tensor:
    """Return ones of the shape and dtype of ``input``."""
    check_place(device, layout)
    return made(np.ones_like(tensor_of(input).array, dtype=dtype), requires_grad)


def empty_like(
    input: TensorLike,
    *,
    dtype: DTypeLike | None = None,
    layout: None = None,
    device: Device = None,
    requires_grad: bool = False,
    memory_format: None = None,
) -> Tensor:
    """Return zeros of the shape and dtype of ``input`` (see ``empty``)."""
    return zeros_like(input, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)


def full_like(
    input: TensorLike,
    fill_value: float | complex,
    *,
    dtype: DTypeLike | None = None,
    layout: None = None,
    device: Device = None,
    requires_grad: bool = False,
    memory_format: None = None,
) -> Tensor:
    """Return a Tensor of the shape and dtype of ``input``, filled with one number."""
    check_place(device, layout)
    return made(np.full_like(tensor_of(input).array, fill_value, dtype=dtype), requires_grad)


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: DTypeLike | None = None,
    layout: None = None,
    device: Device = None,
    requires_grad: bool = False,
    out: None = None,
) -> Tensor:
    """Return the unit matrix of ``n`` rows (and ``m`` columns)."""
    check_place(device, layout, out=out)
    return made(np.eye(n, m, dtype=_real(dtype)), requires_grad)


def _lengths(sizes: tuple[Any, ...], size: Any) -> Any:
    return shape_of(sizes if size is None else (size,))


# -- counted up -----------------------------------------------------------------------------------


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: DTypeLike | None = None,
    layout: None = None,
    device: Device = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    out: None = None,
) -> Tensor:
    """Return ``start``, ``start + step``, … below ``end`` (from 0 if one number is given).

    int64 if all are whole numbers, the default dtype otherwise.
    """
    check_place(device, layout, pin_memory, out)
    first, last = (0, start) if end is None else (start, end)
    first, last, step = (_number(x) for x in (first, last, step))
    if dtype is None:
        whole = all(isinstance(x, SupportsIndex) for x in (first, last, step))
        dtype = np.int64 if whole else get_default_dtype()
    return made(np.arange(first, last, step).astype(dtype), requires_grad)


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
    count = math.floor((last - first) / step) + 1
    return made((first + step * np.arange(count)).astype(_real(dtype)), requires_grad)


def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: DTypeLike | None = None,
    layout: None = None,
    device: Device = None,
    requires_grad: bool = False,
    out: None = None,
) -> Tensor:
    """Return ``steps`` numbers evenly from ``start`` to ``end``, both included."""
    check_place(device, layout, out=out)
    ends = _number(start), _number(end)
    return made(np.linspace(*ends, int(_number(steps)), dtype=_real(dtype)), requires_grad)


def logspace(
    start: float,
    end: float,
    steps: int,
    base: float = 10.0,
    *,
    dtype: DTypeLike | None = None,
    layout: None = None,
    device: Device = None,
    requires_grad: bool = False,
    out: None = None,
) -> Tensor:
    """Return ``base`` to the powers of ``linspace(start, end, steps)``."""
    check_place(device, layout, out=out)
    ends = _number(start), _number(end)
    powers = np.logspace(*ends, int(_number(steps)), base=base)
    return made(powers.astype(_real(dtype)), requires_grad)


def _number(x: Any) -> Any:
    return x.item() if isinstance(x, Tensor | np.ndarray | np.generic) else x


def _real(dtype: DTypeLike | None) -> Any:
    return get_default_dtype() if dtype is None else dtype


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
