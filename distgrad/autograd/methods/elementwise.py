"""Methods of each element and of matrices that NumPy and PyTorch both have, and mean alike.

Those that PyTorch alone has come from distgrad/functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np

from distgrad.autograd.methods.calls import call, named
from distgrad.autograd.types import Array

E = TypeVar("E", bound="Elementwise")
Other: TypeAlias = "Elementwise | Array | complex | Sequence[Any]"


class Elementwise:
    """Limits, parts of complex numbers, products of matrices."""

    __slots__ = ()

    array: Array

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
        """``self @ other``."""
        return self @ other  # type: ignore[operator,no-any-return]  # the operator is @op's

    def trace(self: E) -> E:
        """``np.trace``."""
        return call(np.trace, self)

    # -- numbers ---------------------------------------------------------------------------------

    @property
    def real(self: E) -> E:
        """``np.real``."""
        return call(np.real, self)

    @property
    def imag(self: E) -> E:
        """``np.imag``."""
        return call(np.imag, self)

    def conj(self: E) -> E:
        """``np.conj``; a real tensor is its own."""
        return call(np.conj, self) if self.array.dtype.kind == "c" else self

    # -- Python's own ----------------------------------------------------------------------------

    def __round__(self: E, ndigits: int | None = None) -> Any:
        """Python's ``round``: with digits a tensor, without a number if there is one element."""
        if ndigits is None:
            return round(self.array.item()) if self.array.size == 1 else self.round()
        return self.round(ndigits)

    def __complex__(self) -> complex:
        return complex(self.array.item())

    def __divmod__(self: E, other: Other) -> tuple[E, E]:
        return self // other, self % other  # type: ignore[operator]  # the operators are @op's

    def __rdivmod__(self: E, other: Other) -> tuple[E, E]:
        return other // self, other % self  # type: ignore[operator]  # the same
