"""How arguments are read: a Tensor from what was given, ``dtype=``, ``device=``, shapes."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.device import on_cpu
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import DTypeLike, Shape
from distgrad.errors import DistgradError
from distgrad.ops.indexing import as_tensor

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


def made(array: Any, requires_grad: bool) -> Tensor:
    """Return a new Tensor of ``array``."""
    return Tensor(np.asarray(array), requires_grad)


def check_place(device: Any, layout: Any = None, pin_memory: bool = False, out: Any = None) -> None:
    """Take what says "in this CPU's memory, dense". Errors: DistgradError for anything else."""
    on_cpu(device)
    if layout not in (None, "strided"):
        raise DistgradError(f"layout={layout}: tensors are dense and strided here; leave it out")
    if pin_memory:
        raise DistgradError("pin_memory=True: there is no GPU to copy to; leave it out")
    if out is not None:
        raise DistgradError("out= of a new tensor: write out.copy_(…)")
