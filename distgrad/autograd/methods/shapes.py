"""Methods that change the shape, and those that take parts or repeat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np

from distgrad.autograd.methods.calls import METHODS, call, named
from distgrad.autograd.methods.spelling import refused
from distgrad.autograd.types import Array, Ints

S = TypeVar("S", bound="Shapes")
Indices: TypeAlias = "Shapes | Array | Ints"


class Shapes:
    """Reshaping, exchanging, adding and removing axes; parts and repetitions."""

    __slots__ = ()

    array: Array

    def reshape(self: S, *shape: Ints) -> S:
        """``np.reshape``; the shape as a tuple or as arguments."""
        return call(np.reshape, self, shape[0] if len(shape) == 1 else shape)

    def view(self: S, *shape: Ints) -> S:
        """``reshape``, by PyTorch's name."""
        return self.reshape(*shape)

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
        pair: tuple[Ints, ...] = tuple(d for d in (dim0, dim1) if d is not None)
        if pair and (axes or len(pair) < 2):
            raise TypeError("x.transpose() exchanges dim0 and dim1: name both, and nothing else")
        pair = pair or axes
        if len(pair) == 2:
            return call(np.swapaxes, self, *pair)
        return call(np.transpose, self, axes[0] if len(axes) == 1 else axes or None)

    def permute(self: S, *dims: Ints) -> S:
        """``np.transpose``, by PyTorch's name: all axes are given, as a tuple or as arguments."""
        return call(np.transpose, self, dims[0] if np.ndim(dims) == 2 else dims)

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

    def expand(self: S, *sizes: Ints) -> S:
        """``np.broadcast_to``, by PyTorch's name: -1 keeps the length of an axis."""
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

    # -- parts and repetitions -------------------------------------------------------------------

    def repeat(self: S, *repeats: Ints | Array, **axis: int | None) -> S:
        """``np.repeat``, each element some times in a row; ``axis`` has to be named.

        Errors: TypeError without it: PyTorch's ``repeat`` is ``np.tile``.
        """
        if len(repeats) == 1 and axis.keys() == {"axis"}:
            return call(np.repeat, self, repeats[0], **axis)
        raise refused(
            "x.repeat({})",
            repeats,
            "x.repeat(2, axis=1) or np.repeat(x, 2, axis=1) for each element twice in a row, "
            "np.tile(x, (2, 1)) for the whole repeated, as PyTorch's repeat",
        )

    def take(self: S, indices: Indices, axis: int | None = None) -> S:
        """``np.take``."""
        return call(np.take, self, indices, axis=axis)

    def gather(self: S, dim: int, index: Indices) -> S:
        """``ops.gather``, torch.gather."""
        return named("gather", self, dim, index)

    def index_select(self: S, dim: int, index: Indices) -> S:
        """``ops.index_select``, torch.index_select."""
        return named("index_select", self, dim, index)

    def chunk(self: S, chunks: int, dim: int = 0) -> Sequence[S]:
        """``ops.chunk``, torch.chunk."""
        parts: Sequence[S] = METHODS["chunk"](self, chunks, dim)
        return parts

    def unbind(self: S, dim: int = 0) -> Sequence[S]:
        """``ops.unbind``, torch.unbind."""
        parts: Sequence[S] = METHODS["unbind"](self, dim)
        return parts


def _several(axes: Any) -> tuple[int, ...]:
    return (axes,) if np.ndim(axes) == 0 else tuple(axes)


def _of_length_1(x: Shapes, axes: Ints) -> tuple[int, ...]:
    """Those of ``axes`` that have length 1, or that x has not: np.squeeze refuses them."""
    shape = x.array.shape
    return tuple(a for a in _several(axes) if not -len(shape) <= a < len(shape) or shape[a] == 1)
