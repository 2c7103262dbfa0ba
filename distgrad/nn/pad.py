"""Borders around the last one, two or three axes, as modules."""

from __future__ import annotations

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.kinds import AnyNumber, Integers
from distgrad.nn import functional as F
from distgrad.nn.functional.spatial import AXES
from distgrad.nn.functional.wrap import wrap
from distgrad.nn.module import Module


class _Pad(Module):
    # What they share; a class says how many axes it pads, and how.
    axes: int
    mode = "constant"
    value = 0.0

    def __init__(self, padding: Integers) -> None:
        super().__init__()
        count = 2 * self.axes
        self.padding = (padding,) * count if isinstance(padding, int) else tuple(padding)
        if len(self.padding) != count:
            raise ShapeError(
                f"{type(self).__name__}: padding is a number or {count} of them, (before, after) "
                f"of the last axis first; got {padding!r}"
            )

    def forward(self, input: TensorLike) -> Tensor:
        """Pad the last axes. Errors: ShapeError for widths or axes that do not fit."""
        if self.mode != "constant":
            input = wrap(input)
            if not self.axes < input.ndim <= self.axes + 2:
                form = AXES[self.axes]
                raise ShapeError(
                    f"{type(self).__name__} expects (n, c, {form}) or (c, {form}); got a shape of "
                    f"{input.shape}"
                )
        return F.pad(input, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        """Return the settings."""
        return str(self.padding)


class _ConstantPad(_Pad):
    def __init__(self, padding: Integers, value: AnyNumber) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """``value`` around the last axis."""

    axes = 1


class ConstantPad2d(_ConstantPad):
    """``value`` around the last two axes."""

    axes = 2


class ConstantPad3d(_ConstantPad):
    """``value`` around the last three axes."""

    axes = 3


class ZeroPad1d(_Pad):
    """Zeros around the last axis."""

    axes = 1


class ZeroPad2d(_Pad):
    """Zeros around the last two axes."""

    axes = 2


class ZeroPad3d(_Pad):
    """Zeros around the last three axes."""

    axes = 3


class ReflectionPad1d(_Pad):
    """The last axis mirrored at the edge elements."""

    axes = 1
    mode = "reflect"


class ReflectionPad2d(_Pad):
    """The last two axes mirrored at the edge elements."""

    axes = 2
    mode = "reflect"


class ReflectionPad3d(_Pad):
    """The last three axes mirrored at the edge elements."""

    axes = 3
    mode = "reflect"


class ReplicationPad1d(_Pad):
    """The edge elements repeated around the last axis."""

    axes = 1
    mode = "replicate"


class ReplicationPad2d(_Pad):
    """The edge elements repeated around the last two axes."""

    axes = 2
    mode = "replicate"


class ReplicationPad3d(_Pad):
    """The edge elements repeated around the last three axes."""

    axes = 3
    mode = "replicate"


class CircularPad1d(_Pad):
    """The last axis wrapped round: the border comes from the other end."""

    axes = 1
    mode = "circular"


class CircularPad2d(_Pad):
    """The last two axes wrapped round: the border comes from the other end."""

    axes = 2
    mode = "circular"


class CircularPad3d(_Pad):
    """The last three axes wrapped round: the border comes from the other end."""

    axes = 3
    mode = "circular"
