"""Writing in place: on the tape a tensor stands for its new value, off it memory is written."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from distgrad.autograd.apart import apart, fixed, keeps_form
from distgrad.autograd.methods.calls import UFUNCS, call, named
from distgrad.autograd.mode import grad_enabled
from distgrad.autograd.types import Array
from distgrad.errors import GradError, ShapeError

W = TypeVar("W", bound="Writing")


class Writing:
    """``+=`` and its kin, what underscored functions go through, and what no function computes."""

    __slots__ = ()

    array: Array

    def zero_(self: W) -> W:
        """Write zeros."""
        return self._written(_zeros_like(self), "x.zero_()")

    def fill_(self: W, value: Any) -> W:
        """Write one number, or a 0-d tensor, to all elements."""
        if np.ndim(value):
            raise ValueError(f"x.fill_() takes one number; got shape {np.shape(value)}: copy_?")
        return self.copy_(value, what="x.fill_()")

    def fill_diagonal_(self: W, fill_value: Any, wrap: bool = False) -> W:
        """Write one number to the main diagonal; ``wrap`` starts anew below a square."""
        own: Any = self
        if own.ndim < 2 or (own.ndim > 2 and len(set(own.shape)) > 1):
            raise ShapeError(
                f"x.fill_diagonal_() takes a matrix, or equal axes; got shape {own.shape}"
            )
        mask = np.zeros(own.shape, np.bool_)
        np.fill_diagonal(mask, True, wrap)
        filled = named("masked_fill", own, fixed(mask), fill_value)
        return self._written(filled, "x.fill_diagonal_()")

    def copy_(self: W, src: Any, non_blocking: bool = False, *, what: str = "x.copy_()") -> W:
        """Write the elements of ``src``, broadcast, in this dtype."""
        own: Any = self
        given: Any = src
        if not isinstance(src, Writing):
            array = np.asarray(src)
            given = self._plain(array if isinstance(src, np.ndarray) else fixed(array))
        converted: Any = given.to(own.dtype)
        return self._written(call(np.broadcast_to, converted, own.shape), what)

    def _written(self: W, value: Any, what: str) -> W:
        return self._become(value if isinstance(value, Writing) else self._plain(value), what)

    def detach_(self: W) -> W:
        """Take this tensor off the tape: it is a leaf without gradients from here on.

        Errors: GradError for a view, whose base would stay on it.
        """
        own: Any = self
        if own._node is not None and own._node.op.view:
            raise GradError("x.detach_() of a view would leave its base on the tape; x.detach()")
        own._node, own._index, own.requires_grad = None, 0, False
        return self

    # -- how ---------------------------------------------------------------------------------

    def _become(self: W, value: Any, what: str, *, views: bool = False, shape: bool = False) -> W:
        """Take over ``value``, as PyTorch's operations in place do, and return this tensor.

        Off the tape the array is written. On it the tensor gets the node of ``value``: who read
        the old value keeps it. ``what`` names the operation in errors. A view on the tape would
        leave its base as it was, so it is refused unless ``views``. ``shape`` says that the same
        elements get another shape: no memory is written.
        Errors: GradError for leaves that require gradients and such views; ShapeError; TypeError
        for a value of another kind of number (NumPy's, off the tape).
        """
        own: Any = self
        if shape:
            self._refuse_leaf(what)
            return self._stand_for(value)
        if value.shape != own.shape:
            raise ShapeError(
                f"{what} in place cannot change the shape {own.shape} to {value.shape}; write "
                f"x = … instead"
            )
        if not (grad_enabled.get() and (value.requires_grad or own.requires_grad)):
            _write(self, value)
            return self
        self._refuse_leaf(what)
        if not views and self.array.base is not None and (own._node is None or own._node.op.view):
            raise GradError(
                f"{what} on a view (a slice, a reshaped or transposed tensor) would leave the "
                f"tensor that it is a part of as it was; write into that one (y[0] = …; y = "
                f"y + dg.diag_embed(z)), or take .clone() of the view first"
            )
        if value.dtype != own.dtype:
            if not np.can_cast(value.dtype, own.dtype, "same_kind"):
                raise TypeError(
                    f"{what} in place cannot put {value.dtype} into a tensor of {own.dtype}; write "
                    f"x = … instead"
                )
            value = named("astype", value, dtype=own.dtype)
        self._stand_for(value)
        if value._node is None or value._node.op.view:
            own.array = _copied(value).array  # another's memory, perhaps: x.copy_(y)
        return self

    def _stand_for(self: W, value: Any) -> W:
        own: Any = self
        own.array, own._node, own._index = value.array, value._node, value._index
        own.requires_grad = value.requires_grad
        return self

    def _to_write(self) -> Array:
        """Return the array, to be written to. Errors: GradError if that is not allowed."""
        array: Array = self.array
        if not array.flags.writeable:
            raise GradError(
                "this tensor is read-only. If it is a parameter that ranks share out (zero=1 or "
                "more), write to it inside `with ddp.writing():`, on every rank alike; of an "
                "array of your own that is read-only take a .clone()"
            )
        return array

    def _refuse_leaf(self, what: str) -> None:
        own: Any = self
        if own.requires_grad and own._node is None:
            raise GradError(
                f"{what} in place on a leaf that requires gradients would overwrite what backward "
                f"needs; write x = x + y, or change it inside dg.no_grad()"
            )

    def _augmented(self: W, ufunc: np.ufunc, other: Any, sign: str) -> W:
        # `x += y`: on the tape a view stands for its new value too, its base is left as it was.
        own: Any = self
        given: Any = other
        recorded = own.requires_grad or (isinstance(other, Writing) and given.requires_grad)
        if recorded and grad_enabled.get():
            self._refuse_leaf(f"x {sign}= y")
            return self._become(UFUNCS[ufunc](self, other), f"x {sign}= y", views=True)
        _apply(ufunc, self, other)
        return self

    def __iadd__(self: W, other: Any) -> W:
        return self._augmented(np.add, other, "+")

    def __isub__(self: W, other: Any) -> W:
        return self._augmented(np.subtract, other, "-")

    def __imul__(self: W, other: Any) -> W:
        return self._augmented(np.multiply, other, "*")

    def __itruediv__(self: W, other: Any) -> W:
        return self._augmented(np.true_divide, other, "/")

    def __ifloordiv__(self: W, other: Any) -> W:
        return self._augmented(np.floor_divide, other, "//")

    def __imod__(self: W, other: Any) -> W:
        return self._augmented(np.remainder, other, "%")

    def __ipow__(self: W, other: Any) -> W:
        return self._augmented(np.power, other, "**")

    def _plain(self, array: Array) -> Any:
        """Return a tensor of ``array``, which wants no gradients though this one be a Parameter."""
        own: Any = self
        return own._new(array, array.dtype, None, False)


@apart
@keeps_form
def _zeros_like(own: Any) -> Any:
    return own._plain(np.zeros_like(own.array))


@apart
@keeps_form
def _copied(value: Any) -> Any:
    return value._plain(value.array.copy(order="K"))


@apart
def _write(own: Any, value: Any) -> None:
    np.copyto(own._to_write(), value.array, casting="same_kind")


@apart
def _apply(ufunc: np.ufunc, own: Any, other: Any) -> None:
    ufunc(own.array, other.array if isinstance(other, Writing) else other, out=own._to_write())
