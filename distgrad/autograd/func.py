"""torch.func's names for the functional transforms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad.autograd import transforms
from distgrad.autograd.nested import flatten, rebuild
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.transforms import grad, hessian, jvp, value_and_grad, vjp
from distgrad.autograd.types import Ints
from distgrad.autograd.vmap import vmap

__all__ = [
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "vjp",
    "vmap",
]


def grad_and_value(
    func: Callable[..., Any], argnums: Ints = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Return a function that computes (gradient, value); with ``has_aux`` (gradient, (value, aux)).

    ``dg.value_and_grad`` has them the other way round.
    """
    both = value_and_grad(func, argnums, has_aux)

    def swapped(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return gradient, value

    return swapped


def jacrev(
    func: Callable[..., Any], argnums: Ints = 0, *, chunk_size: int | None = None
) -> Callable[..., Any]:
    """``dg.jacobian``: one backward pass per element of the value."""
    return transforms.jacobian(func, argnums)


def jacfwd(func: Callable[..., Any], argnums: Ints = 0) -> Callable[..., Any]:
    """The Jacobian by ``jvp``, one per element of the arguments: for few inputs, many outputs."""
    numbers = (argnums,) if isinstance(argnums, int | np.integer) else tuple(argnums)

    def jacobians(*args: Any, **kwargs: Any) -> Any:
        chosen = tuple(args[n] for n in numbers)

        def of_chosen(*xs: Any) -> Any:
            full = list(args)
            for n, x in zip(numbers, xs, strict=True):
                full[n] = x
            return func(*full, **kwargs)

        leaves, given = flatten(chosen)
        columns: list[list[list[Any]]] = []
        structure: Any = None
        for k, leaf in enumerate(leaves):
            data = leaf.array if isinstance(leaf, Tensor) else np.asarray(leaf)
            of_leaf = []
            for index in np.ndindex(data.shape):
                units = [np.zeros_like(x.array if isinstance(x, Tensor) else x) for x in leaves]
                units[k][index] = 1
                _, pushed = transforms.jvp(of_chosen, chosen, rebuild(given, units))
                flat, structure = flatten(pushed)
                of_leaf.append(flat)
            columns.append(of_leaf)
        blocks = []
        for o in range(len(columns[0][0])):
            nested = [
                np.reshape(
                    np.stack([c[o] for c in of_leaf], axis=-1),
                    (*of_leaf[0][o].shape, *np.shape(x.array if isinstance(x, Tensor) else x)),
                )
                for of_leaf, x in zip(columns, leaves, strict=True)
            ]
            built = rebuild(given, nested)
            blocks.append(built[0] if isinstance(argnums, int | np.integer) else built)
        return rebuild(structure, blocks)

    return jacobians


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """Return the value at ``primals`` and a function from tangents to derivatives along them.

    The function is recorded anew for each call (``jvp``); its result is linear in the tangents.
    """
    value, _ = transforms.vjp(func, *primals)

    def along(*tangents: Any) -> Any:
        return transforms.jvp(func, primals, tangents)[1]

    return value, along
