"""What a tensor is: its dtype's kind, its place in memory. Nothing here is recorded."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from distgrad.autograd.methods.calls import call
from distgrad.autograd.types import Array

F = TypeVar("F", bound="Facts")


class Facts:
    """Sizes, strides and kinds, by PyTorch's names."""

    __slots__ = ()

    array: Array

    def numel(self) -> int:
        """Return the number of elements."""
        return self.array.size

    def nelement(self) -> int:
        """Return the number of elements."""
        return self.array.size

    def dim(self) -> int:
        """Return the number of axes."""
        return self.array.ndim

    def ndimension(self) -> int:
        """Return the number of axes."""
        return self.array.ndim

    def tolist(self) -> Any:
        """Return nested lists of Python numbers."""
        return self.array.tolist()

    # -- kinds of numbers ------------------------------------------------------------------------

    def is_floating_point(self) -> bool:
        """Whether the dtype is one of real numbers."""
        return bool(self.array.dtype.kind == "f")

    def is_complex(self) -> bool:
        """Whether the dtype is one of complex numbers."""
        return bool(self.array.dtype.kind == "c")

    def is_signed(self) -> bool:
        """Whether the dtype has negative numbers."""
        return bool(self.array.dtype.kind in "ifc")

    # -- memory ----------------------------------------------------------------------------------

    def element_size(self) -> int:
        """Return the bytes of an element."""
        return self.array.itemsize

    @property
    def itemsize(self) -> int:
        """The bytes of an element."""
        return self.array.itemsize

    @property
    def nbytes(self) -> int:
        """The bytes of all elements."""
        return self.array.nbytes

    def stride(self, dim: int | None = None) -> Any:
        """Return how many elements lie between neighbours along each axis, or along ``dim``."""
        steps = tuple([step // self.array.itemsize for step in self.array.strides])
        return steps if dim is None else steps[dim]

    def copy(self: F) -> F:
        """``np.copy``: in memory of its own, on the tape."""
        return call(np.copy, self)

    @property
    def ctypes(self) -> Any:
        """The memory, as ``ctypes`` sees NumPy's arrays (safetensors reads it)."""
        return self.array.ctypes

    def tobytes(self) -> bytes:
        """Return the elements as bytes, in C order."""
        return self.array.tobytes()

    @property
    def layout(self) -> str:
        """``"strided"``: every tensor is dense."""
        return "strided"

    def dim_order(self) -> tuple[int, ...]:
        """Return the axes from the widest strides to the narrowest."""
        strides = self.array.strides
        return tuple(sorted(range(len(strides)), key=lambda axis: -strides[axis]))

    def is_shared(self) -> bool:
        """Return False: ranks share no memory."""
        return False

    def const_data_ptr(self) -> int:
        """Return the address of the first element."""
        return self.data_ptr()

    def data_ptr(self) -> int:
        """Return the address of the first element."""
        return int(self.array.ctypes.data)

    def storage_offset(self) -> int:
        """Return how many elements of the array that this one is a view of lie before it."""
        base = self.array
        while getattr(base, "base", None) is not None and hasattr(base.base, "ctypes"):
            base = base.base  # type: ignore[assignment]  # an array, as ctypes says
        return int(self.array.ctypes.data - base.ctypes.data) // self.array.itemsize

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Whether the elements lie in memory in order, the last axis running fastest."""
        return self.array.flags.c_contiguous

    def is_set_to(self, tensor: Facts) -> bool:
        """Whether ``tensor`` has the same memory, shape and strides."""
        ours, theirs = (
            (a.__array_interface__["data"], a.shape, a.strides, a.dtype)
            for a in (self.array, tensor.array)
        )
        return bool(ours == theirs)

    # -- where it is not -------------------------------------------------------------------------

    def get_device(self) -> int:
        """Return -1: the CPU has no number."""
        return -1

    @property
    def is_cpu(self) -> bool:
        """True."""
        return True

    @property
    def is_cuda(self) -> bool:
        """False."""
        return False

    @property
    def is_meta(self) -> bool:
        """False: every tensor has its numbers."""
        return False

    @property
    def is_sparse(self) -> bool:
        """False."""
        return False

    @property
    def is_sparse_csr(self) -> bool:
        """False."""
        return False

    @property
    def is_quantized(self) -> bool:
        """False."""
        return False

    @property
    def is_nested(self) -> bool:
        """False."""
        return False

    @property
    def is_mkldnn(self) -> bool:
        """False."""
        return False

    @property
    def is_mps(self) -> bool:
        """False."""
        return False

    @property
    def is_xpu(self) -> bool:
        """False."""
        return False

    @property
    def is_xla(self) -> bool:
        """False."""
        return False

    def is_distributed(self) -> bool:
        """Return False: each rank has its own tensors."""
        return False

    def is_inference(self) -> bool:
        """Return False: every tensor may be used under gradients."""
        return False

    def is_pinned(self, device: Any = None) -> bool:
        """Return False."""
        return False
