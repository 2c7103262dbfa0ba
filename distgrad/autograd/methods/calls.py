"""How methods reach the functions of their names. Knows none of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from distgrad.autograd.tensor import Array, Tensor

# Filled by @op and as_method(): what NumPy has no function for.
METHODS: dict[str, Callable[..., Any]] = {}


class ValuesAndIndices(NamedTuple):
    """Elements and where they are along an axis, as PyTorch's ``max(dim)``, ``sort``, ``topk``."""

    values: Tensor
    indices: Array


def call(function: Any, *args: Any, **settings: Any) -> Tensor:
    """Call a NumPy function on Tensors; its stubs promise arrays."""
    result: Tensor = function(*args, **settings)
    return result


def named(name: str, *args: Any, **settings: Any) -> Tensor:
    """Call what stands in METHODS."""
    result: Tensor = METHODS[name](*args, **settings)
    return result
