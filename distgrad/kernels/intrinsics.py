"""Instructions that kernels are given beside numba's own. Imports numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.extending import intrinsic


def code(definition: Callable[..., Any]) -> Any:
    """Make an instruction of a function of numba's types; its place in a kernel is a call of it."""
    return intrinsic(definition)


def place_of(context: Any, builder: Any, signature: Any, args: Any, n: int, index: Any) -> Any:
    """Return the pointer to element ``index`` of the array that is argument ``n``."""
    # numba's own way stores the array's nine words first, to read one of them.
    field = context.data_model_manager[signature.args[n]].get_field_position("data")
    return builder.gep(builder.extract_value(args[n], field), [index])
