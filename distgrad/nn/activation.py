"""Activations as modules: names, settings and defaults are PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.errors import ShapeError
from distgrad.nn import functional as F
from distgrad.nn.module import Module, Parameter


class _Activation(Module):
    """Applies ``function``; ``settings`` names the attributes that are its arguments."""

    function: ClassVar[Callable[..., Tensor]]
    settings: tuple[str, ...] = ()

    def forward(self, x: Any) -> Tensor:
        """Apply it to an array of any shape."""
        return type(self).function(x, **{name: getattr(self, name) for name in self.settings})

    def extra_repr(self) -> str:
        """Return the settings."""
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self.settings)


class ReLU(_Activation):
    """max(x, 0)."""

    function = F.relu


class ReLU6(_Activation):
    """x limited to [0, 6]."""

    function = F.relu6


class Hardsigmoid(_Activation):
    """x / 6 + 1/2, limited to [0, 1]."""

    function = F.hardsigmoid


class Hardswish(_Activation):
    """x · hardsigmoid(x)."""

    function = F.hardswish


class Sigmoid(_Activation):
    """1 / (1 + exp(-x))."""

    function = F.sigmoid


class LogSigmoid(_Activation):
    """log(sigmoid(x)), without overflow."""

    function = F.logsigmoid


class Tanh(_Activation):
    """The hyperbolic tangent."""

    function = F.tanh


class Tanhshrink(_Activation):
    """x - tanh(x)."""

    function = F.tanhshrink


class Softsign(_Activation):
    """x / (1 + |x|)."""

    function = F.softsign


class SiLU(_Activation):
    """x · sigmoid(x), also called swish."""

    function = F.silu


class Mish(_Activation):
    """x · tanh(softplus(x))."""

    function = F.mish


class SELU(_Activation):
    """Scaled ELU, which keeps mean 0 and variance 1 (Klambauer et al. 2017)."""

    function = F.selu


class LeakyReLU(_Activation):
    """x where it is positive, ``negative_slope`` · x elsewhere."""

    function = F.leaky_relu
    settings = ("negative_slope",)

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = negative_slope


class RReLU(_Activation):
    """LeakyReLU with slopes drawn from U(lower, upper) in training, their middle otherwise."""

    function = F.rrelu
    settings = ("lower", "upper", "training")

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3) -> None:
        super().__init__()
        self.lower, self.upper = lower, upper

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"lower={self.lower}, upper={self.upper}"


class ELU(_Activation):
    """x where it is positive, α (exp(x) - 1) elsewhere."""

    function = F.elu
    settings = ("alpha",)

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha


class CELU(_Activation):
    """x where it is positive, α (exp(x / α) - 1) elsewhere."""

    function = F.celu
    settings = ("alpha",)

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha


class GELU(_Activation):
    """x Φ(x) (Hendrycks & Gimpel 2016); ``approximate="tanh"`` is the faster form."""

    function = F.gelu
    settings = ("approximate",)

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate


class Softplus(_Activation):
    """log(1 + exp(β x)) / β, x itself where β x exceeds ``threshold``."""

    function = F.softplus
    settings = ("beta", "threshold")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold


class Hardtanh(_Activation):
    """x limited to [min_val, max_val]."""

    function = F.hardtanh
    settings = ("min_val", "max_val")

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        super().__init__()
        self.min_val, self.max_val = min_val, max_val


class Hardshrink(_Activation):
    """x where |x| > ``lambd``, 0 elsewhere."""

    function = F.hardshrink
    settings = ("lambd",)

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd


class Softshrink(_Activation):
    """x moved towards 0 by ``lambd``, 0 where it is nearer than that."""

    function = F.softshrink
    settings = ("lambd",)

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd


class Threshold(_Activation):
    """x where it exceeds ``threshold``, ``value`` elsewhere."""

    function = F.threshold
    settings = ("threshold", "value")

    def __init__(self, threshold: float, value: float) -> None:
        super().__init__()
        self.threshold, self.value = threshold, value


class GLU(_Activation):
    """a · sigmoid(b), where a and b are the halves of x along axis ``dim``."""

    function = F.glu
    settings = ("dim",)

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim


class Softmax(_Activation):
    """exp(x) / Σ exp(x) over axis ``dim``."""

    function = F.softmax
    settings = ("dim",)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim


class Softmin(_Activation):
    """softmax(-x) over axis ``dim``."""

    function = F.softmin
    settings = ("dim",)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim


class LogSoftmax(_Activation):
    """x - log Σ exp(x) over axis ``dim``."""

    function = F.log_softmax
    settings = ("dim",)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim


class Softmax2d(Module):
    """softmax over the channels of images: (n, c, h, w) or (c, h, w)."""

    def forward(self, x: Any) -> Tensor:
        """Apply it. Errors: ShapeError for another number of axes."""
        if x.ndim not in {3, 4}:
            raise ShapeError(f"Softmax2d expects (n, c, h, w) or (c, h, w); got {x.shape}")
        return F.softmax(x, -3)


class PReLU(Module):
    """x where it is positive, ``weight`` · x elsewhere; one weight, or one per channel (axis 1)."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.weight = Parameter(np.full(num_parameters, init, np.float32))

    def forward(self, x: Any) -> Tensor:
        """Apply it to (n, num_parameters, …), or to any shape with one weight."""
        return F.prelu(x, self.weight)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"num_parameters={self.num_parameters}"
