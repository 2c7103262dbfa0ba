"""Which dtype comes out where Tensors meet: PyTorch's rules. NumPy's functions keep NumPy's.

A Python number takes the dtype of the Tensor beside it, if it is of no higher category (booleans,
whole, real, complex numbers), else the default dtype of its own; a Tensor of no axes is as weak
towards one that has some. Source: PyTorch, "Tensor Attributes", torch.dtype.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.dtypes import get_default_dtype
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import DTypeLike

DType = np.dtype[Any]

_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}
REAL = 2
_COMPLEX = {2: np.complex64, 4: np.complex64, 8: np.complex128}  # by the bytes of a real number


def promote_types(type1: DTypeLike, type2: DTypeLike) -> DType:
    """Return the dtype of ``type1`` plus ``type2``: float32 beside int64 is float32."""
    a, b = np.dtype(type1), np.dtype(type2)
    if a == b:
        return a
    low, high = (a, b) if _CATEGORY[a.kind] <= _CATEGORY[b.kind] else (b, a)
    if _CATEGORY[low.kind] < REAL <= _CATEGORY[high.kind]:
        return high
    return np.promote_types(low, high)


def meeting(x: Any, y: Any) -> DType | None:
    """Return the dtype that two operands share, where PyTorch's rules say it.

    None beside NumPy's arrays, where NumPy's hold.
    """
    one, two = _kind(x), _kind(y)
    if one is None or two is None:
        return None
    (weak, level), (strong, higher) = sorted((one, two), key=lambda kind: kind[1])
    if level == higher:
        return promote_types(weak, strong)
    if _CATEGORY[weak.kind] <= _CATEGORY[strong.kind]:
        return strong
    # A complex number is as precise as the real ones beside it.
    return np.dtype(_COMPLEX[strong.itemsize]) if strong.kind == "f" else weak


def _kind(x: Any) -> tuple[DType, int] | None:
    """Return an operand's dtype, and how much it counts: a number 0, a 0-d Tensor 1, others 2."""
    if isinstance(x, Tensor):
        return x.array.dtype, 2 if x.array.ndim else 1
    numbers: dict[type, DTypeLike] = {bool: np.bool_, int: np.int64, float: get_default_dtype()}
    if type(x) is complex:
        return np.dtype(_COMPLEX[get_default_dtype().itemsize]), 0
    return (np.dtype(numbers[type(x)]), 0) if type(x) in numbers else None


def operands(x: Any, y: Any, real: bool = False) -> tuple[Any, Any]:
    """Return both with the Tensors among them in the dtype that they share.

    ``real`` says that whole numbers are taken for real ones, of the default dtype (x / y).
    """
    if isinstance(x, Tensor) and x.array.dtype.kind in "fc":  # the short way
        same = isinstance(y, Tensor) and y.array.dtype is x.array.dtype
        if same or type(y) is float or type(y) is int:
            return x, y
    dtype = meeting(x, y)
    if dtype is None:
        return x, y
    if real and _CATEGORY[dtype.kind] < REAL:
        dtype = get_default_dtype()
    return _cast(x, dtype), _cast(y, dtype)


def of_whole_numbers(x: Any, y: Any) -> bool:
    """Whether all Tensors among two operands are of whole numbers or booleans."""
    return all(x.array.dtype.kind in "biu" for x in (x, y) if isinstance(x, Tensor))


def _cast(x: Any, dtype: DType) -> Any:
    return x.astype(dtype) if isinstance(x, Tensor) and x.array.dtype != dtype else x
