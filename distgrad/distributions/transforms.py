"""All transforms: those of several others and of shapes stand here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad.autograd.apart import fixed
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Shape
from distgrad.distributions import constraints
from distgrad.distributions.elementwise_transforms import (
    AbsTransform,
    AffineTransform,
    ExpTransform,
    PowerTransform,
    SigmoidTransform,
    SoftmaxTransform,
    SoftplusTransform,
    TanhTransform,
)
from distgrad.distributions.independent import sum_rightmost
from distgrad.distributions.joined_transforms import (
    CatTransform,
    CumulativeDistributionTransform,
    StackTransform,
)
from distgrad.distributions.shared import recorded
from distgrad.distributions.transform import Transform
from distgrad.distributions.vector_transforms import (
    CorrCholeskyTransform,
    LowerCholeskyTransform,
    PositiveDefiniteTransform,
    StickBreakingTransform,
)
from distgrad.errors import ShapeError

__all__ = [
    "AbsTransform",
    "AffineTransform",
    "CatTransform",
    "ComposeTransform",
    "CorrCholeskyTransform",
    "CumulativeDistributionTransform",
    "ExpTransform",
    "IndependentTransform",
    "LowerCholeskyTransform",
    "PositiveDefiniteTransform",
    "PowerTransform",
    "ReshapeTransform",
    "SigmoidTransform",
    "SoftmaxTransform",
    "SoftplusTransform",
    "StackTransform",
    "StickBreakingTransform",
    "TanhTransform",
    "Transform",
    "identity_transform",
]


class ComposeTransform(Transform):
    """Several transforms, the first one first."""

    def __init__(self, parts: Sequence[Transform], cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.parts = list(parts)
        if not all(isinstance(p, Transform) for p in self.parts):
            raise TypeError(f"ComposeTransform takes a list of transforms; got {parts!r}")
        self.bijective = all(p.bijective for p in self.parts)
        if self.parts:
            self.domain, self.codomain = _chain(self.parts)

    @property
    def sign(self) -> Any:  # type: ignore[override]
        """The product of theirs."""
        found: Any = 1
        for part in self.parts:
            found = found * part.sign
        return found

    def _call(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x

    def _inverse(self, y: Tensor) -> Tensor:
        for part in reversed(self.parts):
            y = part.inv(y)
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the sum of theirs."""
        total: Any = 0.0
        axes = self.domain.event_dim
        for part in self.parts:
            after = part(x)
            here = part.domain.event_dim
            total = total + sum_rightmost(part.log_abs_det_jacobian(x, after), axes - here)
            axes += part.codomain.event_dim - here
            x = after
        return total if self.parts else Tensor(fixed(np.zeros(x.shape, x.dtype)))

    def forward_shape(self, shape: Shape) -> Shape:
        """Return theirs, one after the other."""
        for part in self.parts:
            shape = part.forward_shape(shape)
        return shape

    def inverse_shape(self, shape: Shape) -> Shape:
        """Return theirs, backwards."""
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)
        return shape

    def __repr__(self) -> str:
        return f"ComposeTransform([{', '.join(map(repr, self.parts))}])"


def _chain(parts: list[Transform]) -> tuple[constraints.Constraint, constraints.Constraint]:
    """The first domain and last codomain, with as many event axes as the longest part needs."""
    domain, codomain = parts[0].domain, parts[-1].codomain
    need = parts[-1].codomain.event_dim
    for part in reversed(parts):
        need = max(need + part.domain.event_dim - part.codomain.event_dim, part.domain.event_dim)
    have = need
    for part in parts:
        have += part.codomain.event_dim - part.domain.event_dim
    if need > domain.event_dim:
        domain = constraints.independent(domain, need - domain.event_dim)
    if have > codomain.event_dim:
        codomain = constraints.independent(codomain, have - codomain.event_dim)
    return domain, codomain


class IndependentTransform(Transform):
    """``base_transform`` with ``reinterpreted_batch_ndims`` more axes in an event."""

    def __init__(
        self, base_transform: Transform, reinterpreted_batch_ndims: int, cache_size: int = 0
    ) -> None:
        super().__init__(cache_size)
        n = reinterpreted_batch_ndims
        self.base_transform, self.reinterpreted_batch_ndims = base_transform, n
        self.bijective = base_transform.bijective
        self.domain = constraints.independent(base_transform.domain, n)
        self.codomain = constraints.independent(base_transform.codomain, n)

    @property
    def sign(self) -> Any:  # type: ignore[override]
        """That of the base."""
        return self.base_transform.sign

    def _call(self, x: Tensor) -> Tensor:
        self._check(x, self.domain.event_dim)
        return self.base_transform(x)

    def _inverse(self, y: Tensor) -> Tensor:
        self._check(y, self.codomain.event_dim)
        return self.base_transform.inv(y)

    def _check(self, value: Tensor, axes: int) -> None:
        if value.ndim < axes:
            raise ShapeError(
                f"IndependentTransform: a value of shape {value.shape} has too few axes for events "
                f"of {axes}"
            )

    def forward_shape(self, shape: Shape) -> Shape:
        """Return that of the base."""
        return self.base_transform.forward_shape(shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        """Return that of the base."""
        return self.base_transform.inverse_shape(shape)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return that of the base, summed."""
        inner = self.base_transform.log_abs_det_jacobian(x, y)
        return sum_rightmost(inner, self.reinterpreted_batch_ndims)


class ReshapeTransform(Transform):
    """Events of ``in_shape`` as events of ``out_shape``. Errors: ShapeError for other sizes."""

    def __init__(
        self, in_shape: Sequence[int], out_shape: Sequence[int], cache_size: int = 0
    ) -> None:
        super().__init__(cache_size)
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        if math.prod(self.in_shape) != math.prod(self.out_shape):
            raise ShapeError(
                f"ReshapeTransform: {self.in_shape} and {self.out_shape} have different numbers of "
                f"elements"
            )
        self.domain = constraints.independent(constraints.real, len(self.in_shape))
        self.codomain = constraints.independent(constraints.real, len(self.out_shape))

    def _call(self, x: Tensor) -> Tensor:
        found: Tensor = recorded(np.reshape(x, self.forward_shape(x.shape)))
        return found

    def _inverse(self, y: Tensor) -> Tensor:
        found: Tensor = recorded(np.reshape(y, self.inverse_shape(y.shape)))
        return found

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return 0."""
        shape = x.shape[: x.ndim - len(self.in_shape)]
        return Tensor(fixed(np.zeros(shape, x.dtype)))

    def forward_shape(self, shape: Shape) -> Shape:
        """Return ``shape`` with its last axes as ``out_shape``."""
        return _replaced(shape, self.in_shape, self.out_shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        """Return ``shape`` with its last axes as ``in_shape``."""
        return _replaced(shape, self.out_shape, self.in_shape)


def _replaced(shape: Shape, old: Shape, new: Shape) -> Shape:
    cut = len(shape) - len(old)
    if cut < 0 or shape[cut:] != old:
        raise ShapeError(f"ReshapeTransform: a value of shape {shape} has no events of {old}")
    return (*shape[:cut], *new)


identity_transform = ComposeTransform([])
