"""``torch.utils.checkpoint``: memory for time, with PyTorch's arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from distgrad import autograd
from distgrad.missing import answers as _answers

__all__ = ["checkpoint", "checkpoint_sequential"]


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """``dg.autograd.checkpoint``: keep only the inputs, and run ``function`` again in backward.

    There is one way to do that, whatever ``use_reentrant`` asks for, and random numbers are always
    those of the first run.
    """
    del use_reentrant, preserve_rng_state
    return autograd.checkpoint(function, *args, **kwargs)


def checkpoint_sequential(
    functions: Sequence[Callable[[Any], Any]],
    segments: int,
    input: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
) -> Any:
    """``dg.autograd.checkpoint_sequential``: ``functions`` in ``segments`` stretches."""
    del use_reentrant, preserve_rng_state
    return autograd.checkpoint_sequential(list(functions), segments, input)


__getattr__ = _answers("distgrad.utils.checkpoint", globals())
