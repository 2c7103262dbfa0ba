"""Copying a checkpoint's arrays into a model's own, all of them or none."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distgrad.arguments import explained
from distgrad.autograd.tensor import Tensor
from distgrad.errors import CheckpointError


@explained
def restore_into(
    arrays: Mapping[str, NDArray[Any]],
    target: Mapping[str, Any],
    *,
    origin: str = "the checkpoint",
) -> None:
    """Copy ``arrays`` into the arrays of ``target`` in place, after names, shapes and dtypes agree.

    Raises CheckpointError naming the first difference, with nothing copied; ``origin`` is how the
    message calls the source.
    """
    target = {name: a.array if isinstance(a, Tensor) else a for name, a in target.items()}
    difference = _first_difference(arrays, target)
    if difference:
        raise CheckpointError(
            f"{origin} belongs to another model: {difference}; build the model with the settings "
            "that it was saved with, or name another checkpoint folder"
        )
    for name, array in target.items():
        np.copyto(array, arrays[name], casting="no")


def _first_difference(
    arrays: Mapping[str, NDArray[Any]], target: Mapping[str, NDArray[Any]]
) -> str | None:
    for name in target:
        if name not in arrays:
            return f"{name!r} is missing in it"
    for name in arrays:
        if name not in target:
            return f"it has {name!r}, which this model has not"
    for name, array in target.items():
        saved = arrays[name]
        if saved.shape != array.shape:
            return f"{name!r} has shape {saved.shape} in it and {array.shape} in this model"
        if saved.dtype != array.dtype:
            return f"{name!r} is {saved.dtype} in it and {array.dtype} in this model"
        if not array.flags.writeable:
            return f"{name!r} is read-only in this model"
    return None
