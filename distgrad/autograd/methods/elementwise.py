"""Methods of each element, of matrices and of numbers: NumPy and PyTorch mean the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np

from distgrad.autograd.methods.calls import call, named
from distgrad.autograd.types import Array, DTypeLike

E = TypeVar("E", bound="Elementwise")
Other: TypeAlias = "Elementwise | Array | complex | Sequence[Any]"


class Elementwise:
    """Functions of each element, products of matrices, dtypes."""

    __slots__ = ()

    array: Array

    def abs(self: E) -> E:
        """``np.abs``."""
        return call(np.abs, self)

    def exp(self: E) -> E:
        """``np.exp``."""
        return call(np.exp, self)

    def log(self: E) -> E:
        """``np.log``."""
        return call(np.log, self)

    def sqrt(self: E) -> E:
        """``np.sqrt``."""
        return call(np.sqrt, self)

    def square(self: E) -> E:
        """``np.square``."""
        return call(np.square, self)

    def sin(self: E) -> E:
        """``np.sin``."""
        return call(np.sin, self)

    def cos(self: E) -> E:
        """``np.cos``."""
        return call(np.cos, self)

    def tanh(self: E) -> E:
        """``np.tanh``."""
        return call(np.tanh, self)

    def sigmoid(self: E) -> E:
        """1 / (1 + exp(-x))."""
        return named("sigmoid", self)

    def relu(self: E) -> E:
        """max(x, 0)."""
        return named("relu", self)

    def softmax(self: E, dim: int) -> E:
        """``nn.functional.softmax``."""
        return named("softmax", self, axis=dim)

    def log_softmax(self: E, dim: int) -> E:
        """``nn.functional.log_softmax``."""
        return named("log_softmax", self, axis=dim)

    def pow(self: E, exponent: Other) -> E:
        """``np.power``."""
        return call(np.power, self, exponent)

    def clip(self: E, min: Other | None = None, max: Other | None = None) -> E:
        """``np.clip``."""
        return call(np.clip, self, min, max)

    def clamp(self: E, min: Other | None = None, max: Other | None = None) -> E:
        """``np.clip``, by PyTorch's name."""
        return call(np.clip, self, min, max)

    def round(self: E, decimals: int = 0) -> E:
        """``np.round``: the gradient is 0."""
        return call(np.round, self, decimals)

    def masked_fill(self: E, mask: Other, value: Other) -> E:
        """``value`` where ``mask`` holds."""
        return named("masked_fill", self, mask, value)

    # -- matrices --------------------------------------------------------------------------------

    def dot(self: E, other: Other) -> E:
        """``np.dot``."""
        return call(np.dot, self, other)

    def matmul(self: E, other: Other) -> E:
        """``np.matmul``."""
        return call(np.matmul, self, other)

    def trace(self: E) -> E:
        """``np.trace``."""
        return call(np.trace, self)

    # -- numbers ---------------------------------------------------------------------------------

    def astype(self: E, dtype: DTypeLike) -> E:
        """Return a copy of another dtype; gradients come back in this one's."""
        return named("astype", self, dtype=np.dtype(dtype))

    def float(self: E) -> E:
        """In single precision."""
        return self.astype(np.float32)

    def double(self: E) -> E:
        """In double precision."""
        return self.astype(np.float64)

    def clone(self: E) -> E:
        """Return a copy on the tape (``np.copy``)."""
        return call(np.copy, self)

    @property
    def real(self: E) -> E:
        """``np.real``."""
        return call(np.real, self)

    @property
    def imag(self: E) -> E:
        """``np.imag``."""
        return call(np.imag, self)

    def conj(self: E) -> E:
        """``np.conj``."""
        return call(np.conj, self)

    def tolist(self) -> Any:
        """Return nested lists of Python numbers."""
        return self.array.tolist()

    def numel(self) -> int:
        """Return the number of elements."""
        return self.array.size

    def dim(self) -> int:
        """Return the number of axes."""
        return self.array.ndim
