"""Methods that convert to another dtype, or make new tensors like this one. All is on the CPU."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import numpy as np

from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.device import device as Device
from distgrad.autograd.device import on_cpu
from distgrad.autograd.methods.calls import call, named
from distgrad.autograd.types import Array, DTypeLike

C = TypeVar("C", bound="Conversion")

_NAMES = {
    "float64": "DoubleTensor",
    "float32": "FloatTensor",
    "float16": "HalfTensor",
    "int64": "LongTensor",
    "int32": "IntTensor",
    "int16": "ShortTensor",
    "int8": "CharTensor",
    "uint8": "ByteTensor",
    "bool": "BoolTensor",
    "complex64": "ComplexFloatTensor",
    "complex128": "ComplexDoubleTensor",
}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}


class Conversion:
    """Other dtypes, and new tensors of this one's."""

    __slots__ = ()

    array: Array

    def astype(self: C, dtype: DTypeLike) -> C:
        """Return a copy of another dtype; gradients come back in this one's."""
        return named("astype", self, dtype=np.dtype(dtype))

    def to(
        self: C,
        *target: Any,
        dtype: DTypeLike | None = None,
        device: Any = None,
        other: Any = None,
        non_blocking: builtins.bool = False,
        copy: builtins.bool = False,
        memory_format: Any = None,
    ) -> C:
        """Return this in another dtype, or in that of ``other``; itself if that changes nothing.

        The device, in any of PyTorch's forms, has to be the CPU. ``copy=True`` always copies.
        Errors: DistgradError for another device.
        """
        flags = [x for x in target if isinstance(x, builtins.bool)]
        if len(flags) > 1:
            copy = copy or flags[1]  # the first is non_blocking
        for x in (*target, other):
            if isinstance(x, Conversion):
                dtype = x.array.dtype
            elif isinstance(x, np.dtype | builtins.type) and not isinstance(x, Device):
                dtype = x
            elif not isinstance(x, builtins.bool):
                on_cpu(x)
        on_cpu(device)
        wanted = self.array.dtype if dtype is None else dtype
        return self.clone() if copy and self.array.dtype == wanted else self._converted(wanted)

    def type(self: C, dtype: DTypeLike | None = None, non_blocking: builtins.bool = False) -> Any:
        """Return this in another dtype; without one the name of its type, ``torch.FloatTensor``."""
        if dtype is None:
            return f"torch.{_NAMES[self.array.dtype.name]}"
        if isinstance(dtype, str):
            name = dtype.removeprefix("torch.")
            dtype = _DTYPES.get(name, name)
        elif (name := getattr(dtype, "__name__", "")) in _DTYPES:  # torch.FloatTensor itself
            dtype = _DTYPES[name]
        return self._converted(dtype)

    def type_as(self: C, other: Conversion) -> C:
        """Return this in the dtype of ``other``."""
        return self._converted(other.array.dtype)

    def cpu(self: C, memory_format: Any = None) -> C:
        """Return this: it is there already."""
        return self

    def double(self: C, memory_format: Any = None) -> C:
        """In float64."""
        return self._converted(np.float64)

    def float(self: C, memory_format: Any = None) -> C:
        """In float32."""
        return self._converted(np.float32)

    def half(self: C, memory_format: Any = None) -> C:
        """In float16."""
        return self._converted(np.float16)

    def long(self: C, memory_format: Any = None) -> C:
        """In int64."""
        return self._converted(np.int64)

    def int(self: C, memory_format: Any = None) -> C:
        """In int32."""
        return self._converted(np.int32)

    def short(self: C, memory_format: Any = None) -> C:
        """In int16."""
        return self._converted(np.int16)

    def char(self: C, memory_format: Any = None) -> C:
        """In int8."""
        return self._converted(np.int8)

    def byte(self: C, memory_format: Any = None) -> C:
        """In uint8."""
        return self._converted(np.uint8)

    def bool(self: C, memory_format: Any = None) -> C:
        """Whether each element is not 0."""
        return self._converted(np.bool_)

    def cfloat(self: C, memory_format: Any = None) -> C:
        """In complex64."""
        return self._converted(np.complex64)

    def cdouble(self: C, memory_format: Any = None) -> C:
        """In complex128."""
        return self._converted(np.complex128)

    def clone(self: C, *, memory_format: Any = None) -> C:
        """Return a copy on the tape (``np.copy``)."""
        return call(np.copy, self)

    def _converted(self: C, dtype: DTypeLike) -> C:
        wanted: Any = np.dtype(dtype)
        if wanted == self.array.dtype:
            return self
        if self.array.dtype.kind == "c" and wanted.kind not in "cb":
            return call(np.real, self)._converted(wanted)  # as PyTorch, but not in silence
        return self.astype(wanted)

    # -- new ones --------------------------------------------------------------------------------

    @apart
    @keeps_form
    def new_tensor(
        self: C,
        data: Any,
        *,
        dtype: DTypeLike | None = None,
        device: Any = None,
        requires_grad: builtins.bool = False,
    ) -> C:
        """Return a copy of ``data`` (numbers, nested lists, arrays), in this dtype."""
        given = data.array if isinstance(data, Conversion) else data
        return self._new(np.array(given), dtype, device, requires_grad)

    @apart
    @keeps_form
    def new_zeros(
        self: C,
        *size: Any,
        dtype: DTypeLike | None = None,
        device: Any = None,
        requires_grad: builtins.bool = False,
        layout: Any = None,
        pin_memory: builtins.bool = False,
    ) -> C:
        """Return zeros of this dtype; the shape as a sequence or as arguments."""
        return self._new(np.zeros(_shape(size), np.bool_), dtype, device, requires_grad)

    @apart
    @keeps_form
    def new_ones(
        self: C,
        *size: Any,
        dtype: DTypeLike | None = None,
        device: Any = None,
        requires_grad: builtins.bool = False,
        layout: Any = None,
        pin_memory: builtins.bool = False,
    ) -> C:
        """Return ones of this dtype; the shape as a sequence or as arguments."""
        return self._new(np.ones(_shape(size), np.bool_), dtype, device, requires_grad)

    @apart
    @keeps_form
    def new_empty(
        self: C,
        *size: Any,
        dtype: DTypeLike | None = None,
        device: Any = None,
        requires_grad: builtins.bool = False,
        layout: Any = None,
        pin_memory: builtins.bool = False,
    ) -> C:
        """Return zeros of this dtype: memory that nobody has written would differ between ranks."""
        return self._new(np.zeros(_shape(size), np.bool_), dtype, device, requires_grad)

    @apart
    @keeps_form
    def new_full(
        self: C,
        size: Any,
        fill_value: Any,
        *,
        dtype: DTypeLike | None = None,
        device: Any = None,
        requires_grad: builtins.bool = False,
        layout: Any = None,
        pin_memory: builtins.bool = False,
    ) -> C:
        """Return a tensor of this dtype and shape ``size``, filled with one number."""
        filled = np.full(_shape((size,)), np.asarray(fill_value))
        return self._new(filled, dtype, device, requires_grad)

    def _new(self: C, array: Array, dtype: Any, device: Any, requires_grad: Any) -> C:
        on_cpu(device)
        wanted = self.array.dtype if dtype is None else np.dtype(dtype)
        # Of a Parameter or a Buffer a Tensor: a module would register what it is assigned.
        made: Any = builtins.type(cast("Any", self).detach())
        result: C = made(array.astype(wanted, copy=False), requires_grad)
        return result


def _shape(size: Sequence[Any]) -> tuple[Any, ...]:
    if len(size) == 1 and np.ndim(size[0]) == 1:
        size = tuple(size[0])
    return tuple(size)
