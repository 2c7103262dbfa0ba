"""The tape: tensors, the @op declaration, the backward pass, transforms, gradient checks."""

from distgrad.autograd import functional, random
from distgrad.autograd.anomaly import detect_anomaly
from distgrad.autograd.function import Function
from distgrad.autograd.gradcheck import gradcheck
from distgrad.autograd.handle import RemovableHandle
from distgrad.autograd.mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    reference_kernels,
    set_grad_enabled,
)
from distgrad.autograd.node import Joint
from distgrad.autograd.op import REGISTRY, Op, op
from distgrad.autograd.recompute import checkpoint, checkpoint_sequential
from distgrad.autograd.spelled import backward, grad
from distgrad.autograd.stream import manual_seed
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.missing import answers as _answers

__all__ = [
    "REGISTRY",
    "Array",
    "Function",
    "Joint",
    "Op",
    "RemovableHandle",
    "Tensor",
    "backward",
    "checkpoint",
    "checkpoint_sequential",
    "detect_anomaly",
    "enable_grad",
    "functional",
    "grad",
    "gradcheck",
    "inference_mode",
    "is_grad_enabled",
    "manual_seed",
    "no_grad",
    "op",
    "random",
    "reference_kernels",
    "set_grad_enabled",
]

__getattr__ = _answers("distgrad.autograd", globals())
