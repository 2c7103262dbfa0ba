"""How arguments are read: a Tensor from what was given, ``dtype=``, ``device=``, shapes."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from distgrad.autograd.device import on_cpu
from distgrad.autograd.dtypes import get_default_dtype
from distgrad.autograd.tensor import Tensor, output
from distgrad.autograd.types import Array, DTypeLike, Shape
from distgrad.autograd.unfit import array_of as nested
from distgrad.autograd.unfit import no_numbers
from distgrad.errors import DistgradError, ShapeError
from distgrad.functions.out import fill
from distgrad.ops.indexing import as_tensor
from distgrad.ops.shape import axis_numbers

# By another name: PyTorch has a function as_tensor, which takes a dtype and a device.
tensor_of = as_tensor


def cast(x: Tensor, dtype: DTypeLike | None) -> Tensor:
    """Return ``x`` as ``dtype``; itself if that is None or what it is."""
    if dtype is None or x.dtype == np.dtype(dtype):
        return x
    return x.astype(dtype)


def shape_of(sizes: tuple[Any, ...]) -> Shape:
    """Return the shape given as one sequence or as several numbers."""
    if len(sizes) == 1 and not isinstance(sizes[0], int | np.integer) and np.ndim(sizes[0]) == 1:
        sizes = tuple(sizes[0])
    return tuple([int(n) for n in sizes])


def array_of(data: Any, dtype: DTypeLike | None) -> Array:
    """Return ``data`` as an array of ``dtype``; if None, Python's numbers are of the default one.

    Arrays and NumPy's numbers keep theirs. Errors: TypeError for what holds no numbers.
    """
    if isinstance(data, Tensor):
        found = data.array
    elif isinstance(data, list | tuple) and any(isinstance(x, Tensor) for x in data):
        found = np.stack([array_of(x, None) for x in data])
    else:
        found = nested(data)
        if found.dtype.kind not in "biufc":
            raise no_numbers(data)
        if dtype is None and found.dtype in _PYTHONS and not _double_precision(data):
            wide = get_default_dtype()
            dtype = wide if found.dtype.kind == "f" else np.result_type(wide, np.complex64)
    return found if dtype is None else found.astype(dtype, copy=False)


_PYTHONS = (np.dtype(np.float64), np.dtype(np.complex128))
"""What NumPy makes of Python's numbers, which have no precision of their own."""


def _double_precision(data: Any) -> bool:
    """Whether there is a number of double precision of NumPy's in it: Python's have none."""
    if isinstance(data, np.ndarray | np.generic):
        return data.dtype in _PYTHONS
    if not isinstance(data, list | tuple) or set(map(type, data)) <= {bool, int, float, complex}:
        return False
    return any(map(_double_precision, data))


def lengths_of(sizes: tuple[Any, ...], name: str) -> Shape:
    """Return the shape of a new tensor. Errors: TypeError or ShapeError for what is no shape."""
    if len(sizes) == 1 and type(sizes[0]) is tuple:
        sizes = sizes[0]
    for n in sizes:
        if type(n) is not int or n < 0:
            break
    else:
        return sizes
    if len(sizes) == 1 and not isinstance(sizes[0], int | np.integer) and np.ndim(sizes[0]) == 1:
        sizes = tuple(sizes[0])
    for n in sizes:
        if not hasattr(n, "__index__") or np.ndim(n):
            raise TypeError(f"{name}: a shape is of whole numbers, or one sequence; got {sizes}")
    found = tuple([operator.index(n) for n in sizes])
    if any(n < 0 for n in found):
        raise ShapeError(f"{name}: lengths are ≥ 0; got {found}")
    return found


def one_axis(dim: object, ndim: int, name: str) -> int:
    """Return the axis ``dim`` counted from 0. Errors: TypeError for several or none, ShapeError."""
    if not isinstance(dim, int | np.integer) or isinstance(dim, bool):
        raise TypeError(f"{name}: dim is one axis, a whole number; got {dim!r}")
    return axis_numbers(int(dim), ndim, name)[0]


def real_numbers(x: Tensor, name: str) -> Tensor:
    """Return ``x``. Errors: DistgradError for complex numbers."""
    if x.dtype.kind == "c":
        raise DistgradError(f"{name} takes real numbers; got {x.dtype}: take its .real or .abs()")
    return x


def filled(y: Array, value: Any) -> Array:
    """Write one number to all elements of a new array, as np.full does, and return it."""
    if type(value) is float and y.dtype.kind == "f":
        y.fill(value)
    else:
        np.copyto(y, value, casting="unsafe")
    return y


def made(array: Any, requires_grad: bool, out: Tensor | None = None) -> Tensor:
    """Return a new Tensor of ``array``, or ``out`` with its elements."""
    if out is None:
        return Tensor(array, requires_grad) if requires_grad else output(array, None, 0)
    fill(out, Tensor(np.asarray(array)))
    return out.requires_grad_() if requires_grad else out


def dtype_or(dtype: DTypeLike | None, out: Tensor | None, otherwise: DTypeLike) -> np.dtype[Any]:
    """Return the dtype asked for: ``dtype``, that of ``out``, or ``otherwise``."""
    found: np.dtype[Any] = np.dtype(
        dtype if dtype is not None else otherwise if out is None else out.dtype
    )
    return found


def check_place(device: Any, layout: Any = None, pin_memory: bool = False) -> None:
    """Take what says "in this CPU's memory, dense". Errors: DistgradError for anything else."""
    on_cpu(device)
    if layout not in (None, "strided"):
        raise DistgradError(f"layout={layout}: tensors are dense and strided here; leave it out")
    if pin_memory:
        raise DistgradError("pin_memory=True: there is no GPU to copy to; leave it out")
