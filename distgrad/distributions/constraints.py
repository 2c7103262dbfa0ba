"""Where parameters and samples may lie: what ``validate_args`` checks.

``constraint.check(value)`` says for each element, or for each of the last ``event_dim`` axes
together, whether it does. Nothing here is recorded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array

__all__ = [
    "Constraint",
    "boolean",
    "cat",
    "corr_cholesky",
    "dependent",
    "dependent_property",
    "greater_than",
    "greater_than_eq",
    "half_open_interval",
    "independent",
    "integer_interval",
    "interval",
    "is_dependent",
    "less_than",
    "lower_cholesky",
    "lower_triangular",
    "multinomial",
    "nonnegative",
    "nonnegative_integer",
    "one_hot",
    "positive",
    "positive_definite",
    "positive_integer",
    "positive_semidefinite",
    "real",
    "real_vector",
    "simplex",
    "square",
    "stack",
    "symmetric",
    "unit_interval",
]


class Constraint(ABC):
    """A region of numbers, or of vectors and matrices (``event_dim`` axes together)."""

    is_discrete = False
    event_dim = 0
    name = ""

    def check(self, value: TensorLike) -> Tensor:
        """Return booleans: of the shape of ``value`` without its last ``event_dim`` axes."""
        x = value.array if isinstance(value, Tensor) else np.asarray(value)
        with np.errstate(all="ignore"):
            return Tensor(np.asarray(self._holds(x)))

    @abstractmethod
    def _holds(self, x: Array) -> Any: ...

    def __repr__(self) -> str:
        return self.name


class _Region(Constraint):
    """A constraint that a formula says; ``bounds`` are its ``lower_bound`` and ``upper_bound``."""

    def __init__(
        self, name: str, holds: Any, event_dim: int = 0, discrete: bool = False, **bounds: Any
    ) -> None:
        self.name, self._formula = name, holds
        self.event_dim, self.is_discrete = event_dim, discrete
        vars(self).update(bounds)

    def _holds(self, x: Array) -> Any:
        return self._formula(x)


class _Dependent(Constraint):
    """A region that depends on other parameters: checked by nobody, or by the distribution."""

    name = "Dependent()"

    def __init__(self, event_dim: int = 0, is_discrete: bool = False) -> None:
        self.event_dim, self.is_discrete = event_dim, is_discrete

    def __call__(self, *, event_dim: int = 0, is_discrete: bool = False) -> _Dependent:
        """Return one of other axes: ``dependent`` and ``dependent(event_dim=1)`` are both one."""
        return _Dependent(event_dim, is_discrete)

    def _holds(self, x: Array) -> Any:
        raise ValueError("a dependent constraint can be checked by its distribution alone")


class dependent_property(property):  # noqa: N801 (PyTorch's name)
    """A property whose value is a constraint that depends on parameters: a ``support``.

    ``@dependent_property`` or ``@dependent_property(is_discrete=…, event_dim=…)``.
    """

    def __init__(self, fget: Any = None, *, is_discrete: bool = False, event_dim: int = 0) -> None:
        super().__init__(fget)
        self.is_discrete, self.event_dim = is_discrete, event_dim

    def __call__(self, fget: Any) -> dependent_property:
        """Return the property of ``fget``."""
        return dependent_property(fget, is_discrete=self.is_discrete, event_dim=self.event_dim)


def is_dependent(constraint: object) -> bool:
    """Whether ``constraint`` depends on other parameters."""
    return isinstance(constraint, _Dependent | dependent_property)


class independent(Constraint):  # noqa: N801 (PyTorch's name)
    """``base`` for each element of the last ``count`` axes."""

    def __init__(self, base: Constraint, count: int) -> None:
        self.base, self.count = base, count
        self.is_discrete, self.event_dim = base.is_discrete, base.event_dim + count

    def _holds(self, x: Array) -> Any:
        if x.ndim < self.event_dim:
            raise ValueError(
                f"a value of {x.ndim} axes where {self.event_dim} or more are expected"
            )
        inner = self.base.check(x).array
        return np.all(inner, axis=tuple(range(inner.ndim - self.count, inner.ndim)))

    def __repr__(self) -> str:
        return f"Independent({self.base!r}, {self.count})"


class cat(Constraint):  # noqa: N801 (PyTorch's name)
    """Stretches of the axis ``dim``, as long as ``lengths`` (1 each) say, each with its own."""

    def __init__(
        self, cseq: Sequence[Constraint], dim: int = 0, lengths: Sequence[int] | None = None
    ) -> None:
        self.cseq, self.dim = list(cseq), dim
        self.lengths = [1] * len(self.cseq) if lengths is None else list(lengths)
        self.is_discrete = any(c.is_discrete for c in self.cseq)
        self.event_dim = max(c.event_dim for c in self.cseq)

    def _holds(self, x: Array) -> Any:
        parts = np.split(x, np.cumsum(self.lengths)[:-1], axis=self.dim)
        checks = [c.check(part).array for c, part in zip(self.cseq, parts, strict=True)]
        return np.concatenate(checks, axis=self.dim)

    def __repr__(self) -> str:
        return f"cat({self.cseq!r}, dim={self.dim})"


class stack(Constraint):  # noqa: N801 (PyTorch's name)
    """The slices of the axis ``dim``, each with its own."""

    def __init__(self, cseq: Sequence[Constraint], dim: int = 0) -> None:
        self.cseq, self.dim = list(cseq), dim
        self.is_discrete = any(c.is_discrete for c in self.cseq)
        first = max(c.event_dim for c in self.cseq)
        self.event_dim = first if self.dim + first >= 0 else first + 1

    def _holds(self, x: Array) -> Any:
        slices = np.moveaxis(x, self.dim, 0)
        checks = [c.check(part).array for c, part in zip(self.cseq, slices, strict=True)]
        return np.stack(checks, axis=self.dim)

    def __repr__(self) -> str:
        return f"stack({self.cseq!r}, dim={self.dim})"


def _bound(x: Any) -> Any:
    return x.array if isinstance(x, Tensor) else x


def greater_than(lower_bound: Any) -> Constraint:
    """x > lower_bound."""
    a = _bound(lower_bound)
    return _Region(f"GreaterThan(lower_bound={a})", lambda x: x > a, lower_bound=lower_bound)


def greater_than_eq(lower_bound: Any) -> Constraint:
    """x ≥ lower_bound."""
    a = _bound(lower_bound)
    return _Region(f"GreaterThanEq(lower_bound={a})", lambda x: x >= a, lower_bound=lower_bound)


def less_than(upper_bound: Any) -> Constraint:
    """x < upper_bound."""
    b = _bound(upper_bound)
    return _Region(f"LessThan(upper_bound={b})", lambda x: x < b, upper_bound=upper_bound)


def interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """lower_bound ≤ x ≤ upper_bound."""
    a, b = _bound(lower_bound), _bound(upper_bound)
    name = f"Interval(lower_bound={a}, upper_bound={b})"
    return _Region(
        name, lambda x: (x >= a) & (x <= b), lower_bound=lower_bound, upper_bound=upper_bound
    )


def half_open_interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """lower_bound ≤ x < upper_bound."""
    a, b = _bound(lower_bound), _bound(upper_bound)
    name = f"HalfOpenInterval(lower_bound={a}, upper_bound={b})"
    return _Region(
        name, lambda x: (x >= a) & (x < b), lower_bound=lower_bound, upper_bound=upper_bound
    )


def integer_interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """A whole number from lower_bound to upper_bound."""
    a, b = _bound(lower_bound), _bound(upper_bound)
    name = f"IntegerInterval(lower_bound={a}, upper_bound={b})"
    return _Region(
        name,
        lambda x: (x % 1 == 0) & (x >= a) & (x <= b),
        discrete=True,
        lower_bound=lower_bound,
        upper_bound=upper_bound,
    )


def multinomial(upper_bound: Any) -> Constraint:
    """Whole numbers that are not negative and sum up to upper_bound along the last axis."""
    b = _bound(upper_bound)
    name = f"Multinomial(upper_bound={b})"
    return _Region(
        name,
        lambda x: np.all((x >= 0) & (x % 1 == 0), -1) & (x.sum(-1) <= b),
        1,
        discrete=True,
        upper_bound=upper_bound,
    )


def _transposed(x: Array) -> Array:
    return np.swapaxes(x, -2, -1)


def _symmetric(x: Array) -> Any:
    return np.all(np.isclose(x, _transposed(x), atol=1e-6), axis=(-2, -1))


def _positive_definite(x: Array) -> Any:
    good = np.asarray(_symmetric(x))
    for index in np.ndindex(good.shape):
        try:
            np.linalg.cholesky(x[index])
        except np.linalg.LinAlgError:
            good[index] = False
    return good


def _simplex(x: Array) -> Any:
    return np.all(x >= 0, axis=-1) & (np.absolute(x.sum(-1) - 1) < 1e-6)


def _lower_triangular(x: Array) -> Any:
    return np.all(np.tril(x) == x, axis=(-2, -1))


def _lower_cholesky(x: Array) -> Any:
    return _lower_triangular(x) & np.all(np.diagonal(x, axis1=-2, axis2=-1) > 0, axis=-1)


def _corr_cholesky(x: Array) -> Any:
    tolerance = float(np.finfo(x.dtype).eps) * x.shape[-1] * 10
    unit = np.all(np.absolute(np.sqrt(np.sum(x * x, axis=-1)) - 1) <= tolerance, axis=-1)
    return unit & _lower_cholesky(x)


def _positive_semidefinite(x: Array) -> Any:
    symmetric = np.asarray(_symmetric(x))
    clean = np.where(symmetric[..., None, None], x, 0)
    return symmetric & np.all(np.linalg.eigvalsh(clean) >= 0, axis=-1)


def _one_hot(x: Array) -> Any:
    return np.all((x == 0) | (x == 1), axis=-1) & (x.sum(-1) == 1)


dependent = _Dependent()
boolean = _Region("Boolean()", lambda x: (x == 0) | (x == 1), discrete=True)
one_hot = _Region("OneHot()", _one_hot, 1, discrete=True)
nonnegative_integer = _Region(
    "IntegerGreaterThan(lower_bound=0)", lambda x: (x % 1 == 0) & (x >= 0), discrete=True
)
positive_integer = _Region(
    "IntegerGreaterThan(lower_bound=1)", lambda x: (x % 1 == 0) & (x >= 1), discrete=True
)
real = _Region("Real()", lambda x: x == x)
real_vector = independent(real, 1)
positive = greater_than(0.0)
nonnegative = greater_than_eq(0.0)
unit_interval = interval(0.0, 1.0)
simplex = _Region("Simplex()", _simplex, 1)
square = _Region("Square()", lambda x: np.full(x.shape[:-2], x.shape[-2] == x.shape[-1]), 2)
symmetric = _Region("Symmetric()", _symmetric, 2)
lower_triangular = _Region("LowerTriangular()", _lower_triangular, 2)
corr_cholesky = _Region("CorrCholesky()", _corr_cholesky, 2)
lower_cholesky = _Region("LowerCholesky()", _lower_cholesky, 2)
positive_definite = _Region("PositiveDefinite()", _positive_definite, 2)
positive_semidefinite = _Region("PositiveSemidefinite()", _positive_semidefinite, 2)
