"""Convolutions and transposed ones: names, shapes and defaults are PyTorch's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import numpy as np

from distgrad.autograd.device import Device
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.kinds import Count, Counts, Integer, Sizes, either, one_of, one_or_several, whole
from distgrad.nn import functional as F
from distgrad.nn import init
from distgrad.nn.functional.conv import Setting, same_padding
from distgrad.nn.functional.wrap import lengths_of
from distgrad.nn.make import ParameterDType, empty, uniform_bias_
from distgrad.nn.module import Module
from distgrad.ops.geometry import Numbers, numbers

Padding: TypeAlias = Annotated[
    Setting | str, either(one_or_several(whole(0)), one_of("same", "valid"))
]
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class Convolution(Module):
    """What all share: the settings, and filters drawn as PyTorch's."""

    axes: int
    transposed: bool

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Setting,
        stride: Setting,
        padding: Setting | str,
        dilation: Setting,
        groups: int,
        bias: bool,
        padding_mode: str,
        *,
        output_padding: Setting = 0,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ShapeError(
                f"{name}: groups={groups} must divide in_channels={in_channels} and "
                f"out_channels={out_channels}"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = numbers(kernel_size, self.axes, "kernel_size")
        self.stride = numbers(stride, self.axes, "stride")
        self.padding: Numbers | str = (
            padding if isinstance(padding, str) else numbers(padding, self.axes, "padding")
        )
        self.dilation = numbers(dilation, self.axes, "dilation")
        self.output_padding = numbers(output_padding, self.axes, "output_padding")
        self.groups, self.padding_mode = groups, padding_mode
        if self.padding == "same" and self.stride != (1,) * self.axes:
            raise ShapeError(f"{name}: padding='same' needs a stride of 1; got {self.stride}")
        channels = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = empty(channels[0], channels[1] // groups, *self.kernel_size)
        self.bias = empty(out_channels) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, from U(-1/√fan_in, 1/√fan_in)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            uniform_bias_(self.bias, init.fans(self.weight)[0])

    def extra_repr(self) -> str:
        """Return the settings that differ from the defaults, as PyTorch does."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}"
        zeros, ones = (0,) * self.axes, (1,) * self.axes
        defaults = {"padding": zeros, "dilation": ones, "output_padding": zeros, "groups": 1}
        for name, default in defaults.items():
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        if self.bias is None:
            text += ", bias=False"
        return text + (
            f", padding_mode={self.padding_mode}" if self.padding_mode != "zeros" else ""
        )


class _Conv(Convolution):
    transposed = False

    def __init__(
        self,
        in_channels: Count,
        out_channels: Count,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Padding = 0,
        dilation: Sizes = 1,
        groups: Integer = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        if padding_mode not in PADDING_MODES:
            raise ShapeError(
                f"{type(self).__name__}: padding_mode is one of {', '.join(PADDING_MODES)}; "
                f"got {padding_mode!r}"
            )
        settings: tuple[Any, ...] = (stride, padding, dilation, groups, bias, padding_mode)
        super().__init__(in_channels, out_channels, kernel_size, *settings)

    def forward(self, input: TensorLike) -> Tensor:
        """Convolve (n, in, …) or (in, …) to as many axes with ``out`` channels."""
        padding: Setting | str = self.padding
        if self.padding_mode != "zeros":
            around = self._around()
            if any(around):
                input = F.pad(input, around, self.padding_mode)
            padding = 0
        call = (F.conv1d, F.conv2d, F.conv3d)[self.axes - 1]
        return call(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _around(self) -> list[int]:
        """The padding as F.pad takes it: (before, after) of the last axis first."""
        if isinstance(self.padding, str):
            same = same_padding(self.kernel_size, self.dilation)
            sides = same if self.padding == "same" else [(0, 0)] * self.axes
        else:
            sides = [(p, p) for p in self.padding]
        return [width for side in reversed(sides) for width in side]


class Conv1d(_Conv):
    """1-D cross-correlation: (n, in, l) or (in, l) to (n, out, l').

    The weight is (out, in / groups, kernel). Errors: ShapeError for settings that do not fit.
    """

    axes = 1


class Conv2d(_Conv):
    """2-D cross-correlation: (n, in, h, w) or (in, h, w) to (n, out, h', w').

    The weight is (out, in / groups, *kernel). Errors: ShapeError for settings that do not fit.
    """

    axes = 2


class Conv3d(_Conv):
    """3-D cross-correlation: (n, in, d, h, w) or (in, d, h, w) to (n, out, d', h', w').

    The weight is (out, in / groups, *kernel). Errors: ShapeError for settings that do not fit.
    """

    axes = 3


class _ConvTranspose(Convolution):
    transposed = True

    def __init__(
        self,
        in_channels: Count,
        out_channels: Count,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Padding = 0,
        output_padding: Counts = 0,
        groups: Integer = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        padding_mode: str = "zeros",
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        if padding_mode != "zeros" or isinstance(padding, str):
            raise ShapeError(
                f"{type(self).__name__} pads with numbers of zeros only; got "
                f"padding={padding!r}, padding_mode={padding_mode!r}"
            )
        settings: tuple[Any, ...] = (stride, padding, dilation, groups, bias, padding_mode)
        super().__init__(
            in_channels, out_channels, kernel_size, *settings, output_padding=output_padding
        )

    def forward(self, input: Array | Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Spread (n, in, …) to (n, out, …), of ``output_size`` (the last axes') if given."""
        more = self.output_padding if output_size is None else self._more(input, output_size)
        settings = self.stride, self.padding, more, self.groups, self.dilation
        call: Any = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self.axes - 1]
        result: Tensor = call(input, self.weight, self.bias, *settings)
        return result

    def _more(self, x: Array | Tensor, output_size: Sequence[int]) -> Numbers:
        """The output padding that gives ``output_size``. Errors: ShapeError if none does."""
        assert not isinstance(self.padding, str)
        lengths = np.shape(x)[-self.axes :]
        wanted = lengths_of(type(self).__name__, output_size)[-self.axes :]
        settings = zip(
            lengths, self.kernel_size, self.stride, self.padding, self.dilation, strict=True
        )
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, k, s, p, d in settings]
        if len(wanted) != self.axes or any(
            not m <= size < m + s for size, m, s in zip(wanted, least, self.stride, strict=True)
        ):
            most = [m + s - 1 for m, s in zip(least, self.stride, strict=True)]
            raise ShapeError(
                f"{type(self).__name__}: an input of {tuple(lengths)} can become {least} to "
                f"{most}; got output_size={tuple(output_size)}"
            )
        return tuple(size - m for size, m in zip(wanted, least, strict=True))


class ConvTranspose1d(_ConvTranspose):
    """The adjoint of Conv1d: (n, in, l) or (in, l) to (n, out, l').

    The weight is (in, out / groups, kernel). Errors: ShapeError for settings that do not fit.
    """

    axes = 1


class ConvTranspose2d(_ConvTranspose):
    """The adjoint of Conv2d: (n, in, h, w) or (in, h, w) to (n, out, h', w').

    The weight is (in, out / groups, *kernel). Errors: ShapeError for settings that do not fit.
    """

    axes = 2


class ConvTranspose3d(_ConvTranspose):
    """The adjoint of Conv3d: (n, in, d, h, w) or (in, d, h, w) to (n, out, d', h', w').

    The weight is (in, out / groups, *kernel). Errors: ShapeError for settings that do not fit.
    """

    axes = 3
