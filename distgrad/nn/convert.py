"""What ``Module.to`` was asked for. Knows no module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.device import device, on_cpu
from distgrad.autograd.tensor import Tensor
from distgrad.errors import ShapeError

# Where tensors lie in memory, and when they are copied there, means nothing here.
HARMLESS = {"non_blocking", "memory_format", "copy"}


def asked_dtype(args: Sequence[Any], kwargs: Mapping[str, Any]) -> np.dtype[Any] | None:
    """Return the dtype among PyTorch's arguments of ``to``, None if there is none.

    Errors: DistgradError for a device that is not the CPU, ShapeError for a dtype that is not
    floating point, TypeError for a setting that ``to`` does not have.
    """
    unknown = set(kwargs) - HARMLESS - {"device", "dtype", "tensor"}
    if unknown:
        raise TypeError(f"to() has no setting {', '.join(sorted(unknown))}")
    on_cpu(kwargs.get("device"))
    found: np.dtype[Any] | None = None
    for value in (*args, kwargs.get("dtype"), kwargs.get("tensor")):
        if value is None or isinstance(value, bool | device):
            continue
        if isinstance(value, Tensor | np.ndarray):
            found = value.dtype
            continue
        try:
            found = np.dtype(value)
        except TypeError:
            on_cpu(value)
    if found is not None and found.kind not in "fc":
        raise ShapeError(f"a model computes with floating-point numbers; got dtype {found}")
    return found
