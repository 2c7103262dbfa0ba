"""Methods of each element, of matrices and of numbers: NumPy and PyTorch mean the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distgrad.autograd.methods.calls import call, named

if TYPE_CHECKING:
    from distgrad.autograd.tensor import Array, Tensor


class Elementwise:
    """Functions of each element, products of matrices, dtypes."""

    __slots__ = ()

    data: Array

    def abs(self) -> Tensor:
        """``np.abs``."""
        return call(np.abs, self)

    def exp(self) -> Tensor:
        """``np.exp``."""
        return call(np.exp, self)

    def log(self) -> Tensor:
        """``np.log``."""
        return call(np.log, self)

    def sqrt(self) -> Tensor:
        """``np.sqrt``."""
        return call(np.sqrt, self)

    def square(self) -> Tensor:
        """``np.square``."""
        return call(np.square, self)

    def sin(self) -> Tensor:
        """``np.sin``."""
        return call(np.sin, self)

    def cos(self) -> Tensor:
        """``np.cos``."""
        return call(np.cos, self)

    def tanh(self) -> Tensor:
        """``np.tanh``."""
        return call(np.tanh, self)

    def sigmoid(self) -> Tensor:
        """1 / (1 + exp(-x))."""
        return named("sigmoid", self)

    def relu(self) -> Tensor:
        """max(x, 0)."""
        return named("relu", self)

    def softmax(self, dim: int) -> Tensor:
        """``nn.functional.softmax``."""
        return named("softmax", self, axis=dim)

    def log_softmax(self, dim: int) -> Tensor:
        """``nn.functional.log_softmax``."""
        return named("log_softmax", self, axis=dim)

    def pow(self, exponent: Any) -> Tensor:
        """``np.power``."""
        return call(np.power, self, exponent)

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        """``np.clip``."""
        return call(np.clip, self, min, max)

    def clamp(self, min: Any = None, max: Any = None) -> Tensor:
        """``np.clip``, by PyTorch's name."""
        return call(np.clip, self, min, max)

    def round(self, decimals: int = 0) -> Tensor:
        """``np.round``: the gradient is 0."""
        return call(np.round, self, decimals)

    def masked_fill(self, mask: Any, value: Any) -> Tensor:
        """``value`` where ``mask`` holds."""
        return named("masked_fill", self, mask, value)

    # -- matrices --------------------------------------------------------------------------------

    def dot(self, other: Any) -> Tensor:
        """``np.dot``."""
        return call(np.dot, self, other)

    def matmul(self, other: Any) -> Tensor:
        """``np.matmul``."""
        return call(np.matmul, self, other)

    def trace(self) -> Tensor:
        """``np.trace``."""
        return call(np.trace, self)

    # -- numbers ---------------------------------------------------------------------------------

    def astype(self, dtype: Any) -> Tensor:
        """Return a copy of another dtype; gradients come back in this one's."""
        return named("astype", self, dtype=np.dtype(dtype))

    def float(self) -> Tensor:
        """In single precision."""
        return self.astype(np.float32)

    def double(self) -> Tensor:
        """In double precision."""
        return self.astype(np.float64)

    def clone(self) -> Tensor:
        """Return a copy on the tape (``np.copy``)."""
        return call(np.copy, self)

    @property
    def real(self) -> Tensor:
        """``np.real``."""
        return call(np.real, self)

    @property
    def imag(self) -> Tensor:
        """``np.imag``."""
        return call(np.imag, self)

    def conj(self) -> Tensor:
        """``np.conj``."""
        return call(np.conj, self)

    def tolist(self) -> Any:
        """Return nested lists of Python numbers."""
        return self.data.tolist()

    def numel(self) -> int:
        """Return the number of elements."""
        return self.data.size

    def dim(self) -> int:
        """Return the number of axes."""
        return self.data.ndim
