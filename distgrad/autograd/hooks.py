"""The user's functions of a gradient, applied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from distgrad.autograd.tensor import Tensor
from distgrad.errors import GradError


def apply_hooks(hooks: Mapping[int, Callable[[Tensor], Any]], gradient: Tensor) -> Tensor:
    """Pass ``gradient`` through the hooks in the order in which they were registered.

    Errors: GradError for a replacement of another shape.
    """
    # What retain_grad keeps is what the user's hooks have made of it.
    for hook in sorted(hooks.values(), key=lambda h: getattr(h, "retains", False)):
        if getattr(hook, "afterwards", False):
            continue
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


def run_afterwards(leaf: Tensor) -> None:
    """Call the hooks of ``leaf`` that wait until its gradient has been added to ``grad``."""
    for hook in list((leaf._hooks or {}).values()):
        if getattr(hook, "afterwards", False):
            hook(leaf)
