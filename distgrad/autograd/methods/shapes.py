"""Methods that change the shape, and those that take parts or repeat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np

from distgrad.autograd.methods.calls import METHODS, call, named
from distgrad.autograd.methods.spelling import refused
from distgrad.autograd.types import Array, Ints
from distgrad.errors import GradError, ShapeError

S = TypeVar("S", bound="Shapes")
Indices: TypeAlias = "Shapes | Array | Ints"


class Shapes:
    """Reshaping, exchanging, adding and removing axes; parts and repetitions."""

    __slots__ = ()

    array: Array

    def reshape(self: S, *shape: Ints, **named: Ints) -> S:
        """``np.reshape``; the shape as a tuple, as arguments, or by the name ``shape``."""
        given = _sizes(shape, named, "shape")
        return call(np.reshape, self, given[0] if len(given) == 1 else given)

    def view(self: S, *shape: Any, **named: Any) -> S:
        """``reshape``, by PyTorch's name; of a dtype the same memory read as that, off the tape."""
        given = _sizes(shape, named, "dtype" if "dtype" in named else "size")
        if len(given) == 1 and isinstance(given[0], type | np.dtype):
            return self._read_as(np.dtype(given[0]))
        return self.reshape(*given)

    def _read_as(self: S, dtype: Any) -> S:
        own: Any = self
        if own.requires_grad and dtype != own.dtype:
            raise GradError("x.view(dtype) has no gradient; write x.detach().view(dtype)")
        result: S = own if dtype == own.dtype else type(own)(self.array.view(dtype))
        return result

    def contiguous(self: S, memory_format: Any = None) -> S:
        """Return this if its elements lie in memory in order, else a copy on the tape."""
        if self.array.flags.c_contiguous:
            return self
        return call(np.reshape, call(np.reshape, self, (-1,)), self.array.shape)

    def ravel(self: S) -> S:
        """``np.ravel``."""
        return call(np.ravel, self)

    def flatten(self: S, start_dim: int = 0, end_dim: int = -1) -> S:
        """Axes ``start_dim`` to ``end_dim`` (included) as one."""
        return named("flatten", self, start_dim, end_dim)

    def transpose(self: S, *axes: Ints, dim0: int | None = None, dim1: int | None = None) -> S:
        """``np.transpose``, all axes reversed if none is given; two numbers are exchanged.

        Two numbers, or ``dim0`` and ``dim1``, are PyTorch's; a tuple, or more, the order of all.
        """
        pair = axes
        if dim0 is not None or dim1 is not None:
            if axes or dim0 is None or dim1 is None:
                raise TypeError(
                    "x.transpose() exchanges dim0 and dim1: name both, and nothing else"
                )
            pair = (dim0, dim1)
        if len(pair) == 2:
            number = self.array.ndim == 0 and set(pair) <= {0, -1}  # its axes, in PyTorch
            return self if number else call(np.swapaxes, self, *pair)
        return call(np.transpose, self, axes[0] if len(axes) == 1 else axes or None)

    def permute(self: S, *dims: Ints, **named: Ints) -> S:
        """``np.transpose``, by PyTorch's name: all axes are given, as a tuple or as arguments."""
        given = _sizes(dims, named, "dims")
        return call(np.transpose, self, given[0] if np.ndim(given) == 2 else given)

    def swapaxes(self: S, axis1: int, axis2: int) -> S:
        """``np.swapaxes``."""
        return call(np.swapaxes, self, axis1, axis2)

    def squeeze(self: S, *position: Ints, axis: Ints | None = None, dim: Ints | None = None) -> S:
        """Axes of length 1 removed: all, or those named.

        Where one is longer ``axis`` is ``np.squeeze``'s, an error; ``dim`` PyTorch's, left alone.
        """
        given = [axes for axes in (*position, axis, dim) if axes is not None]
        if len(given) > 1:
            raise TypeError("x.squeeze() takes one of axis and dim, several axes as a tuple")
        if dim is not None:
            return call(np.squeeze, self, axis=_of_length_1(self, dim))
        if position and _of_length_1(self, position[0]) != _several(position[0]):
            raise refused(
                "x.squeeze({})",
                position,
                "x.squeeze(dim=1) to leave an axis that is longer than 1, as PyTorch does, or "
                "x.squeeze(axis=1) for NumPy's error there",
            )
        return call(np.squeeze, self, axis=given[0] if given else None)

    def unsqueeze(self: S, dim: int) -> S:
        """``np.expand_dims``, by PyTorch's name."""
        return call(np.expand_dims, self, dim)

    def expand(self: S, *sizes: Ints, **named: Ints) -> S:
        """``np.broadcast_to``, by PyTorch's name: -1 keeps the length of an axis."""
        sizes = _sizes(sizes, named, "size")
        wanted = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], tuple | list) else sizes
        own = (1,) * (len(wanted) - self.array.ndim) + self.array.shape
        return call(
            np.broadcast_to,
            self,
            tuple([n if s == -1 else s for s, n in zip(wanted, own, strict=True)]),
        )

    @property
    def T(self: S) -> S:  # noqa: N802 (NumPy's name)
        """All axes reversed."""
        return call(np.transpose, self)

    @property
    def mT(self: S) -> S:  # noqa: N802 (NumPy's name)
        """The last two axes exchanged."""
        return self.swapaxes(-1, -2)

    @property
    def H(self: S) -> S:  # noqa: N802 (PyTorch's name)
        """A matrix's axes exchanged, conjugated. Errors: ShapeError for others."""
        if self.array.ndim not in (0, 2):
            raise ShapeError(f"x.H is that of a matrix; got shape {self.array.shape}: x.mH")
        return self.mH if self.array.ndim else call(np.conj, self)

    @property
    def mH(self: S) -> S:  # noqa: N802 (PyTorch's name)
        """The last two axes exchanged, conjugated."""
        exchanged = self.mT
        return call(np.conj, exchanged) if self.array.dtype.kind == "c" else exchanged

    # -- parts and repetitions -------------------------------------------------------------------

    def repeat(self: S, *repeats: Ints | Array, **axis: int | None) -> S:
        """``np.repeat``, each element some times in a row; ``axis`` has to be named.

        What is not NumPy's is PyTorch's, the whole repeated, ``np.tile``: three numbers and more,
        an axis that is not there, a list of several. Errors: TypeError where it could be either.
        """
        if len(repeats) == 1 and axis.keys() == {"axis"}:
            return call(np.repeat, self, repeats[0], **axis)
        if not axis and _of_the_whole(repeats, self):
            return call(np.tile, self, repeats if len(repeats) > 1 else repeats[0])
        raise refused(
            "x.repeat({})",
            repeats,
            "x.repeat(2, axis=1) or np.repeat(x, 2, axis=1) for each element twice in a row, "
            "np.tile(x, (2, 1)) for the whole repeated, as PyTorch's repeat",
        )

    def take(self: S, indices: Indices, axis: int | None = None) -> S:
        """``np.take``."""
        return call(np.take, self, indices, axis=axis)

    def chunk(self: S, chunks: int, dim: int = 0) -> Sequence[S]:
        """``ops.chunk``, torch.chunk."""
        parts: Sequence[S] = METHODS["chunk"](self, chunks, dim)
        return parts

    def unbind(self: S, dim: int = 0) -> Sequence[S]:
        """``ops.unbind``, torch.unbind."""
        parts: Sequence[S] = METHODS["unbind"](self, dim)
        return parts


