"""Functions of the user's that are called with a gradient, or with what a module is given."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from distgrad.autograd.tensor import Tensor
from distgrad.errors import GradError

_numbers = itertools.count()


class RemovableHandle:
    """What ``register_…_hook`` returns; ``remove()`` or leaving a ``with`` block ends the hook."""

    def __init__(self, hooks: dict[int, Any], hook: Any) -> None:
        self._hooks = hooks
        self._number = next(_numbers)
        hooks[self._number] = hook

    def remove(self) -> None:
        """Forget the hook; a second time does nothing."""
        self._hooks.pop(self._number, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def register_hook(tensor: Tensor, hook: Callable[[Tensor], Any]) -> RemovableHandle:
    """Have ``hook`` called with the whole gradient of ``tensor`` in each backward pass."""
    if not tensor.requires_grad:
        raise GradError(
            "register_hook on a tensor that requires no gradient: it would never be called; "
            "call requires_grad_() first"
        )
    if tensor._node is None:
        if tensor._hooks is None:
            tensor._hooks = {}
        return RemovableHandle(tensor._hooks, hook)
    node = tensor._node
    if node.hooks is None:
        node.hooks = {}
    return RemovableHandle(node.hooks.setdefault(tensor._index, {}), hook)


def apply_hooks(hooks: Mapping[int, Callable[[Tensor], Any]], gradient: Tensor) -> Tensor:
    """Pass ``gradient`` through the hooks in the order in which they were registered.

    Errors: GradError for a replacement of another shape.
    """
    # What retain_grad keeps is what the user's hooks have made of it.
    for hook in sorted(hooks.values(), key=lambda h: getattr(h, "retains", False)):
        replaced = hook(gradient)
        if replaced is None:
            continue
        new = replaced if isinstance(replaced, Tensor) else Tensor(replaced)
        if new.shape != gradient.shape:
            raise GradError(
                f"the hook {getattr(hook, '__name__', hook)!r} returned a gradient of shape "
                f"{new.shape} for one of {gradient.shape}; return the same shape, or None"
            )
        gradient = new if new.dtype == gradient.dtype else new.astype(gradient.dtype)
    return gradient
