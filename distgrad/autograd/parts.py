"""Gradients of which each rank has a part: summed there, and moved there.

Who clips, measures or zeroes gradients takes them as ``part_of`` gives them; reading one whole is
an error that says how.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn

import numpy as np

from distgrad.autograd.flat import held, hold_, sharding_of
from distgrad.autograd.layout import Part, Place
from distgrad.autograd.neighbours import is_in_place, neighbours
from distgrad.autograd.tensor import Size, Tensor
from distgrad.autograd.types import Array
from distgrad.errors import GradError


class Remote(Tensor):
    """A tensor whose form is known here, and whose values may be elsewhere."""

    __slots__ = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        shape: tuple[int, ...] = held(self).shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype."""
        dtype: np.dtype[Any] = held(self).dtype
        return dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return held(self).ndim

    @property
    def size(self) -> Size:
        """The number of elements; called, the lengths of the axes."""
        return Size(held(self))

    def __len__(self) -> int:
        return len(held(self))


class PartialGradient(Remote):
    """A gradient that is summed on this rank for the elements that it moves. Read, a GradError."""

    __slots__ = ()

    @classmethod
    def at(cls, place: Place) -> PartialGradient:
        """Return the gradient of the parameter that lies at ``place``."""
        gradient = cls(place.gradient)
        gradient._place = place
        return gradient

    @property
    def array(self) -> Array:
        """Errors: GradError, always."""
        _refuse()

    @array.setter
    def array(self, array: Array) -> None:
        hold_(self, array)

    def __repr__(self) -> str:
        return f"PartialGradient(shape={self.shape}, dtype={self.dtype})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        _refuse("; to copy or pickle a model, drop its gradients first: model.zero_grad()")


def part_of(gradient: Tensor) -> Array | Part:
    """Return what may be read and changed of a gradient: its array, or this rank's part of it."""
    if not isinstance(gradient, PartialGradient):
        return gradient.array
    place = gradient._place
    assert place is not None
    assert place.buffer.sharding is not None
    return place.buffer.sharding.part(place)


def gradients_to_write(tensors: Iterable[Tensor]) -> list[Array]:
    """Return the gradients of ``tensors``, or this rank's parts, in as few arrays as can be.

    Those that lie side by side in a buffer are one flat array.
    """
    having = [t for t in tensors if t.grad is not None]
    found: list[Array] = []
    beside = neighbours(having)
    if beside is None:  # some are elsewhere, or shared out
        placed: list[Tensor] = []
        for t in having:
            if is_in_place(t):
                placed.append(t)
                continue
            assert t.grad is not None
            part = part_of(t.grad)
            found.append(part.to_write() if isinstance(part, Part) else part)
        beside = neighbours(placed)
    return found + [stretch.flat for stretch in beside.stretches] if beside else found


def clear_(gradient: Tensor) -> None:
    """Fill a gradient with zeros."""
    part = part_of(gradient)
    (part.to_write() if isinstance(part, Part) else part)[...] = 0


@contextmanager
def values_here(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Have all values of ``tensors`` on all ranks that share them, inside ``with``; collective."""
    shardings = [s for t in tensors if (s := sharding_of(t)) is not None]
    with ExitStack() as stack:
        for ranks in {id(s.ranks): s.ranks for s in shardings}.values():
            stack.enter_context(ranks.values_here())
        yield


@contextmanager
def writing(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Let ``tensors`` be written to, inside ``with``; collective where ranks share them out."""
    shardings = [s for t in tensors if (s := sharding_of(t)) is not None]
    with ExitStack() as stack:
        for ranks in {id(s.ranks): s.ranks for s in shardings}.values():
            stack.enter_context(ranks.writing())
        yield


def _refuse(more: str = "") -> NoReturn:
    raise GradError(
        "this gradient is summed in parts, each on the rank that moves it (zero=1 or more): read "
        "or change it inside `with ddp.summon_full_gradients():`, or train with zero=0; clipping "
        f"and norms by dg.clip_grad_norm_ and its like need neither{more}"
    )
