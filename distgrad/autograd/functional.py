"""torch.autograd.functional's names: derivatives of a function at given inputs.

``dg.jacobian(f)(x)`` and the like return functions instead (``dg.func`` and autograd's style).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad.autograd import transforms
from distgrad.autograd.mode import no_grad
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Ints
from distgrad.errors import GradError
from distgrad.missing import answers as _answers

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """Return the Jacobian of ``func(*inputs)``: (*shape of the value, *shape of the input).

    Nested in tuples where there are several values or inputs. ``vectorize`` and ``strategy`` say
    how, not what: they change nothing here. Errors: GradError for ``strict``.
    """
    _check("jacobian", strict)
    xs, numbers = _given(inputs)
    return _run(create_graph, transforms.jacobian(func, numbers), xs)


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """Return the second derivatives of ``func(*inputs)``, a single number."""
    _check("hessian", strict)
    xs, numbers = _given(inputs)
    return _run(create_graph, transforms.hessian(_scalar(func), numbers), xs)


def vjp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """Return (value, vᵀ Jacobian); ``v`` like the value, left out for a single number."""
    _check("vjp", strict)
    xs, _ = _given(inputs)

    def both(*args: Any) -> Any:
        value, pull = transforms.vjp(func, *args)
        return value, pull(_ones(value, v, "vjp"))

    value, gradients = _run(create_graph, both, xs)
    return value, _like_inputs(inputs, gradients)


def jvp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """Return (value, Jacobian v); ``v`` like the inputs, left out for a single number."""
    _check("jvp", strict)
    xs, _ = _given(inputs)
    tangents = _tangents(inputs, v, "jvp")
    found: tuple[Any, Any] = _run(
        create_graph, lambda *args: transforms.jvp(func, args, tangents), xs
    )
    return found


def hvp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """Return (value, Hessian v) of a ``func`` that returns a single number."""
    _check("hvp", strict)
    xs, _ = _given(inputs)
    tangents = _tangents(inputs, v, "hvp")
    value, product = _run(
        create_graph, lambda *args: transforms.hvp(_scalar(func), args, tangents), xs
    )
    return value, _like_inputs(inputs, product)


def vhp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """Return (value, vᵀ Hessian): the Hessian is symmetric, so it is ``hvp``."""
    return hvp(func, inputs, v, create_graph, strict)


def _check(name: str, strict: bool) -> None:
    if strict:
        raise GradError(
            f"autograd.functional.{name}: strict=True is not supported; an input that the value "
            f"does not depend on has zeros for its derivative"
        )


def _given(inputs: Any) -> tuple[tuple[Any, ...], Ints]:
    if isinstance(inputs, tuple | list):
        return tuple(inputs), tuple(range(len(inputs)))
    return (inputs,), 0


def _run(create_graph: bool, function: Callable[..., Any], xs: tuple[Any, ...]) -> Any:
    if create_graph:
        return function(*xs)
    with no_grad():
        return function(*xs)


def _scalar(func: Callable[..., Any]) -> Callable[..., Any]:
    """``func`` with a result of one element as a number, as PyTorch takes it."""

    def number(*args: Any) -> Any:
        value = func(*args)
        return np.reshape(value, ()) if value.ndim and value.array.size == 1 else value

    return number


def _ones(value: Any, v: Any, name: str) -> Any:
    if v is not None:
        return v
    if not isinstance(value, Tensor) or value.array.size != 1:
        raise GradError(
            f"autograd.functional.{name}: the vector v can be left out only where the function "
            f"returns a single number"
        )
    return np.ones(value.shape, value.dtype)


def _tangents(inputs: Any, v: Any, name: str) -> tuple[Any, ...]:
    if v is None:
        if isinstance(inputs, tuple | list) or inputs.array.size != 1:
            raise GradError(
                f"autograd.functional.{name}: the vector v can be left out only for a single "
                f"input of one element"
            )
        return (np.ones(inputs.shape, inputs.dtype),)
    return tuple(v) if isinstance(v, tuple | list) else (v,)


def _like_inputs(inputs: Any, gradients: tuple[Any, ...]) -> Any:
    return gradients if isinstance(inputs, tuple | list) else gradients[0]


__getattr__ = _answers("distgrad.autograd.functional", globals())
