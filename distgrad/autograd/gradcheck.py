"""Compares gradients with central differences, of first and second order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.engine import grad
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import GradError


def gradcheck(
    function: Callable[..., Any],
    inputs: Sequence[Any],
    *,
    second: bool = False,
    eps: float = 1e-6,
    rtol: float = 1e-5,
    atol: float = 1e-7,
) -> None:
    """Check the gradient of ``function`` at ``inputs`` against central differences.

    Inputs that are float64 arrays are differentiated, others passed on. The function's outputs are
    projected on a fixed random direction first. With ``second`` the gradient itself is checked in
    the same way. Errors: GradError naming the input and the largest difference.
    """
    arrays = [x.array if isinstance(x, Tensor) else x for x in inputs]
    where = [i for i, x in enumerate(arrays) if getattr(x, "dtype", None) == np.float64]
    rng = np.random.default_rng(7)
    scalar = _projected(function, rng)
    _compare(scalar, arrays, where, eps, rtol, atol, "gradient")
    if second:
        directions = {i: rng.standard_normal(arrays[i].shape) for i in where}

        def slope(*tensors: Any) -> Any:
            first = grad(
                scalar(*tensors), [tensors[i] for i in where], create_graph=True, allow_unused=True
            )
            terms = [
                np.sum(g * directions[i])
                for g, i in zip(first, where, strict=True)
                if g is not None
            ]
            return sum(terms[1:], terms[0])

        _compare(slope, arrays, where, eps, rtol * 10, atol * 10, "second gradient")


def _projected(function: Callable[..., Any], rng: np.random.Generator) -> Callable[..., Any]:
    directions: list[Array] = []

    def scalar(*tensors: Any) -> Any:
        values = function(*tensors)
        values = values if isinstance(values, tuple) else (values,)
        if not directions:
            directions.extend(rng.standard_normal(v.shape) for v in values)
        terms = [np.sum(v * d) for v, d in zip(values, directions, strict=True)]
        return sum(terms[1:], terms[0])

    return scalar


def _compare(
    scalar: Callable[..., Any],
    arrays: Sequence[Any],
    where: Sequence[int],
    eps: float,
    rtol: float,
    atol: float,
    what: str,
) -> None:
    tensors = [
        Tensor(np.array(x), requires_grad=True) if i in where else x for i, x in enumerate(arrays)
    ]
    value = scalar(*tensors)
    # What was not recorded has to be constant: the gradient of a linear op, for one.
    leaves = [tensors[i] for i in where]
    found = grad(value, leaves, allow_unused=True) if value.requires_grad else [None] * len(where)
    for i, g in zip(where, found, strict=True):
        analytic = np.zeros_like(arrays[i]) if g is None else g.array
        numeric = _central(scalar, tensors, i, eps)
        if not np.allclose(analytic, numeric, rtol=rtol, atol=atol):
            worst = float(np.max(np.abs(analytic - numeric)))
            raise GradError(
                f"{what} to input {i} (shape {np.shape(arrays[i])}) is wrong by {worst:.3g}: "
                f"computed {analytic.ravel()[:4]}, central differences {numeric.ravel()[:4]}"
            )


def _central(scalar: Callable[..., Any], tensors: Sequence[Any], i: int, eps: float) -> Array:
    data = tensors[i].array
    numeric: Array = np.zeros_like(data)
    for index in np.ndindex(data.shape):
        old = data[index]
        data[index] = old + eps
        above = scalar(*tensors).item()
        data[index] = old - eps
        below = scalar(*tensors).item()
        data[index] = old
        numeric[index] = (above - below) / (2 * eps)
    return numeric
