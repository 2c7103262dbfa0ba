"""Arrays on memory that a Form describes."""

from __future__ import annotations

import numpy as np

from distgrad.autograd.types import Array
from distgrad.capture.forms import Form


def seen_on(memory: Array, form: Form, offset: int) -> Array:
    """Return what ``form`` is of ``memory``, from byte ``offset`` on."""
    if not memory.flags.c_contiguous:
        return np.asarray(_Seen(memory, form))
    return np.ndarray(form.shape, form.dtype, memory, offset, form.strides)


def fills_fresh(form: Form) -> bool:
    """Whether it is all of memory that is made anew at each call."""
    source = form.buffer.source
    whole = form.offset == 0 and form.dense and form.size * form.itemsize == form.buffer.size
    return whole and type(source) is tuple and source[0] == "fresh"


class _Seen:
    """A view of memory with gaps."""

    def __init__(self, memory: Array, form: Form) -> None:
        self.memory = memory  # which lives as long as the view
        self.__array_interface__ = {
            "version": 3,
            "data": (memory.ctypes.data + form.offset, not memory.flags.writeable),
            "typestr": form.dtype.str,
            "shape": form.shape,
            "strides": form.strides,
        }
