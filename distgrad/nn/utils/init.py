"""``skip_init``: a model whose weights come from a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from distgrad.arguments import explained
from distgrad.nn.skip import not_drawn

T = TypeVar("T")


@explained
def skip_init(module_cls: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Return ``module_cls(*args, **kwargs)`` with weights that are not drawn, to be overwritten.

    They are zeros, whose memory is taken when they are written: a model to be loaded, or counted,
    is made at once.
    """
    with not_drawn():
        return module_cls(*args, **kwargs)
