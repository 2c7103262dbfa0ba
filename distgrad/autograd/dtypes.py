"""The dtype of real numbers that come without one: float32, as in PyTorch, unless it is changed."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.types import DTypeLike
from distgrad.errors import DistgradError

# One for the process, as in PyTorch: simulated ranks run the same statements.
_default: np.dtype[Any] = np.dtype(np.float32)


def get_default_dtype() -> np.dtype[Any]:
    """Return the dtype of Python's floats and of new parameters."""
    return _default


def set_default_dtype(d: DTypeLike) -> None:
    """Let Python's floats and new parameters have another dtype from now on.

    Errors: DistgradError for one that is not floating point.
    """
    global _default  # noqa: PLW0603 (the setting is the process's)
    wanted: np.dtype[Any] = np.dtype(d)
    if wanted.kind != "f":
        raise DistgradError(f"the default dtype is a floating-point one; got {wanted}")
    _default = wanted
