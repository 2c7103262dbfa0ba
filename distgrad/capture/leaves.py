"""Which Tensors stand for their values at every call of a step: parameters and buffers."""

from __future__ import annotations

import sys
from types import FrameType

from distgrad.autograd.tensor import Tensor
from distgrad.nn import Module
from distgrad.nn.parameter import Buffer, Parameter


def persists(tensor: Tensor) -> bool:
    """Whether the object stands for its values, whatever they are: a parameter, a buffer."""
    return isinstance(tensor, Parameter | Buffer)


def buffer_in_reach(tensor: Tensor) -> bool:
    """Whether a module whose code is running has ``tensor`` for a buffer or parameter."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_locals.get("self")
        if isinstance(module, Module) and any(
            t is tensor for t in (*module.buffers(recurse=False), *module.parameters(recurse=False))
        ):
            return True
        frame = frame.f_back
    return False
