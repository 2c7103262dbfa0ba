"""``skip_init``, which has nothing to skip here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def skip_init(module_cls: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Return ``module_cls(*args, **kwargs)``, whose parameters are to be overwritten.

    PyTorch leaves their memory as it was; here they are initialised, which costs little.
    """
    return module_cls(*args, **kwargs)
