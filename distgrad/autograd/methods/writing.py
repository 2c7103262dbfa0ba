"""Methods that write in place what no function computes; and the way off the tape in place."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from distgrad.autograd.methods.calls import call
from distgrad.autograd.types import Array
from distgrad.errors import GradError

W = TypeVar("W", bound="Writing")


class Writing:
    """zero_, fill_, copy_, detach_."""

    __slots__ = ()

    array: Array

    def zero_(self: W) -> W:
        """Write zeros."""
        return self._written(np.zeros_like(self.array), "x.zero_()")

    def fill_(self: W, value: Any) -> W:
        """Write one number, or a 0-d tensor, to all elements."""
        if np.ndim(value):
            raise ValueError(f"x.fill_() takes one number; got shape {np.shape(value)}: copy_?")
        return self.copy_(value, what="x.fill_()")

    def copy_(self: W, src: Any, non_blocking: bool = False, *, what: str = "x.copy_()") -> W:
        """Write the elements of ``src``, broadcast, in this dtype."""
        given = src if isinstance(src, Writing) else type(self)(np.asarray(src))  # type: ignore[call-arg]
        own: Any = self
        converted: Any = given.to(own.dtype)  # type: ignore[attr-defined]  # Conversion's
        return self._written(call(np.broadcast_to, converted, own.shape), what)

    def _written(self: W, value: Any, what: str) -> W:
        own: Any = self
        tensor = value if isinstance(value, Writing) else type(own)(value)
        result: W = own._become(tensor, what)
        return result

    def detach_(self: W) -> W:
        """Take this tensor off the tape: it is a leaf without gradients from here on.

        Errors: GradError for a view, whose base would stay on it.
        """
        own: Any = self
        if own._node is not None and own._node.op.view:
            raise GradError("x.detach_() of a view would leave its base on the tape; x.detach()")
        own._node, own._index, own.requires_grad = None, 0, False
        return self
