"""Pooling as modules over (n, c, …) or (c, …): names, order and defaults are PyTorch's."""

from __future__ import annotations

from collections.abc import Sequence

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.kinds import Counts, Integer, Lengths, Sizes
from distgrad.nn import functional as F
from distgrad.nn.function_module import FunctionModule
from distgrad.nn.functional.unpool import Ratio, fractional_sizes
from distgrad.nn.functional.wrap import wrap
from distgrad.ops.geometry import numbers


class _MaxPool(FunctionModule):
    unshown = frozenset({"return_indices"})

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Counts = 0,
        dilation: Sizes = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode


class MaxPool1d(_MaxPool):
    """The largest of each window of (n, c, l)."""

    function = F.max_pool1d


class MaxPool2d(_MaxPool):
    """The largest of each window of (n, c, h, w)."""

    function = F.max_pool2d


class MaxPool3d(_MaxPool):
    """The largest of each window of (n, c, d, h, w)."""

    function = F.max_pool3d


class _AvgPool(FunctionModule):
    unshown = frozenset({"ceil_mode", "count_include_pad", "divisor_override"})

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Counts = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: Integer | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override


class AvgPool1d(_AvgPool):
    """The mean of each window of (n, c, l)."""

    function = F.avg_pool1d

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Counts = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        kernel = numbers(kernel_size, 1, "kernel_size")
        steps = None if stride is None else numbers(stride, 1, "stride")
        pads = numbers(padding, 1, "padding")
        super().__init__(kernel, steps, pads, ceil_mode, count_include_pad)


class AvgPool2d(_AvgPool):
    """The mean of each window of (n, c, h, w)."""

    function = F.avg_pool2d


class AvgPool3d(_AvgPool):
    """The mean of each window of (n, c, d, h, w)."""

    function = F.avg_pool3d


class _LPPool(FunctionModule):
    def __init__(
        self,
        norm_type: float,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.norm_type, self.kernel_size = norm_type, kernel_size
        self.stride, self.ceil_mode = stride, ceil_mode


class LPPool1d(_LPPool):
    """(Σ xᵖ)^(1/p) of each window of (n, c, l)."""

    function = F.lp_pool1d


class LPPool2d(_LPPool):
    """(Σ xᵖ)^(1/p) of each window of (n, c, h, w)."""

    function = F.lp_pool2d


class LPPool3d(_LPPool):
    """(Σ xᵖ)^(1/p) of each window of (n, c, d, h, w)."""

    function = F.lp_pool3d


class _AdaptiveMaxPool(FunctionModule):
    unshown = frozenset({"return_indices"})

    def __init__(self, output_size: Lengths, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest of each of ``output_size`` even parts of (n, c, l)."""

    function = F.adaptive_max_pool1d


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest of each of ``output_size`` even parts of (n, c, h, w)."""

    function = F.adaptive_max_pool2d


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest of each of ``output_size`` even parts of (n, c, d, h, w)."""

    function = F.adaptive_max_pool3d


class _AdaptiveAvgPool(FunctionModule):
    def __init__(self, output_size: Lengths) -> None:
        super().__init__()
        self.output_size = output_size


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The mean of each of ``output_size`` even parts of (n, c, l)."""

    function = F.adaptive_avg_pool1d


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The mean of each of ``output_size`` even parts of (n, c, h, w)."""

    function = F.adaptive_avg_pool2d


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The mean of each of ``output_size`` even parts of (n, c, d, h, w)."""

    function = F.adaptive_avg_pool3d


class _MaxUnpool(FunctionModule):
    axes: int

    def __init__(
        self, kernel_size: Sizes, stride: Sizes | None = None, padding: Counts = 0
    ) -> None:
        super().__init__()
        self.kernel_size = numbers(kernel_size, self.axes, "kernel_size")
        self.stride = numbers(kernel_size if stride is None else stride, self.axes, "stride")
        self.padding = numbers(padding, self.axes, "padding")

    def forward(
        self, input: TensorLike, indices: TensorLike, output_size: Sequence[int] | None = None
    ) -> Tensor:
        """Put each element where the pool found it, zeros around."""
        settings = self.kernel_size, self.stride, self.padding
        result: Tensor = type(self).function(input, indices, *settings, output_size)
        return result


class MaxUnpool1d(_MaxUnpool):
    """``MaxPool1d`` undone: elements go back where they came from, zeros around."""

    function = F.max_unpool1d
    axes = 1


class MaxUnpool2d(_MaxUnpool):
    """``MaxPool2d`` undone: elements go back where they came from, zeros around."""

    function = F.max_unpool2d
    axes = 2


class MaxUnpool3d(_MaxUnpool):
    """``MaxPool3d`` undone: elements go back where they came from, zeros around."""

    function = F.max_unpool3d
    axes = 3


class _FractionalMaxPool(FunctionModule):
    axes: int

    def __init__(
        self,
        kernel_size: Sizes,
        output_size: Sizes | None = None,
        output_ratio: Ratio | None = None,
        return_indices: bool = False,
        _random_samples: TensorLike | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        fractional_sizes(name, (1,) * self.axes, output_size, output_ratio)
        self.kernel_size, self.return_indices = kernel_size, return_indices
        self.output_size, self.output_ratio = output_size, output_ratio
        self.register_buffer(
            "_random_samples", None if _random_samples is None else wrap(_random_samples)
        )

    def extra_repr(self) -> str:
        """Nothing, as in PyTorch."""
        return ""


class FractionalMaxPool2d(_FractionalMaxPool):
    """The largest of windows of (n, c, h, w) whose places are drawn (Graham 2014)."""

    function = F.fractional_max_pool2d
    axes = 2


class FractionalMaxPool3d(_FractionalMaxPool):
    """The largest of windows of (n, c, d, h, w) whose places are drawn (Graham 2014)."""

    function = F.fractional_max_pool3d
    axes = 3
