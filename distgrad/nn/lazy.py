"""Layers that learn the number of their inputs' features from the first input.

Until then their parameters have no shape: whatever needs one (an optimizer,
DistributedDataParallel) says so. The first call makes an ordinary layer of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from distgrad.autograd.device import Device
from distgrad.autograd.mode import no_grad
from distgrad.autograd.tensor import TensorLike
from distgrad.errors import ShapeError
from distgrad.kinds import Count, Counts, Fraction, Integer, NonNegative, Sizes
from distgrad.nn import where
from distgrad.nn.batchnorm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from distgrad.nn.conv import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    Padding,
)
from distgrad.nn.functional.wrap import wrap
from distgrad.nn.linear import Linear
from distgrad.nn.make import ParameterDType, parameter_dtype
from distgrad.nn.module import Module
from distgrad.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy
from distgrad.nn.tree import BUFFER, PARAMETER


class Lazy(Module):
    """What lazy layers share: a class that they become, and what they will be made with."""

    becomes: ClassVar[Any]
    axes: Any

    def _prepare(self, **settings: Any) -> None:
        """Be like the layer of no features, but for its parameters and sized buffers."""
        template = self.becomes(0, **settings)
        vars(self).update(vars(template))
        for name, p in template._own(PARAMETER):
            lazy = UninitializedParameter(p.requires_grad, dtype=p.dtype)
            self._register(name, PARAMETER, lazy)
        for name, b in template._own(BUFFER):
            if b.ndim:
                self._register(name, BUFFER, UninitializedBuffer(dtype=b.dtype))
        self._made_with = settings
        self._made_with["dtype"] = parameter_dtype()

    def has_uninitialized_params(self) -> bool:
        """Return whether the first input has not been seen yet."""
        own = [*self._own(PARAMETER), *self._own(BUFFER)]
        return any(is_lazy(t) for _, t in own)

    def initialize_parameters(self, input: TensorLike, *args: Any, **kwargs: Any) -> None:
        """Give the parameters the shapes and the start that ``input`` asks for.

        What the layer cannot be called with raises what the call would, and leaves it lazy.
        """
        real = self.becomes(self._features(wrap(input).shape), **self._made_with)
        with no_grad():
            real.eval().forward(input, *args, **kwargs)
        self._become(real)

    def _features(self, shape: tuple[int, ...]) -> int:
        """The number of features of an input. Errors: ShapeError for other axes."""
        raise NotImplementedError

    def _become(self, real: Module) -> None:
        for kind in (PARAMETER, BUFFER):
            own = dict(self._own(kind))
            for name, made in real._own(kind):
                mine = own[name]
                if is_lazy(mine):
                    mine.materialize(made.shape)
                    mine.array[...] = made.array
        kept = {"_registered", "_transient", "training", *real._registered, *_lent(self)}
        vars(self).update({k: v for k, v in vars(real).items() if k not in kept})
        del self._made_with
        self.__class__ = self.becomes

    def _before_load(self, state: Mapping[str, Any], prefix: str) -> None:
        """Take the number of features from a state that is about to be loaded."""
        names = [n for n, t in [*self._own(PARAMETER), *self._own(BUFFER)] if is_lazy(t)]
        given = [n for n in names if prefix + n in state and not is_lazy(state[prefix + n])]
        if given:
            features = self._features_of(given[0], tuple(state[prefix + given[0]].shape))
            self._become(self.becomes(features, **self._made_with))

    def _features_of(self, name: str, shape: tuple[int, ...]) -> int:
        """The number of features of a layer whose tensor ``name`` has this shape."""
        return shape[0]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Become an ordinary layer, and be called as one."""
        try:
            self.initialize_parameters(*args, **kwargs)
        except Exception as error:
            where.note(error, self, args)
            raise
        return self(*args, **kwargs)


def _lent(module: Module) -> set[str]:
    """Attributes that belong to the module, not to its settings."""
    return set(vars(Module())) - {"training"}


