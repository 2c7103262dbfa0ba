"""Pooling as modules over (n, c, …) or (c, …): names, order and defaults are PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distgrad.autograd.tensor import Tensor
from distgrad.nn import functional as F
from distgrad.nn.functional.pool import Setting, Sizes
from distgrad.nn.module import Module
from distgrad.ops.geometry import numbers


class _MaxPool(Module):
    function: Callable[..., Any]

    def __init__(
        self,
        kernel_size: Setting,
        stride: Setting | None = None,
        padding: Setting = 0,
        dilation: Setting = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, x: Any) -> Any:
        """Pool the last axes; return also where the largest were, if ``return_indices``."""
        settings = self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        return self.function(x, self.kernel_size, *settings)

    def extra_repr(self) -> str:
        """Return the settings."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The largest of each window of (n, c, l)."""

    function = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPool):
    """The largest of each window of (n, c, h, w)."""

    function = staticmethod(F.max_pool2d)


class MaxPool3d(_MaxPool):
    """The largest of each window of (n, c, d, h, w)."""

    function = staticmethod(F.max_pool3d)


class _AvgPool(Module):
    function: Callable[..., Tensor]

    def __init__(
        self,
        kernel_size: Setting,
        stride: Setting | None = None,
        padding: Setting = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, x: Any) -> Tensor:
        """Pool the last axes."""
        settings = self.stride, self.padding, self.ceil_mode, self.count_include_pad
        return self.function(x, self.kernel_size, *settings, self.divisor_override)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """The mean of each window of (n, c, l)."""

    def __init__(
        self,
        kernel_size: Setting,
        stride: Setting | None = None,
        padding: Setting = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        kernel = numbers(kernel_size, 1, "kernel_size")
        steps = None if stride is None else numbers(stride, 1, "stride")
        pads = numbers(padding, 1, "padding")
        super().__init__(kernel, steps, pads, ceil_mode, count_include_pad)

    def forward(self, x: Any) -> Tensor:
        """Pool the last axis."""
        settings = self.stride, self.padding, self.ceil_mode, self.count_include_pad
        return F.avg_pool1d(x, self.kernel_size, *settings)


class AvgPool2d(_AvgPool):
    """The mean of each window of (n, c, h, w)."""

    function = staticmethod(F.avg_pool2d)


class AvgPool3d(_AvgPool):
    """The mean of each window of (n, c, d, h, w)."""

    function = staticmethod(F.avg_pool3d)


class _LPPool(Module):
    function: Callable[..., Tensor]

    def __init__(
        self,
        norm_type: float,
        kernel_size: Setting,
        stride: Setting | None = None,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.norm_type, self.kernel_size = norm_type, kernel_size
        self.stride, self.ceil_mode = stride, ceil_mode

    def forward(self, x: Any) -> Tensor:
        """Pool the last axes."""
        return self.function(x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        """Return the settings."""
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """(Σ xᵖ)^(1/p) of each window of (n, c, l)."""

    function = staticmethod(F.lp_pool1d)


class LPPool2d(_LPPool):
    """(Σ xᵖ)^(1/p) of each window of (n, c, h, w)."""

    function = staticmethod(F.lp_pool2d)


class LPPool3d(_LPPool):
    """(Σ xᵖ)^(1/p) of each window of (n, c, d, h, w)."""

    function = staticmethod(F.lp_pool3d)


class _AdaptiveMaxPool(Module):
    function: Callable[..., Any]

    def __init__(self, output_size: Sizes, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, x: Any) -> Any:
        """Pool the last axes; return also where the largest were, if ``return_indices``."""
        return self.function(x, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        """Return the size."""
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest of each of ``output_size`` even parts of (n, c, l)."""

    function = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest of each of ``output_size`` even parts of (n, c, h, w)."""

    function = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest of each of ``output_size`` even parts of (n, c, d, h, w)."""

    function = staticmethod(F.adaptive_max_pool3d)


class _AdaptiveAvgPool(Module):
    function: Callable[..., Tensor]

    def __init__(self, output_size: Sizes) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Any) -> Tensor:
        """Pool the last axes."""
        return self.function(x, self.output_size)

    def extra_repr(self) -> str:
        """Return the size."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The mean of each of ``output_size`` even parts of (n, c, l)."""

    function = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The mean of each of ``output_size`` even parts of (n, c, h, w)."""

    function = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The mean of each of ``output_size`` even parts of (n, c, d, h, w)."""

    function = staticmethod(F.adaptive_avg_pool3d)
