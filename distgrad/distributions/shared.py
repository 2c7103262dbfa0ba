"""What distributions share: parameters as Tensors of one shape, probabilities and logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

import numpy as np

from distgrad.autograd.apart import fixed
from distgrad.autograd.dtypes import get_default_dtype
from distgrad.autograd.flat import held
from distgrad.autograd.mode import enable_grad
from distgrad.autograd.op import Op, OpResult
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Shape
from distgrad.errors import ShapeError
from distgrad.ops.activation import sigmoid
from distgrad.ops.measure import logsumexp
from distgrad.ops.softmax import softmax

EULER = 0.57721566490153286061
T = TypeVar("T")


def recorded(result: Any) -> Tensor:
    """``result``: NumPy's stubs take it for an array; of Tensors it is one."""
    tensor: Tensor = result
    return tensor


def parameter(value: TensorLike) -> Tensor:
    """``value`` as a Tensor of real numbers; whole ones are taken for real.

    Errors: ShapeError for complex ones, TypeError for what is no number.
    """
    tensor = given(value)
    if tensor.dtype.kind in "biu":
        return tensor.astype(get_default_dtype())
    if tensor.dtype.kind != "f":
        raise ShapeError(
            f"a distribution's parameters are Tensors of real numbers, or numbers; got {value!r}"
        )
    return tensor


def given(value: TensorLike) -> Tensor:
    """``value`` as a Tensor; numbers are constants of a recorded step."""
    if isinstance(value, Tensor):
        return value
    made = Tensor(value)
    if not isinstance(value, np.ndarray):
        fixed(held(made))
    return made


def broadcast_all(*values: TensorLike) -> list[Tensor]:
    """The values as Tensors of one shape; Python numbers take the dtype of the others."""
    tensors = [v for v in values if isinstance(v, Tensor | np.ndarray) and v.dtype.kind == "f"]
    dtype = np.result_type(*[t.dtype for t in tensors]) if tensors else None
    made = []
    for v in values:
        if isinstance(v, int | float) and dtype is not None:
            made.append(Tensor(fixed(np.asarray(v, dtype))))
        else:
            made.append(parameter(v))
    try:
        shape = np.broadcast_shapes(*[t.shape for t in made])
    except ValueError as error:
        shapes = ", ".join(str(t.shape) for t in made)
        raise ShapeError(f"parameters of shapes {shapes} do not broadcast together") from error
    return [broadcast_to(t, shape) for t in made]


def broadcast_to(tensor: Tensor, shape: Shape) -> Tensor:
    """``tensor`` in ``shape``, itself if it has it."""
    if tensor.shape == shape:
        return tensor
    found: Tensor = recorded(np.broadcast_to(tensor, shape))
    return found


def constant(value: Any, like: Tensor) -> Tensor:
    """A Tensor of the shape and dtype of ``like``, filled with ``value``."""
    return Tensor(fixed(np.full(like.shape, value, like.dtype)))


def tiny(dtype: Any) -> float:
    """The smallest normal number."""
    return float(np.finfo(dtype).tiny)


def eps(dtype: Any) -> float:
    """The distance from 1 to the next number."""
    return float(np.finfo(dtype).eps)


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities moved inside (0, 1) by the machine's epsilon."""
    e = eps(probs.dtype)
    found: Tensor = recorded(np.clip(probs, e, 1 - e))
    return found


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """log p, or log p - log(1 - p) for probabilities of two outcomes."""
    p = clamp_probs(probs)
    found: Tensor = recorded(np.log(p) - np.log1p(-p) if is_binary else np.log(p))
    return found


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """Sigmoid, or softmax over the last axis."""
    found: Tensor = sigmoid(logits) if is_binary else softmax(logits, axis=-1)
    return found


def normalised_logits(logits: Tensor) -> Tensor:
    """Logits whose exponentials sum up to 1 along the last axis."""
    found: Tensor = logits - logsumexp(logits, axis=-1, keepdims=True)
    return found


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """-log of the probability that sigmoid(logits) gives to ``target``."""
    found: Tensor = np.maximum(logits, 0) - logits * target + np.log1p(np.exp(-np.absolute(logits)))
    return found


def above(parameter: Tensor, bound: float) -> Tensor:
    """The parameter where it is above ``bound``; elsewhere what no moment divides by 0 for."""
    x = parameter
    return recorded(np.where(x > bound, x, bound + 1.0).astype(x.dtype))


def where_above(parameter: Tensor, bound: float, moment: Tensor, other: float) -> Tensor:
    """The moment where the parameter is above ``bound``, else ``other``."""
    return recorded(np.where(parameter > bound, moment, other).astype(moment.dtype))


def one_of(name: str, **given: TensorLike | None) -> tuple[str, Any]:
    """The one setting that is given. Errors: ShapeError if there are none or several."""
    found = [(k, v) for k, v in given.items() if v is not None]
    if len(found) != 1:
        names = " or ".join(f"`{k}`" for k in given)
        raise ShapeError(f"{name}: exactly one of {names} must be given; got {len(found)}")
    return found[0]


class lazy:  # noqa: N801 (a decorator)
    """A property that is computed once, on the tape even where it is asked for under no_grad."""

    def __init__(self, function: Callable[[Any], Tensor]) -> None:
        self.function, self.__doc__ = function, function.__doc__
        self.name = function.__name__

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        with enable_grad():
            value = self.function(instance)
        instance.__dict__[self.name] = value  # found there from now on
        return value


def _inside_body(x: Array, *, low: float) -> OpResult:
    """Numbers that rounding took to a bound, back inside; the gradient knows nothing of it."""
    return np.clip(x, low, np.inf), lambda g: g


inside = Op(_inside_body, ("... -> ...",), None, (0.5, 2.0), False)
# No member of the registry: its gradient is not that of its values.


class lazy_property(Generic[T]):  # noqa: N801 (PyTorch's name)
    """A property that is computed, with gradients, when it is first asked for, and kept."""

    def __init__(self, wrapped: Callable[[Any], T]) -> None:
        self.wrapped = wrapped
        self.__doc__ = wrapped.__doc__

    @overload
    def __get__(self, instance: None, owner: Any = None) -> lazy_property[T]: ...
    @overload
    def __get__(self, instance: object, owner: Any = None) -> T: ...
    def __get__(self, instance: object | None, owner: Any = None) -> T | lazy_property[T]:
        if instance is None:
            return self
        with enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.wrapped.__name__, value)
        return value
