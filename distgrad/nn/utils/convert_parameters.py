"""All parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from distgrad.arguments import explained
from distgrad.autograd.parts import writing
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError


@explained
def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Return all elements of all parameters in one vector, in their order; on the tape."""
    flat = [np.reshape(p, (-1,)) for p in parameters]
    if not flat:
        raise ShapeError("parameters_to_vector got no parameters; pass model.parameters()")
    joined: Any = np.concatenate(flat)
    vector: Tensor = joined
    return vector


@explained
def vector_to_parameters(vec: Tensor | Array, parameters: Iterable[Tensor]) -> None:
    """Copy the elements of ``vec`` into the parameters, in place and in their order.

    Errors: ShapeError unless ``vec`` has as many elements as the parameters.
    """
    listed = list(parameters)
    flat = vec.array if isinstance(vec, Tensor) else np.asarray(vec)
    wanted = sum(p.array.size for p in listed)
    if flat.shape != (wanted,):
        raise ShapeError(
            f"vector_to_parameters: the vector has the shape {flat.shape}, the parameters have "
            f"{wanted} elements"
        )
    start = 0
    with writing(listed):
        for p in listed:
            stop = start + p.array.size
            p.array[...] = flat[start:stop].reshape(p.shape)
            start = stop
