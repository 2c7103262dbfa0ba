"""Transforms made of others side by side, and of a distribution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.distributions import constraints
from distgrad.distributions.distribution import Distribution
from distgrad.distributions.independent import sum_rightmost
from distgrad.distributions.shared import recorded
from distgrad.distributions.transform import Transform
from distgrad.errors import ShapeError


class CatTransform(Transform):
    """Stretches of the axis ``dim``, as long as ``lengths`` (1 each) say, each by its transform."""

    def __init__(
        self,
        tseq: Sequence[Transform],
        dim: int = 0,
        lengths: Sequence[int] | None = None,
        cache_size: int = 0,
    ) -> None:
        super().__init__(cache_size)
        self.transforms, self.dim = _listed("CatTransform", tseq), dim
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)
        if len(self.lengths) != len(self.transforms):
            raise ShapeError(
                f"CatTransform: {len(self.lengths)} lengths for {len(self.transforms)} transforms"
            )
        self.bijective = all(t.bijective for t in self.transforms)
        self.event_dim = max(t.domain.event_dim for t in self.transforms)
        self.domain = constraints.cat([t.domain for t in self.transforms], dim, self.lengths)
        self.codomain = constraints.cat([t.codomain for t in self.transforms], dim, self.lengths)

    @property
    def length(self) -> int:
        """The length of the axis."""
        return sum(self.lengths)

    def _call(self, x: Tensor) -> Tensor:
        return self._joined(
            [t(part) for t, part in zip(self.transforms, self._cut(x), strict=True)]
        )

    def _inverse(self, y: Tensor) -> Tensor:
        parts = zip(self.transforms, self._cut(y), strict=True)
        return self._joined([t.inv(part) for t, part in parts])

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return theirs, side by side; summed where events reach over the axis."""
        logs = []
        for t, a, b in zip(self.transforms, self._cut(x), self._cut(y), strict=True):
            found = t.log_abs_det_jacobian(a, b)
            logs.append(sum_rightmost(found, self.event_dim - t.domain.event_dim))
        dim = (self.dim if self.dim < 0 else self.dim - x.ndim) + self.event_dim
        if dim < 0:
            return recorded(np.concatenate(logs, axis=dim))
        total: Any = logs[0]
        for found in logs[1:]:
            total = total + found
        return recorded(total)

    def _cut(self, x: Tensor) -> list[Any]:
        if not -x.ndim <= self.dim < x.ndim or x.shape[self.dim] != self.length:
            raise ShapeError(
                f"CatTransform: a value of shape {x.shape} has no axis dim={self.dim} of "
                f"{self.length}"
            )
        return np.split(x, np.cumsum(self.lengths)[:-1], axis=self.dim)

    def _joined(self, parts: list[Tensor]) -> Tensor:
        return recorded(np.concatenate(parts, axis=self.dim))


class StackTransform(Transform):
    """The slices of the axis ``dim``, each by its transform."""

    def __init__(self, tseq: Sequence[Transform], dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.transforms, self.dim = _listed("StackTransform", tseq), dim
        self.bijective = all(t.bijective for t in self.transforms)
        self.domain = constraints.stack([t.domain for t in self.transforms], dim)
        self.codomain = constraints.stack([t.codomain for t in self.transforms], dim)

    def _call(self, x: Tensor) -> Tensor:
        return self._each(x, lambda t, part, _: t(part), x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self._each(y, lambda t, part, _: t.inv(part), y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return theirs, stacked."""
        return self._each(x, lambda t, a, b: t.log_abs_det_jacobian(a, b), y)

    def _each(self, x: Any, of: Callable[[Transform, Any, Any], Any], y: Any) -> Tensor:
        n = len(self.transforms)
        if not -x.ndim <= self.dim < x.ndim or x.shape[self.dim] != n:
            raise ShapeError(
                f"StackTransform: a value of shape {x.shape} has no axis dim={self.dim} of {n}"
            )
        one, two = (recorded(np.moveaxis(v, self.dim, 0)) for v in (x, y))
        found = [of(t, one[i], two[i]) for i, t in enumerate(self.transforms)]
        return recorded(np.stack(found, axis=self.dim))


class CumulativeDistributionTransform(Transform):
    """The distribution function of ``distribution``: its samples become even in (0, 1)."""

    codomain = constraints.unit_interval

    def __init__(self, distribution: Distribution, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.distribution = distribution

    @property
    def domain(self) -> constraints.Constraint:  # type: ignore[override]
        """Where samples lie."""
        return self.distribution.support

    def _call(self, x: Tensor) -> Tensor:
        return self.distribution.cdf(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.distribution.icdf(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``log_prob`` of x."""
        return self.distribution.log_prob(x)


def _listed(who: str, transforms: Sequence[Transform]) -> list[Transform]:
    found = list(transforms)
    if not found or not all(isinstance(t, Transform) for t in found):
        raise TypeError(f"{who} takes a list of transforms, one or more; got {transforms!r}")
    return found
