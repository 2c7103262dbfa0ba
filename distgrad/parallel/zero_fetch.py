"""Brings parameters that are elsewhere to the modules that own them, before each pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from distgrad.autograd.mode import grad_enabled
from distgrad.autograd.tensor import Tensor
from distgrad.nn import Module
from distgrad.parallel.zero import Fleeting, Shares


def fetch_for(shares: Shares, module: Module) -> None:
    """Let every module under ``module`` have the buckets of its own parameters when it runs."""
    of = {id(p): share for share in shares.buckets for p in share.params}
    for user in module.modules():
        own = [of.get(id(p)) for p in user.parameters(recurse=False)]
        fleeting = [s for s in dict.fromkeys(own) if isinstance(s, Fleeting)]
        if fleeting:
            _watch(user, fleeting)


def _watch(user: Module, buckets: Sequence[Fleeting]) -> None:
    for bucket in buckets:
        bucket.users.add(id(user))

    def before(*_: Any) -> None:
        for bucket in buckets:
            bucket.entered()

    def after(_: Module, inputs: Any, output: Any) -> None:
        if grad_enabled.get():
            for tensor in _tensors(output):
                if tensor.requires_grad:
                    tensor.register_hook(needed)
        for bucket in buckets:
            bucket.left(id(user))

    def needed(_: Tensor) -> None:
        for bucket in buckets:
            bucket.needed()

    user.register_forward_pre_hook(_Lent(before))
    user.register_forward_hook(_Lent(after))


class _Lent:
    """A hook that a copy of its module is without: the copy has parameters of its own."""

    def __init__(self, hook: Callable[..., None]) -> None:
        self._hook = hook

    def __call__(self, *args: Any) -> None:
        self._hook(*args)

    def __reduce__(self) -> Any:
        return _no_hook, ()


def _no_hook() -> Callable[..., None]:
    return _nothing


def _nothing(*_: Any) -> None:
    pass


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the Tensors in what a module returned."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors(part)
