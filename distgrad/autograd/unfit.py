"""What is said of data that no Tensor can be made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.types import Array
from distgrad.errors import ShapeError


def array_of(data: Any) -> Array:
    """Return nested lists as an array. Errors: ShapeError for lists of several lengths."""
    try:
        return np.asarray(data)
    except ValueError as error:
        raise _ragged(data) from error


def no_numbers(data: Any) -> TypeError:
    """Return the error of data that are no numbers."""
    what = f"an array of {data.dtype}" if isinstance(data, np.ndarray) else repr(data)
    return TypeError(f"a Tensor holds numbers or booleans; got {what}")


def _ragged(data: Any) -> ShapeError:
    lengths = [str(len(row)) if hasattr(row, "__len__") else "none" for row in data]
    found = f"rows of the lengths {', '.join(lengths[:5])}{', …' if len(lengths) > 5 else ''}"
    if len({*lengths}) == 1:
        found = f"{len(lengths)} rows whose own rows differ in length"
    return ShapeError(f"a Tensor has rows of one length; got {found}: pad them to the longest")
