"""Activations as modules: names, settings and defaults are PyTorch's."""

from __future__ import annotations

import numpy as np

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.nn import functional as F
from distgrad.nn.function_module import FunctionModule
from distgrad.nn.module import Module, Parameter


class ReLU(FunctionModule):
    """max(x, 0)."""

    function = F.relu


class ReLU6(FunctionModule):
    """x limited to [0, 6]."""

    function = F.relu6


class Hardsigmoid(FunctionModule):
    """x / 6 + 1/2, limited to [0, 1]."""

    function = F.hardsigmoid


class Hardswish(FunctionModule):
    """x · hardsigmoid(x)."""

    function = F.hardswish


class Sigmoid(FunctionModule):
    """1 / (1 + exp(-x))."""

    function = F.sigmoid


class LogSigmoid(FunctionModule):
    """log(sigmoid(x)), without overflow."""

    function = F.logsigmoid


class Tanh(FunctionModule):
    """The hyperbolic tangent."""

    function = F.tanh


class Tanhshrink(FunctionModule):
    """x - tanh(x)."""

    function = F.tanhshrink


class Softsign(FunctionModule):
    """x / (1 + |x|)."""

    function = F.softsign


class SiLU(FunctionModule):
    """x · sigmoid(x), also called swish."""

    function = F.silu


class Mish(FunctionModule):
    """x · tanh(softplus(x))."""

    function = F.mish


class SELU(FunctionModule):
    """Scaled ELU, which keeps mean 0 and variance 1 (Klambauer et al. 2017)."""

    function = F.selu


class LeakyReLU(FunctionModule):
    """x where it is positive, ``negative_slope`` · x elsewhere."""

    function = F.leaky_relu

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = negative_slope


class RReLU(FunctionModule):
    """LeakyReLU with slopes drawn from U(lower, upper) in training, their middle otherwise."""

    function = F.rrelu

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3) -> None:
        super().__init__()
        self.lower, self.upper = lower, upper


class ELU(FunctionModule):
    """x where it is positive, α (exp(x) - 1) elsewhere."""

    function = F.elu

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha


class CELU(FunctionModule):
    """x where it is positive, α (exp(x / α) - 1) elsewhere."""

    function = F.celu

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha


class GELU(FunctionModule):
    """x Φ(x) (Hendrycks & Gimpel 2016); ``approximate="tanh"`` is the faster form."""

    function = F.gelu

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate


class Softplus(FunctionModule):
    """log(1 + exp(β x)) / β, x itself where β x exceeds ``threshold``."""

    function = F.softplus

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold


class Hardtanh(FunctionModule):
    """x limited to [min_val, max_val]."""

    function = F.hardtanh

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        super().__init__()
        self.min_val, self.max_val = min_val, max_val


class Hardshrink(FunctionModule):
    """x where |x| > ``lambd``, 0 elsewhere."""

    function = F.hardshrink

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd


class Softshrink(FunctionModule):
    """x moved towards 0 by ``lambd``, 0 where it is nearer than that."""

    function = F.softshrink

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd


class Threshold(FunctionModule):
    """x where it exceeds ``threshold``, ``value`` elsewhere."""

    function = F.threshold

    def __init__(self, threshold: float, value: float) -> None:
        super().__init__()
        self.threshold, self.value = threshold, value


class GLU(FunctionModule):
    """a · sigmoid(b), where a and b are the halves of x along axis ``dim``."""

    function = F.glu

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim


class Softmax(FunctionModule):
    """exp(x) / Σ exp(x) over axis ``dim``."""

    function = F.softmax

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim


class Softmin(FunctionModule):
    """softmax(-x) over axis ``dim``."""

    function = F.softmin

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim


class LogSoftmax(FunctionModule):
    """x - log Σ exp(x) over axis ``dim``."""

    function = F.log_softmax

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim


class Softmax2d(Module):
    """softmax over the channels of images: (n, c, h, w) or (c, h, w)."""

    def forward(self, x: Array | Tensor) -> Tensor:
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

    def forward(self, x: TensorLike) -> Tensor:
        """Apply it to (n, num_parameters, …), or to any shape with one weight."""
        return F.prelu(x, self.weight)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"num_parameters={self.num_parameters}"
