"""A head that shares its weight."""

from __future__ import annotations

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.nn import functional as F
from distgrad.nn.module import Module, Parameter


class TiedLinear(Module):
    """A ``Linear`` whose weight (and bias) are another module's, and not drawn a second time."""

    def __init__(self, weight: Parameter, bias: Parameter | None = None) -> None:
        super().__init__()
        self.weight = weight
        self.register_parameter("bias", bias)
        self.bias: Parameter | None

    def forward(self, input: TensorLike) -> Tensor:
        """Map the last axis."""
        return F.linear(input, self.weight, self.bias)