class LazyLinear(Lazy, Linear):
    """``Linear`` whose ``in_features`` are those of the first input."""

    becomes = Linear

    def __init__(
        self,
        out_features: Count,
        bias: bool = True,
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        Module.__init__(self)
        self._prepare(out_features=out_features, bias=bias)

    def _features(self, shape: tuple[int, ...]) -> int:
        if not shape:
            raise ShapeError("LazyLinear expects (…, features); got a number")
        return shape[-1]

    def _features_of(self, name: str, shape: tuple[int, ...]) -> int:
        return shape[-1]


class _LazyChannels(Lazy):
    """Layers of (n, c, …): ``axes`` says how many axes an input has behind c."""

    def _features(self, shape: tuple[int, ...]) -> int:
        if not self.axes < len(shape) <= self.axes + 2:
            raise ShapeError(
                f"{type(self).__name__} expects (n, c, …) with {self.axes + 2} axes, or one fewer "
                f"without n; got {shape}"
            )
        channels: int = shape[-self.axes - 1]
        return channels


class _LazyConv(_LazyChannels):
    def __init__(
        self,
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
        Module.__init__(self)
        self._prepare(
            out_channels=out_channels,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
            padding_mode=padding_mode,
        )

    def _features_of(self, name: str, shape: tuple[int, ...]) -> int:
        groups: int = self._made_with["groups"]
        return shape[1] * groups


class LazyConv1d(_LazyConv, Conv1d):
    """``Conv1d`` whose ``in_channels`` are those of the first input."""

    becomes = Conv1d


class LazyConv2d(_LazyConv, Conv2d):
    """``Conv2d`` whose ``in_channels`` are those of the first input."""

    becomes = Conv2d


class LazyConv3d(_LazyConv, Conv3d):
    """``Conv3d`` whose ``in_channels`` are those of the first input."""

    becomes = Conv3d


class _LazyConvTranspose(_LazyChannels):
    def __init__(
        self,
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
        Module.__init__(self)
        self._prepare(
            out_channels=out_channels,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            output_padding=output_padding,
            groups=groups,
            bias=bias,
            dilation=dilation,
            padding_mode=padding_mode,
        )


class LazyConvTranspose1d(_LazyConvTranspose, ConvTranspose1d):
    """``ConvTranspose1d`` whose ``in_channels`` are those of the first input."""

    becomes = ConvTranspose1d


class LazyConvTranspose2d(_LazyConvTranspose, ConvTranspose2d):
    """``ConvTranspose2d`` whose ``in_channels`` are those of the first input."""

    becomes = ConvTranspose2d


class LazyConvTranspose3d(_LazyConvTranspose, ConvTranspose3d):
    """``ConvTranspose3d`` whose ``in_channels`` are those of the first input."""

    becomes = ConvTranspose3d


class _LazyBatchNorm(Lazy):
    def __init__(
        self,
        eps: NonNegative = 1e-5,
        momentum: Fraction | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Device = None,
        dtype: ParameterDType = None,
        *,
        bias: bool = True,
    ) -> None:
        Module.__init__(self)
        stats = {"track_running_stats": track_running_stats}
        self._prepare(eps=eps, momentum=momentum, affine=affine, bias=bias, **stats)

    def _features(self, shape: tuple[int, ...]) -> int:
        if len(shape) not in self.axes:
            axes = " or ".join(map(str, self.axes))
            raise ShapeError(
                f"{type(self).__name__} expects (n, c, …) with {axes} axes; got {shape}"
            )
        return shape[1]


class LazyBatchNorm1d(_LazyBatchNorm, BatchNorm1d):
    """``BatchNorm1d`` whose ``num_features`` are those of the first input."""

    becomes = BatchNorm1d


class LazyBatchNorm2d(_LazyBatchNorm, BatchNorm2d):
    """``BatchNorm2d`` whose ``num_features`` are those of the first input."""

    becomes = BatchNorm2d


class LazyBatchNorm3d(_LazyBatchNorm, BatchNorm3d):
    """``BatchNorm3d`` whose ``num_features`` are those of the first input."""

    becomes = BatchNorm3d


class _LazyInstanceNorm(Lazy):
    def __init__(
        self,
        eps: NonNegative = 1e-5,
        momentum: Fraction = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Device = None,
        dtype: ParameterDType = None,
        *,
        bias: bool = True,
    ) -> None:
        Module.__init__(self)
        stats = {"track_running_stats": track_running_stats}
        self._prepare(eps=eps, momentum=momentum, affine=affine, bias=bias, **stats)

    def _features(self, shape: tuple[int, ...]) -> int:
        if len(shape) not in self.axes:
            raise ShapeError(
                f"{type(self).__name__} expects (n, c, …) with {self.axes[-1]} axes, or one fewer "
                f"without n; got {shape}"
            )
        return shape[1 if len(shape) == self.axes[-1] else 0]


class LazyInstanceNorm1d(_LazyInstanceNorm, InstanceNorm1d):
    """``InstanceNorm1d`` whose ``num_features`` are those of the first input."""

    becomes = InstanceNorm1d


class LazyInstanceNorm2d(_LazyInstanceNorm, InstanceNorm2d):
    """``InstanceNorm2d`` whose ``num_features`` are those of the first input."""

    becomes = InstanceNorm2d


class LazyInstanceNorm3d(_LazyInstanceNorm, InstanceNorm3d):
    """``InstanceNorm3d`` whose ``num_features`` are those of the first input."""

    becomes = InstanceNorm3d
