"""The base of all distributions: shapes, validation, and what follows from other methods."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import ClassVar, TypeVar

import numpy as np

from distgrad.autograd.mode import no_grad
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Shape
from distgrad.distributions import constraints
from distgrad.distributions.beside import beside
from distgrad.distributions.shared import broadcast_to, given, lazy, recorded
from distgrad.errors import ShapeError

D = TypeVar("D", bound="Distribution")
SampleShape = Sequence[int]


def _no_shape(given: object) -> ShapeError:
    return ShapeError(f"sample_shape is a tuple of whole numbers, 0 or more; got {given!r}")


class Distribution:
    """A probability distribution: ``batch_shape`` independent ones of events of ``event_shape``.

    Samples have the shape ``sample_shape + batch_shape + event_shape`` and come from ``dg.random``:
    inside a shard they are the same on any number of ranks. What a distribution does not have (a
    quantile function, an entropy) raises NotImplementedError, as in PyTorch.
    """

    has_rsample = False
    has_enumerate_support = False
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    _validate = __debug__

    def __init__(
        self,
        batch_shape: Sequence[int] = (),
        event_shape: Sequence[int] = (),
        validate_args: bool | None = None,
    ) -> None:
        self._batch_shape, self._event_shape = tuple(batch_shape), tuple(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        else:
            self._validate_args = Distribution._validate
        if self._validate_args:
            self._check_parameters()

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Say whether distributions check their parameters and values if not told otherwise."""
        if value not in (True, False):
            raise ValueError(f"set_default_validate_args takes True or False; got {value!r}")
        Distribution._validate = bool(value)

    @beside()
    def _check_parameters(self) -> None:
        for name, constraint in self.arg_constraints.items():
            if constraints.is_dependent(constraint) or name not in self.__dict__:
                continue
            value = getattr(self, name)
            if not np.all(constraint.check(value).array):
                raise ShapeError(
                    f"Expected parameter {name} (Tensor of shape {tuple(value.shape)}) of "
                    f"distribution {self!r} to satisfy the constraint {constraint!r}, but found "
                    f"invalid values:\n{value}"
                )

    # -- shapes -----------------------------------------------------------------------------------

    @property
    def batch_shape(self) -> Shape:
        """The shape over which parameters are batched."""
        return self._batch_shape

    @property
    def event_shape(self) -> Shape:
        """The shape of one event."""
        return self._event_shape

    def _extended_shape(self, sample_shape: SampleShape = ()) -> Shape:
        try:
            shape = tuple(map(operator.index, sample_shape))
        except TypeError as error:
            raise _no_shape(sample_shape) from error
        if any(n < 0 for n in shape):
            raise _no_shape(sample_shape)
        return (*shape, *self._batch_shape, *self._event_shape)

    def expand(self: D, batch_shape: Sequence[int]) -> D:
        """Return the distribution with parameters broadcast to ``batch_shape``."""
        new = type(self).__new__(type(self))
        new.__dict__.update(self.__dict__)
        new._batch_shape = shape = tuple(batch_shape)
        for name, constraint in self.arg_constraints.items():
            value = self.__dict__.get(name)
            if isinstance(value, Tensor):
                inner = value.shape[value.ndim - constraint.event_dim :]
                new.__dict__[name] = broadcast_to(value, (*shape, *inner))
            elif isinstance(getattr(type(self), name, None), lazy):
                new.__dict__.pop(name, None)
        return new

    def _checked_like(self, made: D) -> D:
        """``made``, which checks its values if this one does."""
        made._validate_args = self._validate_args
        return made

    # -- what distributions say -------------------------------------------------------------------

    @property
    def support(self) -> constraints.Constraint:
        """Where samples lie."""
        raise NotImplementedError

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        raise NotImplementedError

    @property
    def mode(self) -> Tensor:
        """The likeliest value."""
        raise NotImplementedError(f"{type(self).__name__} does not implement mode")

    @property
    def variance(self) -> Tensor:
        """The mean square of what a sample differs from the mean by."""
        raise NotImplementedError

    @property
    def stddev(self) -> Tensor:
        """The square root of the variance."""
        found: Tensor = recorded(np.sqrt(self.variance))
        return found

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw samples, of shape ``sample_shape + batch_shape + event_shape``; no gradient."""
        with no_grad():
            return self.rsample(sample_shape)

    def sample_n(self, n: int) -> Tensor:
        """Return ``sample((n,))``: PyTorch's older name."""
        return self.sample((n,))

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Draw samples through which gradients flow to the parameters."""
        raise NotImplementedError(
            f"samples of {type(self).__name__} have no gradient (has_rsample is False); use "
            f"sample(), and log_prob() for the score-function gradient"
        )

    def log_prob(self, value: TensorLike) -> Tensor:
        """Return the log of the density or probability at ``value``, without the event's axes."""
        raise NotImplementedError

    def cdf(self, value: TensorLike) -> Tensor:
        """Return the probability of a sample up to ``value``."""
        raise NotImplementedError

    def icdf(self, value: TensorLike) -> Tensor:
        """Return the quantile: the inverse of ``cdf``."""
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """Return -E log_prob in nats, of shape ``batch_shape``."""
        raise NotImplementedError

    def perplexity(self) -> Tensor:
        """Return exp(entropy)."""
        found: Tensor = recorded(np.exp(self.entropy()))
        return found

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return all values, along a new first axis; without ``expand`` alike for the batch."""
        raise NotImplementedError

    # -- for distributions ------------------------------------------------------------------------

    def _value(self, value: TensorLike, like: Tensor) -> Tensor:
        """``value`` as a Tensor, real unless it is a sample of another kind, and checked."""
        if not isinstance(value, Tensor):
            weak = isinstance(value, int | float | list)
            value = given(np.asarray(value, like.dtype) if weak else value)
        if value.dtype.kind in "biu":
            value = value.astype(like.dtype)
        if self._validate_args:
            self._validate_sample(value)
        return value

    @beside()
    def _validate_sample(self, value: Tensor) -> None:
        axes = len(self._event_shape)
        inner = value.shape[value.ndim - axes :] if axes else ()
        if inner != self._event_shape:
            raise ShapeError(
                f"The right-most size of value must match event_shape: "
                f"{value.shape} vs {self._event_shape}."
            )
        try:
            np.broadcast_shapes(value.shape, self._extended_shape())
        except ValueError as error:
            raise ShapeError(
                f"Value is not broadcastable with batch_shape+event_shape: {value.shape} vs "
                f"{self._extended_shape()}."
            ) from error
        try:
            support = self.support
        except NotImplementedError:
            return
        if not constraints.is_dependent(support) and not np.all(support.check(value).array):
            raise ShapeError(
                f"Expected value argument (Tensor of shape {value.shape}) to be within the support "
                f"({support!r}) of the distribution {self!r}, but found invalid values:\n{value}"
            )

    def _expanded(self, values: Tensor, expand: bool) -> Tensor:
        """``values`` (n, *event) as ``enumerate_support`` returns them."""
        n, event = len(values), values.shape[1:]
        shaped = recorded(np.reshape(values, (n, *(1 for _ in self._batch_shape), *event)))
        return broadcast_to(shaped, (n, *self._batch_shape, *event)) if expand else shaped

    def __repr__(self) -> str:
        parts = []
        for name in self.arg_constraints:
            value = self.__dict__.get(name)
            if isinstance(value, Tensor):
                shown = f"{value.item()}" if value.shape == () else f"of shape {value.shape}"
                parts.append(f"{name}: {shown}")
        return f"{type(self).__name__}({', '.join(parts)})"
