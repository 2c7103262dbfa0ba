"""PyTorch's names of dtypes, and the one that real numbers without one get (float32)."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.types import DTypeLike
from distgrad.errors import DistgradError

float16 = half = np.dtype(np.float16)
float32 = float_ = np.dtype(np.float32)
float64 = double = np.dtype(np.float64)
complex64 = cfloat = np.dtype(np.complex64)
complex128 = cdouble = np.dtype(np.complex128)
uint8 = np.dtype(np.uint8)
uint16 = np.dtype(np.uint16)
uint32 = np.dtype(np.uint32)
uint64 = np.dtype(np.uint64)
int8 = np.dtype(np.int8)
int16 = short = np.dtype(np.int16)
int32 = int_ = np.dtype(np.int32)
int64 = long = np.dtype(np.int64)
bool_ = np.dtype(np.bool_)

# One for the process, as in PyTorch: simulated ranks run the same statements.
_default: np.dtype[Any] = np.dtype(np.float32)


def get_default_dtype() -> np.dtype[Any]:
    """Return the dtype of Python's floats and of new parameters."""
    return _default


def set_default_dtype(d: DTypeLike) -> None:
    """Let Python's floats and new parameters have another dtype from now on.

    Errors: DistgradError for one that is not floating point.
    """
    global _default  # noqa: PLW0603 (the setting is the process's)
    wanted: np.dtype[Any] = np.dtype(d)
    if wanted.kind != "f":
        raise DistgradError(f"the default dtype is a floating-point one; got {wanted}")
    _default = wanted


def of_one_number(x: Any) -> str:
    """Return what a message adds if ``x`` is a whole number: ``Tensor(5)`` is no five zeros."""
    if x.ndim or x.dtype.kind not in "iu":
        return ""
    return f": Tensor({x.array}) is the number {x.array}, write dg.empty({x.array})"
