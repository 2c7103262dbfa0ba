"""Batch axes taken for a part of the event."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.distributions import constraints
from distgrad.distributions.distribution import Distribution, SampleShape
from distgrad.errors import ShapeError


def sum_rightmost(x: Tensor, count: int) -> Tensor:
    """The sum over the last ``count`` axes."""
    if count == 0:
        return x
    found: Tensor = np.sum(x, axis=tuple(range(-count, 0)))
    return found


class Independent(Distribution):
    """``base_distribution`` with its last ``reinterpreted_batch_ndims`` batch axes in the event.

    ``log_prob`` and ``entropy`` are summed over them. Errors: ShapeError if there are fewer.
    """

    def __init__(
        self,
        base_distribution: Distribution,
        reinterpreted_batch_ndims: int,
        validate_args: bool | None = None,
    ) -> None:
        n, batch = reinterpreted_batch_ndims, base_distribution.batch_shape
        if not 0 <= n <= len(batch):
            raise ShapeError(
                f"Expected 0 <= reinterpreted_batch_ndims <= len(base_distribution.batch_shape), "
                f"actual {n} vs {len(batch)}"
            )
        cut = len(batch) - n
        self.base_dist, self.reinterpreted_batch_ndims = base_distribution, n
        super().__init__(batch[:cut], (*batch[cut:], *base_distribution.event_shape), validate_args)

    def expand(self, batch_shape: Any) -> Independent:
        """Return the distribution with its batch broadcast to ``batch_shape``."""
        n = self.reinterpreted_batch_ndims
        inner = self.base_dist.expand((*batch_shape, *self._event_shape[:n]))
        return self._checked_like(Independent(inner, n, validate_args=False))

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """That of the base."""
        return self.base_dist.has_rsample

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        """That of the base, where nothing is reinterpreted."""
        return self.reinterpreted_batch_ndims == 0 and self.base_dist.has_enumerate_support

    @property
    def support(self) -> constraints.Constraint:
        """That of the base, for all of an event."""
        inner = self.base_dist.support
        n = self.reinterpreted_batch_ndims
        return constraints.independent(inner, n) if n else inner

    @property
    def mean(self) -> Tensor:
        """That of the base."""
        return self.base_dist.mean

    @property
    def mode(self) -> Tensor:
        """That of the base."""
        return self.base_dist.mode

    @property
    def variance(self) -> Tensor:
        """That of the base."""
        return self.base_dist.variance

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw from the base."""
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw from the base, with gradients."""
        return self.base_dist.rsample(sample_shape)

    def log_prob(self, value: TensorLike) -> Tensor:
        """That of the base, summed."""
        return sum_rightmost(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)

    def entropy(self) -> Tensor:
        """That of the base, summed."""
        return sum_rightmost(self.base_dist.entropy(), self.reinterpreted_batch_ndims)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return that of the base. Errors: NotImplementedError where axes are reinterpreted."""
        if self.reinterpreted_batch_ndims > 0:
            raise NotImplementedError(
                "Enumeration over cartesian product is not implemented: the axes that Independent "
                "took into the event would multiply it"
            )
        return self.base_dist.enumerate_support(expand)

    def __repr__(self) -> str:
        return f"Independent({self.base_dist!r}, {self.reinterpreted_batch_ndims})"
