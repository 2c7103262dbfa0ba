"""What a leaf is asked about its gradient beside ``register_hook``, which the Tensor itself has."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from distgrad.autograd.handle import RemovableHandle
from distgrad.errors import GradError


class Leaves:
    """retains_grad, register_post_accumulate_grad_hook."""

    __slots__ = ()

    @property
    def retains_grad(self) -> bool:
        """Whether a tensor that is no leaf keeps ``grad``, too."""
        own: Any = self
        if own._node is None:
            return False
        hooks = (own._node.hooks or {}).get(own._index, {})
        return any(getattr(hook, "retains", False) for hook in hooks.values())

    def register_post_accumulate_grad_hook(self, hook: Callable[[Any], Any]) -> RemovableHandle:
        """Call ``hook(leaf)`` after each backward pass has added to ``grad`` of this leaf.

        Under DistributedDataParallel that is once a shard, before gradients are summed over the
        ranks. Returns a handle with ``remove()``. Errors: GradError for what is no leaf, or
        requires no gradient.
        """
        own: Any = self
        if own._node is not None or not own.requires_grad:
            raise GradError(
                "register_post_accumulate_grad_hook is for leaves that require gradients; use "
                "register_hook, which is shown the gradient of any tensor"
            )
        afterwards: Any = functools.partial(hook)
        afterwards.afterwards = True
        own._hooks = {} if own._hooks is None else own._hooks
        return RemovableHandle(own._hooks, afterwards)