def _of_the_whole(repeats: tuple[Any, ...], x: Shapes) -> bool:
    """Whether NumPy's ``repeat`` takes no such positions, or gives what PyTorch's does.

    A list that stands alone is PyTorch's: a number for each of NumPy's elements is hardly written.
    """
    if len(repeats) != 2:
        numbers = repeats[0] if len(repeats) == 1 else repeats
        return isinstance(numbers, list | tuple) and len(numbers) > 1
    last = repeats[1]  # NumPy's axis
    return repeats == (1, 1) or x.array.ndim < 2 or not -x.array.ndim <= last < x.array.ndim


def _sizes(given: tuple[Any, ...], named: dict[str, Any], name: str) -> tuple[Any, ...]:
    """Return what stands in positions, or under the one name that PyTorch gives it."""
    if not named:
        return given
    if given or set(named) != {name}:
        raise TypeError(f"give the lengths by position or as {name}=; got {', '.join(named)}")
    return (named[name],)


def _several(axes: Any) -> tuple[int, ...]:
    return (axes,) if np.ndim(axes) == 0 else tuple(axes)


def _of_length_1(x: Shapes, axes: Ints) -> tuple[int, ...]:
    """Those of ``axes`` that have length 1, or that x has not: np.squeeze refuses them."""
    shape = x.array.shape
    if not shape:  # a number's axes are 0 and -1 in PyTorch
        return tuple(a for a in _several(axes) if a not in (0, -1))
    return tuple(a for a in _several(axes) if not -len(shape) <= a < len(shape) or shape[a] == 1)
