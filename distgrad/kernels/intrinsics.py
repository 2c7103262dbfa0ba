"""Instructions that kernels are given beside numba's own. Imports numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.core.typing.templates import builtin_registry
from numba.extending import intrinsic


def code(definition: Callable[..., Any]) -> Any:
    """Make an intrinsic of a function of numba's types; its place in a kernel is a call of it.

    numba looks through all its registries at every call that it meets, before it sees that it knows
    one of these kinds: a thirtieth of the time that a process takes which finds no kernels.
    """
    made = intrinsic(definition)
    template = next(t for t in reversed(builtin_registry.functions) if t.key is made)
    find, found = template.generic, dict[Any, Any]()

    def generic(self: Any, args: Any, kws: Any) -> Any:
        kinds = self.context, args, tuple(kws.items())
        if kinds not in found:
            found[kinds] = find(self, args, kws)
        return found[kinds]

    template.generic = generic
    return made


def place_of(context: Any, builder: Any, signature: Any, args: Any, n: int, index: Any) -> Any:
    """Return the pointer to element ``index`` of the array that is argument ``n``."""
    # numba's own way stores the array's nine words first, to read one of them.
    field = context.data_model_manager[signature.args[n]].get_field_position("data")
    return builder.gep(builder.extract_value(args[n], field), [index])
