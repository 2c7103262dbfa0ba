"""Activations as modules: names, settings and defaults are PyTorch's."""

from __future__ import annotations

from typing import Annotated

from distgrad.autograd.device import Device
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.kinds import AnyNumber, Integer, Size, one_of
from distgrad.nn import functional as F
from distgrad.nn.function_module import FunctionModule
from distgrad.nn.functional.wrap import wrap
from distgrad.nn.make import ParameterDType, constant
from distgrad.nn.module import Module


class ReLU(FunctionModule):
    """max(x, 0)."""

    function = F.relu

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


class ReLU6(FunctionModule):
    """x limited to [0, 6]."""

    function = F.relu6

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


class Hardsigmoid(FunctionModule):
    """x / 6 + 1/2, limited to [0, 1]."""

    function = F.hardsigmoid
    unshown = frozenset({"inplace"})

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


class Hardswish(FunctionModule):
    """x · hardsigmoid(x)."""

    function = F.hardswish
    unshown = frozenset({"inplace"})

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


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

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


class Mish(FunctionModule):
    """x · tanh(softplus(x))."""

    function = F.mish

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


class SELU(FunctionModule):
    """Scaled ELU, which keeps mean 0 and variance 1 (Klambauer et al. 2017)."""

    function = F.selu

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


class LeakyReLU(FunctionModule):
    """x where it is positive, ``negative_slope`` · x elsewhere."""

    function = F.leaky_relu

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope, self.inplace = negative_slope, inplace


class RReLU(FunctionModule):
    """LeakyReLU with slopes drawn from U(lower, upper) in training, their middle otherwise."""

    function = F.rrelu

    def __init__(
        self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False
    ) -> None:
        super().__init__()
        self.lower, self.upper, self.inplace = lower, upper, inplace


class ELU(FunctionModule):
    """x where it is positive, α (exp(x) - 1) elsewhere."""

    function = F.elu

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha, self.inplace = alpha, inplace


class CELU(FunctionModule):
    """x where it is positive, α (exp(x / α) - 1) elsewhere."""

    function = F.celu

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha, self.inplace = alpha, inplace


class GELU(FunctionModule):
    """x Φ(x) (Hendrycks & Gimpel 2016); ``approximate="tanh"`` is the faster form."""

    function = F.gelu

    def __init__(self, approximate: Annotated[str, one_of("none", "tanh")] = "none") -> None:
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

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.min_val, self.max_val, self.inplace = min_val, max_val, inplace


class Hardshrink(FunctionModule):
    """x where |x| > ``lambd``, 0 elsewhere."""

    function = F.hardshrink

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def extra_repr(self) -> str:
        """Return the setting."""
        return str(self.lambd)


class Softshrink(FunctionModule):
    """x moved towards 0 by ``lambd``, 0 where it is nearer than that."""

    function = F.softshrink

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def extra_repr(self) -> str:
        """Return the setting."""
        return str(self.lambd)


class Threshold(FunctionModule):
    """x where it exceeds ``threshold``, ``value`` elsewhere."""

    function = F.threshold

    def __init__(self, threshold: float, value: AnyNumber, inplace: bool = False) -> None:
        super().__init__()
        self.threshold, self.value, self.inplace = threshold, value, inplace


class GLU(FunctionModule):
    """a · sigmoid(b), where a and b are the halves of x along axis ``dim``."""

    function = F.glu

    def __init__(self, dim: Integer = -1) -> None:
        super().__init__()
        self.dim = dim


class Softmax(FunctionModule):
    """exp(x) / Σ exp(x) over axis ``dim``."""

    function = F.softmax

    def __init__(self, dim: Integer | None = None) -> None:
        super().__init__()
        self.dim = dim


class Softmin(FunctionModule):
    """softmax(-x) over axis ``dim``."""

    function = F.softmin

    def __init__(self, dim: Integer | None = None) -> None:
        super().__init__()
        self.dim = dim


class LogSoftmax(FunctionModule):
    """x - log Σ exp(x) over axis ``dim``."""

    function = F.log_softmax

    def __init__(self, dim: Integer | None = None) -> None:
        super().__init__()
        self.dim = dim


class Softmax2d(Module):
    """softmax over the channels of images: (n, c, h, w) or (c, h, w)."""

    def forward(self, input: Array | Tensor) -> Tensor:
        """Apply it. Errors: ShapeError for another number of axes."""
        input = wrap(input)
        if input.ndim not in {3, 4}:
            raise ShapeError(f"Softmax2d expects (n, c, h, w) or (c, h, w); got {input.shape}")
        return F.softmax(input, -3)


class PReLU(Module):
    """x where it is positive, ``weight`` · x elsewhere; one weight, or one per channel (axis 1)."""

    def __init__(
        self,
        num_parameters: Size = 1,
        init: AnyNumber = 0.25,
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = constant(init, num_parameters)

    def reset_parameters(self) -> None:
        """Set the slopes to ``init``."""
        self.weight.array[...] = self.init

    def forward(self, input: TensorLike) -> Tensor:
        """Apply it to (n, num_parameters, …), or to any shape with one weight."""
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"num_parameters={self.num_parameters}"
