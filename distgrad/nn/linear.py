"""Layers that multiply by a weight matrix."""

from __future__ import annotations

import math
from typing import Any

from distgrad.autograd.device import Device
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.kinds import Count
from distgrad.nn import functional as F
from distgrad.nn import init
from distgrad.nn.make import ParameterDType, empty, uniform_bias_
from distgrad.nn.module import Module


class Identity(Module):
    """Return the input; takes any settings, to stand where another layer stood."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        """Return ``x``."""
        return input


class Linear(Module):
    """y = x Wᵀ + b: (…, in_features) to (…, out_features); W is (out_features, in_features)."""

    def __init__(
        self,
        in_features: Count,
        out_features: Count,
        bias: bool = True,
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = empty(out_features, in_features)
        self.bias = empty(out_features) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, from U(-1/√in_features, 1/√in_features)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            uniform_bias_(self.bias, self.in_features)

    def forward(self, input: TensorLike) -> Tensor:
        """Map the last axis."""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the settings."""
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}"


class Bilinear(Module):
    """yₒ = x₁ᵀ Wₒ x₂ + bₒ: (…, in1_features), (…, in2_features) to (…, out_features).

    W is (out_features, in1_features, in2_features).
    """

    def __init__(
        self,
        in1_features: Count,
        in2_features: Count,
        out_features: Count,
        bias: bool = True,
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        super().__init__()
        self.in1_features, self.in2_features = in1_features, in2_features
        self.out_features = out_features
        self.weight = empty(out_features, in1_features, in2_features)
        self.bias = empty(out_features) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, from U(-1/√in1_features, 1/√in1_features)."""
        for p in self.parameters():
            uniform_bias_(p, self.in1_features)

    def forward(self, input1: TensorLike, input2: TensorLike) -> Tensor:
        """Map the last axes of both."""
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the settings."""
        sizes = f"in1_features={self.in1_features}, in2_features={self.in2_features}"
        return f"{sizes}, out_features={self.out_features}, bias={self.bias is not None}"
