"""Transforms of single numbers, and of vectors of logits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.mode import no_grad
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Shape
from distgrad.distributions import constraints
from distgrad.distributions.independent import sum_rightmost
from distgrad.distributions.shared import constant, eps, recorded, tiny
from distgrad.distributions.transform import Transform
from distgrad.errors import ShapeError
from distgrad.ops.activation import sigmoid, softplus
from distgrad.ops.softmax import softmax


def _shape(x: TensorLike) -> Shape:
    return x.shape if isinstance(x, Tensor) else np.shape(x)


def _sign(factor: Any) -> Any:
    if not isinstance(factor, Tensor):
        signs = np.sign(np.asarray(factor))
        return int(signs) if signs.ndim == 0 else signs
    with no_grad():
        found = np.sign(factor)
    return found if found.ndim else int(found.item())


class AffineTransform(Transform):
    """loc + scale · x; with ``event_dim`` the last axes are one event."""

    def __init__(
        self, loc: TensorLike, scale: TensorLike, event_dim: int = 0, cache_size: int = 0
    ) -> None:
        super().__init__(cache_size)
        self.loc, self.scale = loc, scale
        if event_dim:
            self.domain = self.codomain = constraints.independent(constraints.real, event_dim)
        self.event_dim = event_dim

    @property
    def sign(self) -> Any:  # type: ignore[override]
        """That of ``scale``."""
        return _sign(self.scale)

    def forward_shape(self, shape: Shape) -> Shape:
        """Return ``shape`` broadcast with ``loc`` and ``scale``."""
        return np.broadcast_shapes(shape, _shape(self.loc), _shape(self.scale))

    inverse_shape = forward_shape

    def _call(self, x: Tensor) -> Tensor:
        found: Tensor = recorded(self.loc + self.scale * x)
        return found

    def _inverse(self, y: Tensor) -> Tensor:
        found: Tensor = (y - self.loc) / self.scale
        return found

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log |scale|."""
        if isinstance(self.scale, int | float):
            logs = constant(math.log(abs(self.scale)), x)
        else:
            logs = recorded(
                np.broadcast_to(
                    np.log(np.absolute(self.scale)),
                    np.broadcast_shapes(x.shape, _shape(self.scale)),
                )
            )
        return sum_rightmost(logs, self.event_dim)

    def __repr__(self) -> str:
        return f"AffineTransform(loc={self.loc}, scale={self.scale})"


class ExpTransform(Transform):
    """exp(x)."""

    codomain = constraints.positive

    def _call(self, x: Tensor) -> Tensor:
        found: Tensor = recorded(np.exp(x))
        return found

    def _inverse(self, y: Tensor) -> Tensor:
        found: Tensor = recorded(np.log(y))
        return found

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return x."""
        return x


class PowerTransform(Transform):
    """x ** exponent of positive numbers."""

    domain = codomain = constraints.positive

    def __init__(self, exponent: TensorLike, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.exponent = exponent

    @property
    def sign(self) -> Any:  # type: ignore[override]
        """That of ``exponent``."""
        return _sign(self.exponent)

    def forward_shape(self, shape: Shape) -> Shape:
        """Return ``shape`` broadcast with ``exponent``."""
        return np.broadcast_shapes(shape, _shape(self.exponent))

    inverse_shape = forward_shape

    def _call(self, x: Tensor) -> Tensor:
        found: Tensor = recorded(np.power(x, self.exponent))
        return found

    def _inverse(self, y: Tensor) -> Tensor:
        exponent: Any = self.exponent
        found: Tensor = recorded(np.power(y, 1 / exponent))
        return found

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log |exponent y / x|."""
        found: Tensor = recorded(np.log(np.absolute(self.exponent * y / x)))
        return found


class SigmoidTransform(Transform):
    """1 / (1 + exp(-x)), kept inside (0, 1)."""

    codomain = constraints.unit_interval

    def _call(self, x: Tensor) -> Tensor:
        found: Tensor = np.clip(sigmoid(x), tiny(x.dtype), 1 - eps(x.dtype))
        return found

    def _inverse(self, y: Tensor) -> Tensor:
        y = recorded(np.clip(y, tiny(y.dtype), 1 - eps(y.dtype)))
        found: Tensor = np.log(y) - np.log1p(-y)
        return found

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log y + log(1 - y)."""
        found: Tensor = -softplus(-x) - softplus(x)
        return found


class TanhTransform(Transform):
    """tanh(x), and the derivative's logarithm without cancellation."""

    codomain = constraints.interval(-1.0, 1.0)

    def _call(self, x: Tensor) -> Tensor:
        found: Tensor = recorded(np.tanh(x))
        return found

    def _inverse(self, y: Tensor) -> Tensor:
        found: Tensor = recorded(np.arctanh(y))
        return found

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return 2 (log 2 - x - softplus(-2x))."""
        found: Tensor = 2.0 * (math.log(2.0) - x - softplus(-2.0 * x))
        return found


class SoftplusTransform(Transform):
    """log(1 + exp(x))."""

    codomain = constraints.positive

    def _call(self, x: Tensor) -> Tensor:
        found: Tensor = softplus(x)
        return found

    def _inverse(self, y: Tensor) -> Tensor:
        found: Tensor = np.log(-np.expm1(-y)) + y
        return found

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log of the sigmoid."""
        found: Tensor = -softplus(-x)
        return found


class AbsTransform(Transform):
    """|x|: not one to one, so without a density."""

    bijective = False
    codomain = constraints.nonnegative

    def _call(self, x: Tensor) -> Tensor:
        found: Tensor = recorded(np.absolute(x))
        return found

    def _inverse(self, y: Tensor) -> Tensor:
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Errors: NotImplementedError."""
        raise NotImplementedError("AbsTransform is not one to one: it has no log_abs_det_jacobian")


class SoftmaxTransform(Transform):
    """softmax over the last axis; its inverse is the logarithm. Without a density."""

    bijective = False
    domain, codomain = constraints.real_vector, constraints.simplex

    def _call(self, x: Tensor) -> Tensor:
        found: Tensor = softmax(x, axis=-1)
        return found

    def _inverse(self, y: Tensor) -> Tensor:
        found: Tensor = recorded(np.log(y))
        return found

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Errors: NotImplementedError."""
        raise NotImplementedError("SoftmaxTransform is not one to one: no log_abs_det_jacobian")

    def forward_shape(self, shape: Shape) -> Shape:
        """Return ``shape``. Errors: ShapeError for single numbers."""
        if not shape:
            raise ShapeError("SoftmaxTransform is of vectors; got a value of shape ()")
        return shape

    inverse_shape = forward_shape
