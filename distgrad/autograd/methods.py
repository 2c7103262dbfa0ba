"""The methods of a Tensor: NumPy's and PyTorch's names for the functions of the same name.

Where the two disagree (``transpose``, ``max``, ``var``, ``size``) a Tensor is NumPy's array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from distgrad.autograd.tensor import Array, Tensor

# Filled by @op and as_method(): what NumPy has no function for.
METHODS: dict[str, Callable[..., Any]] = {}


class Methods:
    """What a Tensor has besides its own; every method is recorded unless it says otherwise."""

    __slots__ = ()

    data: Array

    # -- reductions ------------------------------------------------------------------------------

    def sum(self, axis: Any = None, keepdims: bool = False, **torch: Any) -> Tensor:
        """``np.sum``; ``dim`` and ``keepdim`` are understood."""
        axis, keepdims = _pytorchs("sum", axis, keepdims, torch)
        return _call(np.sum, self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False, **torch: Any) -> Tensor:
        """``np.mean``; ``dim`` and ``keepdim`` are understood."""
        axis, keepdims = _pytorchs("mean", axis, keepdims, torch)
        return _call(np.mean, self, axis=axis, keepdims=keepdims)

    def prod(self, axis: Any = None, keepdims: bool = False, **torch: Any) -> Tensor:
        """``np.prod``; ``dim`` and ``keepdim`` are understood."""
        axis, keepdims = _pytorchs("prod", axis, keepdims, torch)
        return _call(np.prod, self, axis=axis, keepdims=keepdims)

    def var(self, axis: Any = None, ddof: int = 0, keepdims: bool = False, **torch: Any) -> Tensor:
        """``np.var`` (NumPy's ``ddof=0``, not PyTorch's default of 1)."""
        _not_pytorchs("var", torch, "it divides by n - ddof, with ddof=0, where PyTorch has 1")
        return _call(np.var, self, axis=axis, ddof=ddof, keepdims=keepdims)

    def std(self, axis: Any = None, ddof: int = 0, keepdims: bool = False, **torch: Any) -> Tensor:
        """``np.std`` (NumPy's ``ddof=0``, not PyTorch's default of 1)."""
        _not_pytorchs("std", torch, "it divides by n - ddof, with ddof=0, where PyTorch has 1")
        return _call(np.std, self, axis=axis, ddof=ddof, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False, **torch: Any) -> Tensor:
        """``np.max``: the gradient goes to the first of equal elements."""
        _not_pytorchs("max", torch, "it returns values alone; argmax(axis) returns the indices")
        return _call(np.max, self, axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, keepdims: bool = False, **torch: Any) -> Tensor:
        """``np.min``: the gradient goes to the first of equal elements."""
        _not_pytorchs("min", torch, "it returns values alone; argmin(axis) returns the indices")
        return _call(np.min, self, axis=axis, keepdims=keepdims)

    def logsumexp(self, axis: Any = None, keepdims: bool = False, **torch: Any) -> Tensor:
        """log Σ exp over ``axis`` (all if None), without overflow; ``dim`` is understood."""
        axis, keepdims = _pytorchs("logsumexp", axis, keepdims, torch)
        return _named("logsumexp", self, axis=axis, keepdims=keepdims)

    def norm(self, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
        """``np.linalg.norm``."""
        return _call(np.linalg.norm, self, ord=ord, axis=axis, keepdims=keepdims)

    def argmax(self, axis: int | None = None, **torch: Any) -> Array:
        """``np.argmax``: a plain integer array; ``dim`` is understood."""
        axis, _ = _pytorchs("argmax", axis, False, torch)
        return np.asarray(np.argmax(self.data, axis=axis))

    def argmin(self, axis: int | None = None, **torch: Any) -> Array:
        """``np.argmin``: a plain integer array; ``dim`` is understood."""
        axis, _ = _pytorchs("argmin", axis, False, torch)
        return np.asarray(np.argmin(self.data, axis=axis))

    def all(self, axis: Any = None, keepdims: bool = False) -> Array:
        """``np.all``: a plain boolean array."""
        return np.asarray(np.all(self.data, axis=axis, keepdims=keepdims))

    def any(self, axis: Any = None, keepdims: bool = False) -> Array:
        """``np.any``: a plain boolean array."""
        return np.asarray(np.any(self.data, axis=axis, keepdims=keepdims))

    def cumsum(self, axis: int | None = None, **torch: Any) -> Tensor:
        """``np.cumsum``; ``dim`` is understood."""
        axis, _ = _pytorchs("cumsum", axis, False, torch)
        return _call(np.cumsum, self, axis=axis)

    def cumprod(self, axis: int | None = None, **torch: Any) -> Tensor:
        """``np.cumprod``; ``dim`` is understood."""
        axis, _ = _pytorchs("cumprod", axis, False, torch)
        return _call(np.cumprod, self, axis=axis)

    # -- elementwise -----------------------------------------------------------------------------

    def abs(self) -> Tensor:
        """``np.abs``."""
        return _call(np.abs, self)

    def exp(self) -> Tensor:
        """``np.exp``."""
        return _call(np.exp, self)

    def log(self) -> Tensor:
        """``np.log``."""
        return _call(np.log, self)

    def sqrt(self) -> Tensor:
        """``np.sqrt``."""
        return _call(np.sqrt, self)

    def square(self) -> Tensor:
        """``np.square``."""
        return _call(np.square, self)

    def sin(self) -> Tensor:
        """``np.sin``."""
        return _call(np.sin, self)

    def cos(self) -> Tensor:
        """``np.cos``."""
        return _call(np.cos, self)

    def tanh(self) -> Tensor:
        """``np.tanh``."""
        return _call(np.tanh, self)

    def sigmoid(self) -> Tensor:
        """1 / (1 + exp(-x))."""
        return _named("sigmoid", self)

    def relu(self) -> Tensor:
        """max(x, 0)."""
        return _named("relu", self)

    def softmax(self, dim: int = -1) -> Tensor:
        """``nn.functional.softmax``."""
        return _named("softmax", self, axis=dim)

    def log_softmax(self, dim: int = -1) -> Tensor:
        """``nn.functional.log_softmax``."""
        return _named("log_softmax", self, axis=dim)

    def pow(self, exponent: Any) -> Tensor:
        """``np.power``."""
        return _call(np.power, self, exponent)

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        """``np.clip``."""
        return _call(np.clip, self, min, max)

    def clamp(self, min: Any = None, max: Any = None) -> Tensor:
        """``np.clip``, by PyTorch's name."""
        return _call(np.clip, self, min, max)

    def round(self, decimals: int = 0) -> Tensor:
        """``np.round``: the gradient is 0."""
        return _call(np.round, self, decimals)

    def masked_fill(self, mask: Any, value: Any) -> Tensor:
        """``value`` where ``mask`` holds."""
        return _named("masked_fill", self, mask, value)

    # -- shapes ----------------------------------------------------------------------------------

    def reshape(self, *shape: Any) -> Tensor:
        """``np.reshape``; the shape as a tuple or as arguments."""
        return _call(np.reshape, self, shape[0] if len(shape) == 1 else shape)

    def view(self, *shape: Any) -> Tensor:
        """``reshape``, by PyTorch's name."""
        return self.reshape(*shape)

    def ravel(self) -> Tensor:
        """``np.ravel``."""
        return _call(np.ravel, self)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Axes ``start_dim`` to ``end_dim`` (included) as one."""
        return _named("flatten", self, start_dim, end_dim)

    def transpose(self, *axes: Any) -> Tensor:
        """``np.transpose``; all axes are reversed if none are given."""
        order = axes[0] if len(axes) == 1 else axes or None
        return _call(np.transpose, self, order)

    def permute(self, *axes: Any) -> Tensor:
        """``np.transpose``, by PyTorch's name."""
        return self.transpose(*axes)

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """``np.swapaxes``."""
        return _call(np.swapaxes, self, axis1, axis2)

    def squeeze(self, axis: Any = None) -> Tensor:
        """``np.squeeze``."""
        return _call(np.squeeze, self, axis=axis)

    def unsqueeze(self, dim: int) -> Tensor:
        """``np.expand_dims``, by PyTorch's name."""
        return _call(np.expand_dims, self, dim)

    def expand(self, *sizes: Any) -> Tensor:
        """``np.broadcast_to``, by PyTorch's name: -1 keeps the length of an axis."""
        wanted = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], tuple | list) else sizes
        own = (1,) * (len(wanted) - self.data.ndim) + self.data.shape
        return _call(
            np.broadcast_to,
            self,
            tuple([n if s == -1 else s for s, n in zip(wanted, own, strict=True)]),
        )

    @property
    def T(self) -> Tensor:  # noqa: N802 (NumPy's name)
        """All axes reversed."""
        return self.transpose()

    @property
    def mT(self) -> Tensor:  # noqa: N802 (NumPy's name)
        """The last two axes exchanged."""
        return self.swapaxes(-1, -2)

    def repeat(self, repeats: Any, axis: int | None = None) -> Tensor:
        """``np.repeat``."""
        return _call(np.repeat, self, repeats, axis=axis)

    # -- parts -----------------------------------------------------------------------------------

    def take(self, indices: Any, axis: int | None = None) -> Tensor:
        """``np.take``."""
        return _call(np.take, self, indices, axis=axis)

    def gather(self, dim: int, index: Any) -> Tensor:
        """``ops.gather``, torch.gather."""
        return _named("gather", self, dim, index)

    def index_select(self, dim: int, index: Any) -> Tensor:
        """``ops.index_select``, torch.index_select."""
        return _named("index_select", self, dim, index)

    def chunk(self, chunks: int, dim: int = 0) -> Sequence[Tensor]:
        """``ops.chunk``, torch.chunk."""
        parts: Sequence[Tensor] = METHODS["chunk"](self, chunks, dim)
        return parts

    def unbind(self, dim: int = 0) -> Sequence[Tensor]:
        """``ops.unbind``, torch.unbind."""
        parts: Sequence[Tensor] = METHODS["unbind"](self, dim)
        return parts

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """``np.diagonal``."""
        return _call(np.diagonal, self, offset, axis1, axis2)

    # -- matrices --------------------------------------------------------------------------------

    def dot(self, other: Any) -> Tensor:
        """``np.dot``."""
        return _call(np.dot, self, other)

    def matmul(self, other: Any) -> Tensor:
        """``np.matmul``."""
        return _call(np.matmul, self, other)

    def trace(self) -> Tensor:
        """``np.trace``."""
        return _call(np.trace, self)

    # -- numbers ---------------------------------------------------------------------------------

    def astype(self, dtype: Any) -> Tensor:
        """Return a copy of another dtype; gradients come back in this one's."""
        return _named("astype", self, dtype=np.dtype(dtype))

    def float(self) -> Tensor:
        """In single precision."""
        return self.astype(np.float32)

    def double(self) -> Tensor:
        """In double precision."""
        return self.astype(np.float64)

    def clone(self) -> Tensor:
        """Return a copy on the tape (``np.copy``)."""
        return _call(np.copy, self)

    @property
    def real(self) -> Tensor:
        """``np.real``."""
        return _call(np.real, self)

    @property
    def imag(self) -> Tensor:
        """``np.imag``."""
        return _call(np.imag, self)

    def conj(self) -> Tensor:
        """``np.conj``."""
        return _call(np.conj, self)

    def tolist(self) -> Any:
        """Return nested lists of Python numbers."""
        return self.data.tolist()

    def numel(self) -> int:
        """Return the number of elements."""
        return self.data.size

    def dim(self) -> int:
        """Return the number of axes."""
        return self.data.ndim


def _pytorchs(name: str, axis: Any, keepdims: bool, given: dict[str, Any]) -> tuple[Any, bool]:
    """Read PyTorch's names of the two settings, which mean the same here."""
    for unknown in given.keys() - {"dim", "keepdim"}:
        raise TypeError(
            f"Tensor.{name}() takes axis and keepdims (or dim, keepdim), no '{unknown}'"
        )
    return given.get("dim", axis), given.get("keepdim", keepdims)


def _not_pytorchs(name: str, given: dict[str, Any], why: str) -> None:
    """Refuse PyTorch's names where the same call would mean something else."""
    for unknown in given:
        raise TypeError(
            f"Tensor.{name}() is NumPy's and takes axis and keepdims, no '{unknown}': {why}"
        )


def _call(function: Any, *args: Any, **settings: Any) -> Tensor:
    """Call a NumPy function on Tensors; its stubs promise arrays."""
    result: Tensor = function(*args, **settings)
    return result


def _named(name: str, *args: Any, **settings: Any) -> Tensor:
    result: Tensor = METHODS[name](*args, **settings)
    return result
