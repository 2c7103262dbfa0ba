"""What a transform is: an invertible map with the logarithm of its derivative."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Shape
from distgrad.distributions import constraints
from distgrad.distributions.shared import given


class Transform(ABC):
    """A map y = f(x) of the elements, or of events of ``domain.event_dim`` axes.

    ``t(x)`` is f, ``t.inv(y)`` its inverse, ``t.log_abs_det_jacobian(x, y)`` log |f'|. With
    ``cache_size=1`` the inverse of the last y is the very x it was computed from. Two transforms of
    one kind with the same settings are equal.
    """

    bijective = True
    sign = 1
    domain: constraints.Constraint = constraints.real
    codomain: constraints.Constraint = constraints.real
    _pair: tuple[Tensor, Tensor] | None = None

    def __init__(self, cache_size: int = 0) -> None:
        if cache_size not in {0, 1}:
            raise ValueError(f"cache_size must be 0 or 1; got {cache_size}")
        self._cache_size = cache_size

    def __call__(self, x: TensorLike) -> Tensor:
        """Return f(x)."""
        x = given(x)
        y = self._call(x)
        if self._cache_size:
            self._pair = (x, y)
        return y

    def with_cache(self, cache_size: int = 1) -> Transform:
        """Return the transform with a cache of ``cache_size``, 0 or 1."""
        if self._cache_size == cache_size:
            return self
        new = copy.copy(self)
        new._pair = None
        Transform.__init__(new, cache_size)
        return new

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and _settings(self) == _settings(other)

    def __hash__(self) -> int:
        return hash(type(self))

    @property
    def inv(self) -> Transform:
        """The inverse."""
        return _Inverse(self)

    @abstractmethod
    def _call(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def _inverse(self, y: Tensor) -> Tensor: ...

    @abstractmethod
    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log |dy/dx|, summed over an event."""

    def forward_shape(self, shape: Shape) -> Shape:
        """Return the shape of what x of ``shape`` becomes."""
        return shape

    def inverse_shape(self, shape: Shape) -> Shape:
        """Return the shape of what y of ``shape`` comes from."""
        return shape

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _settings(transform: Transform) -> dict[str, Any]:
    def plain(x: Any) -> Any:
        if isinstance(x, Tensor | np.ndarray | int | float):
            return np.asarray(x.array if isinstance(x, Tensor) else x).tolist()
        return x

    left_out = {"domain", "codomain", "_pair", "_cache_size"}
    return {k: plain(v) for k, v in vars(transform).items() if k not in left_out}


class _Inverse(Transform):
    """A transform backwards."""

    def __init__(self, forward: Transform) -> None:
        super().__init__()
        self._forward = forward
        self.bijective = forward.bijective
        self.domain, self.codomain = forward.codomain, forward.domain

    @property
    def sign(self) -> Any:  # type: ignore[override]
        """That of the transform."""
        return self._forward.sign

    @property
    def inv(self) -> Transform:
        """The transform itself."""
        return self._forward

    def with_cache(self, cache_size: int = 1) -> Transform:
        """Return the inverse of the transform with a cache."""
        return _Inverse(self._forward.with_cache(cache_size))

    def _call(self, x: Tensor) -> Tensor:
        pair = self._forward._pair
        return pair[0] if pair is not None and pair[1] is x else self._forward._inverse(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self._forward(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return that of the transform, negative."""
        found: Tensor = -self._forward.log_abs_det_jacobian(y, x)
        return found

    def forward_shape(self, shape: Shape) -> Shape:
        """Return the transform's ``inverse_shape``."""
        return self._forward.inverse_shape(shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        """Return the transform's ``forward_shape``."""
        return self._forward.forward_shape(shape)

    def __repr__(self) -> str:
        return f"{self._forward!r}.inv"
