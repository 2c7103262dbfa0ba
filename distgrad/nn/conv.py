"""Convolutions: names, shapes and defaults are PyTorch's."""

from __future__ import annotations

import math
from typing import Any

from distgrad.autograd.tensor import Tensor
from distgrad.errors import ShapeError
from distgrad.nn import functional as F
from distgrad.nn import init
from distgrad.nn.make import empty, pair, uniform_bias
from distgrad.nn.module import Module


class Conv2d(Module):
    """2-D cross-correlation: (n, in, h, w) to (n, out, h', w').

    The weight is (out, in / groups, *kernel). Errors: ShapeError for groups that do not divide.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ShapeError(
                f"Conv2d: groups={groups} must divide in_channels={in_channels} and "
                f"out_channels={out_channels}"
            )
        kernel = pair(kernel_size)
        self.settings: dict[str, Any] = {
            "stride": pair(stride),
            "padding": pair(padding),
            "dilation": pair(dilation),
            "groups": groups,
        }
        self.weight = empty(out_channels, in_channels // groups, *kernel)
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        fan_in = in_channels // groups * kernel[0] * kernel[1]
        self.bias = uniform_bias(out_channels, fan_in) if bias else None

    def forward(self, x: Any) -> Tensor:
        """Convolve (n, in, h, w)."""
        return F.conv2d(x, self.weight, self.bias, **self.settings)

    def extra_repr(self) -> str:
        """Return the settings."""
        out, inner, *kernel = self.weight.shape
        inner *= self.settings["groups"]
        rest = ", ".join(f"{k}={v}" for k, v in self.settings.items())
        return f"{inner}, {out}, kernel_size={tuple(kernel)}, {rest}, bias={self.bias is not None}"
