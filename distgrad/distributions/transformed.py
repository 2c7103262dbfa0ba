"""A distribution seen through invertible maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad.autograd.mode import no_grad
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.distributions import constraints
from distgrad.distributions.distribution import Distribution, SampleShape
from distgrad.distributions.independent import Independent, sum_rightmost
from distgrad.distributions.shared import given
from distgrad.distributions.transforms import ComposeTransform, Transform
from distgrad.errors import ShapeError


class TransformedDistribution(Distribution):
    """f(x) of samples x of ``base_distribution``, f one transform or several.

    log p(y) = log p(x) - log |f'(x)| at x = f⁻¹(y).
    """

    def __init__(
        self,
        base_distribution: Distribution,
        transforms: Transform | Sequence[Transform],
        validate_args: bool | None = None,
    ) -> None:
        self.transforms = [transforms] if isinstance(transforms, Transform) else list(transforms)
        if not all(isinstance(t, Transform) for t in self.transforms):
            raise ShapeError(f"transforms must be a Transform or several; got {transforms!r}")
        whole = ComposeTransform(self.transforms)
        shape = (*base_distribution.batch_shape, *base_distribution.event_shape)
        needed = whole.domain.event_dim if self.transforms else 0
        if len(shape) < needed:
            raise ShapeError(
                f"base_distribution needs to have shape with size at least {needed}, but got "
                f"{shape}."
            )
        out = whole.forward_shape(shape)
        wide = whole.inverse_shape(out)  # transforms may have parameters of more axes
        if wide != shape:
            batch = wide[: len(wide) - len(base_distribution.event_shape)]
            base_distribution = base_distribution.expand(batch)
        more = max(needed - len(base_distribution.event_shape), 0)
        self.base_dist = Independent(base_distribution, more) if more else base_distribution
        self._event_axes = whole.codomain.event_dim if self.transforms else 0
        self._event_axes += max(len(self.base_dist.event_shape) - needed, 0)
        cut = len(out) - self._event_axes
        super().__init__(out[:cut], out[cut:], validate_args)

    def expand(self, batch_shape: Any) -> Any:
        """Return the distribution with its batch broadcast to ``batch_shape``."""
        whole = ComposeTransform(self.transforms)
        full = whole.inverse_shape((*batch_shape, *self._event_shape))
        inner = full[: len(full) - len(self.base_dist.event_shape)]
        new = type(self).__new__(type(self))
        new.__dict__.update(self.__dict__)
        new.base_dist = self.base_dist.expand(inner)
        new._batch_shape = tuple(batch_shape)
        return new

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """That of the base."""
        return self.base_dist.has_rsample

    @property
    def support(self) -> constraints.Constraint:
        """What the last transform maps to."""
        if not self.transforms:
            return self.base_dist.support
        found = self.transforms[-1].codomain
        more = len(self._event_shape) - found.event_dim
        return constraints.independent(found, more) if more > 0 else found

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw from the base, and map."""
        with no_grad():
            x = self.base_dist.sample(sample_shape)
            for transform in self.transforms:
                x = transform(x)
        return x

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw from the base with gradients, and map."""
        x = self.base_dist.rsample(sample_shape)
        for transform in self.transforms:
            x = transform(x)
        return x

    def log_prob(self, value: TensorLike) -> Tensor:
        """That of the base where ``value`` came from, less log |f'|."""
        y = self._real(value)
        axes = len(self._event_shape)
        total: Any = 0.0
        for transform in reversed(self.transforms):
            x = transform.inv(y)
            axes += transform.domain.event_dim - transform.codomain.event_dim
            logs = transform.log_abs_det_jacobian(x, y)
            total = total - sum_rightmost(logs, axes - transform.domain.event_dim)
            y = x
        base = self.base_dist.log_prob(y)
        found: Tensor = total + sum_rightmost(base, axes - len(self.base_dist.event_shape))
        return found

    def cdf(self, value: TensorLike) -> Tensor:
        """That of the base where ``value`` came from; of falling maps 1 less it."""
        y = self._real(value)
        for transform in reversed(self.transforms):
            y = transform.inv(y)
        return self._upwards(self.base_dist.cdf(y))

    def icdf(self, value: TensorLike) -> Tensor:
        """That of the base, mapped."""
        x = self.base_dist.icdf(self._upwards(given(value)))
        for transform in self.transforms:
            x = transform(x)
        return x

    def _upwards(self, p: Tensor) -> Tensor:
        sign: Any = 1
        for transform in self.transforms:
            sign = sign * transform.sign
        if isinstance(sign, int) and sign == 1:
            return p
        found: Tensor = sign * (p - 0.5) + 0.5
        return found

    def _real(self, value: TensorLike) -> Tensor:
        y = given(value)
        if y.dtype.kind in "biu":
            y = y.astype(np.float32)
        if self._validate_args:
            self._validate_sample(y)
        return y

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_dist!r}, {self.transforms!r})"
