"""Parameters whose values are on their way: whoever reads one waits for them, without knowing.

That a parameter waits is its class, so that reading costs nothing where nothing is awaited.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

from distgrad.autograd.flat import held, hold_, sharding_of
from distgrad.autograd.parts import Remote
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array


class Holder(Protocol):
    """Who knows when values are there."""

    def arrive(self, tensor: Tensor) -> None:
        """Return when the values of ``tensor`` may be read."""

    def detached(self, tensor: Tensor) -> Array:
        """Return the values as an array that may be kept."""


class Awaited(Remote):
    """A tensor whose values are on their way, or on other ranks."""

    __slots__ = ()

    @property
    def array(self) -> Array:
        """The values, once they are there."""
        _holder(self).arrive(self)
        return held(self)

    @array.setter
    def array(self, array: Array) -> None:
        # What is on its way would be written over what is assigned.
        _holder(self).arrive(self)
        hold_(self, array)

    @property
    def data(self) -> Tensor:
        """The values outside the tape."""
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        Tensor.data.__set__(self, value)  # type: ignore[attr-defined]

    def detach(self) -> Tensor:
        """Return the values outside the tape; a copy if the memory will be given back."""
        return Tensor(_holder(self).detached(self))

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A copy is of the class that this one has when nothing is awaited."""
        return _reduce(self, protocol)


def await_(tensor: Tensor) -> None:
    """Let readers of ``tensor`` ask its sharding, which is a Holder, first."""
    if not isinstance(tensor, Awaited):
        tensor.__class__ = _awaited(type(tensor))


def stop_waiting(tensor: Tensor) -> None:
    """Let ``tensor`` be read as any other."""
    if isinstance(tensor, Awaited):
        tensor.__class__ = usual(type(tensor))  # type: ignore[assignment]


def usual(kind: type[Tensor]) -> type[Tensor]:
    """Return the class of a tensor of ``kind`` when nothing is awaited."""
    found: type[Tensor] = kind.__bases__[1] if issubclass(kind, Awaited) else kind
    return found


@cache
def _awaited(kind: type[Tensor]) -> type[Tensor]:
    # ``type(p)(array)`` makes a tensor of its own, which waits for nothing.
    make: Callable[..., Tensor] = lambda _, *args, **kwargs: kind(*args, **kwargs)  # noqa: E731
    members = {"__slots__": (), "__new__": make, "__module__": kind.__module__}
    return type(kind.__name__, (Awaited, kind), members)


def _reduce(tensor: Tensor, protocol: Any) -> Any:
    state: Any = tensor.__getstate__()
    return _rebuilt, (usual(type(tensor)), state)


def _rebuilt(kind: type[Tensor], state: Any) -> Tensor:
    tensor: Tensor = kind.__new__(kind)
    tensor.__setstate__(state)
    return tensor


def _holder(tensor: Tensor) -> Holder:
    holder: Any = sharding_of(tensor)
    return holder  # type: ignore[no-any-return]
