"""LogisticNormal: vectors of probabilities made of normal numbers."""

from __future__ import annotations

from typing import Any, ClassVar

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.distributions import constraints
from distgrad.distributions.normal import Normal
from distgrad.distributions.shared import recorded
from distgrad.distributions.transformed import TransformedDistribution
from distgrad.distributions.vector_transforms import StickBreakingTransform


class LogisticNormal(TransformedDistribution):
    """The k + 1 probabilities that breaking a stick by k Normal(loc, scale) logits gives."""

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}

    def __init__(
        self, loc: TensorLike, scale: TensorLike, validate_args: bool | None = None
    ) -> None:
        base = Normal(loc, scale, validate_args)
        base = base if base.batch_shape else base.expand((1,))
        super().__init__(base, StickBreakingTransform(), validate_args)

    @property
    def _normal(self) -> Any:
        return self.base_dist.base_dist  # type: ignore[attr-defined]

    @property
    def support(self) -> constraints.Constraint:
        """Vectors of probabilities."""
        return constraints.simplex

    @property
    def loc(self) -> Tensor:
        """The means of the logits."""
        return recorded(self._normal.loc)

    @property
    def scale(self) -> Tensor:
        """The standard deviations of the logits."""
        return recorded(self._normal.scale)
