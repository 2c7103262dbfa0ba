"""Names for the types of arrays and settings. Knows nothing else of the package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

# In op bodies and in the functions of distgrad.ops a Tensor may stand in for an Array: they are
# written against the interface that both have, and run on Tensors for gradients of gradients.
Array: TypeAlias = "np.ndarray[Any, Any]"
Operand: TypeAlias = "Array | complex"
"""An Array or a Python number (complex says the others too)."""

Shape: TypeAlias = "tuple[int, ...]"
Ints: TypeAlias = "int | Sequence[int]"
"""One whole number or several: a shape, axes, a setting of all axes or of each."""
Axis: TypeAlias = "int | Shape | None"
"""Which axes: one, several, or all of them."""

DTypeLike: TypeAlias = "npt.DTypeLike"

Closure: TypeAlias = "Callable[[Array], Array]"
"""From the gradient of an op's output to that of one input."""
