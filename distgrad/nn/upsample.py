"""Modules that resize images, and that move windows and channels about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.kinds import Counts, Integer, Size, Sizes, number, one_or_several
from distgrad.nn import functional as F
from distgrad.nn.function_module import FunctionModule
from distgrad.nn.module import Module

Factor: TypeAlias = Annotated[float | Sequence[float], one_or_several(number(0, without=[0]))]


class Upsample(Module):
    """Resize the last axes of (n, c, …): see ``F.interpolate``."""

    def __init__(
        self,
        size: Sizes | None = None,
        scale_factor: Factor | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        self.size = size
        self.scale_factor: float | tuple[float, ...] | None = (
            tuple(float(f) for f in scale_factor)
            if isinstance(scale_factor, Sequence)
            else scale_factor and float(scale_factor)
        )
        self.mode, self.align_corners = mode, align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: TensorLike) -> Tensor:
        """Interpolate."""
        settings = self.mode, self.align_corners, self.recompute_scale_factor
        return F.interpolate(input, self.size, self.scale_factor, *settings)

    def extra_repr(self) -> str:
        """Return the size or the factor, and the mode."""
        to = f"size={self.size}" if self.size is not None else f"scale_factor={self.scale_factor}"
        return f"{to}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Resize (n, c, h, w), every pixel being the nearest one of the input."""

    def __init__(
        self,
        size: Sizes | None = None,
        scale_factor: Factor | None = None,
    ) -> None:
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """Resize (n, c, h, w) linearly along both axes, corners on corners."""

    def __init__(
        self,
        size: Sizes | None = None,
        scale_factor: Factor | None = None,
    ) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)


class Unfold(FunctionModule):
    """The windows of (n, c, h, w) as columns: (n, c · kernel, windows)."""

    function = F.unfold

    def __init__(
        self,
        kernel_size: Sizes,
        dilation: Sizes = 1,
        padding: Counts = 0,
        stride: Sizes = 1,
    ) -> None:
        super().__init__()
        self.kernel_size, self.dilation = kernel_size, dilation
        self.padding, self.stride = padding, stride


class Fold(FunctionModule):
    """Add the columns of ``Unfold`` back to (n, c, *output_size)."""

    function = F.fold

    def __init__(
        self,
        output_size: Counts,
        kernel_size: Sizes,
        dilation: Sizes = 1,
        padding: Counts = 0,
        stride: Sizes = 1,
    ) -> None:
        super().__init__()
        self.output_size, self.kernel_size, self.dilation = output_size, kernel_size, dilation
        self.padding, self.stride = padding, stride


class PixelShuffle(FunctionModule):
    """(…, c r², h, w) to (…, c, h r, w r): channels become pixels (Shi et al. 2016)."""

    function = F.pixel_shuffle

    def __init__(self, upscale_factor: Size) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor


class PixelUnshuffle(FunctionModule):
    """(…, c, h r, w r) to (…, c r², h, w): pixels become channels."""

    function = F.pixel_unshuffle

    def __init__(self, downscale_factor: Size) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor


class ChannelShuffle(FunctionModule):
    """(n, g c, …) with its g ``groups`` of channels dealt out in turn (Zhang et al. 2018)."""

    function = F.channel_shuffle

    def __init__(self, groups: Integer) -> None:
        super().__init__()
        self.groups = groups
