"""``torch.signal.windows``: M weights that fall off on both sides, computed in float64.

``sym`` windows are their own mirror image, of which one half is computed; the others are the first
M of M + 1, for periods.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import apart, fixed, keeps_form
from distgrad.autograd.device import on_cpu
from distgrad.autograd.dtypes import get_default_dtype
from distgrad.autograd.mode import fused_enabled, recorder
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array, DTypeLike
from distgrad.errors import DistgradError, ShapeError
from distgrad.functions.counting import Formula, counted, line, waves
from distgrad.ops.helpers import either_fused

__all__ = [
    "bartlett",
    "blackman",
    "cosine",
    "exponential",
    "gaussian",
    "general_cosine",
    "general_hamming",
    "hamming",
    "hann",
    "kaiser",
    "nuttall",
]


class _Half:
    """A window that is its own mirror image: its period N, and how many n there are up to N / 2."""

    def __init__(self, M: int, sym: bool) -> None:
        if M < 0:
            raise ShapeError(f"a window has M ≥ 0 weights; got M={M}")
        self.M = M
        self.period = max(M - 1 if sym else M, 1)
        self.count = min(self.period // 2 + 1, M)
        self.middle = self.period / 2 if M > 1 else 0.0

    def made(self, rising: Callable[[np.dtype[Any]], Array], dtype: Any, *settings: Any) -> Tensor:
        """Return a Tensor of the first half, as ``rising`` returns it, and its mirror image."""
        found = _real(dtype)
        if self.M < 2:
            return _kept(np.ones(self.M, found), *settings)
        w = np.empty(self.M, found)
        half = self.count
        w[:half] = rising(found)
        # Down to the number that is the mirror image of the last one.
        last = self.period - self.M
        w[half:] = w[self.period - half : last if last >= 0 else None : -1]
        return _kept(w, *settings)

    def of(self, formula: Formula, dtype: Any, *settings: Any) -> Tensor:
        """Return the window that is ``formula`` of n up to N / 2."""
        return self.made(lambda found: counted(self.count, found, formula), dtype, *settings)


def _real(dtype: DTypeLike | None) -> np.dtype[Any]:
    found = np.dtype(get_default_dtype() if dtype is None else dtype)
    if found.kind != "f":
        raise DistgradError(f"windows are of real numbers; got dtype {found}")
    return found


def _kept(weights: Array, requires_grad: bool, device: Any) -> Tensor:
    """Return a Tensor of a new array, of which a recorded step makes another one each time."""
    if recorder() is not None:
        return made(fixed(weights), weights.dtype, requires_grad, device)
    on_cpu(device)
    return Tensor(weights, requires_grad)


@apart
@keeps_form
def made(weights: Any, dtype: DTypeLike | None, requires_grad: bool, device: Any = None) -> Tensor:
    """Return a new Tensor of ``weights``. Errors: DistgradError for a dtype that is not real."""
    found = _real(dtype)
    on_cpu(device)
    return Tensor(np.array(weights, found), requires_grad)


def general_cosine(
    M: int,
    *,
    a: Sequence[float],
    sym: bool = True,
    dtype: DTypeLike | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Σ (-1)ⁱ aᵢ cos(2π i n / N)."""
    if not isinstance(a, list | tuple | np.ndarray):
        raise TypeError(f"general_cosine: a is a list of coefficients; got {a!r}")
    if len(a) == 0:
        raise ShapeError("general_cosine: a has no coefficients")
    half = _Half(M, sym)
    signed = [(-1) ** i * c for i, c in enumerate(a)]
    step = 2 * np.pi / half.period
    return half.made(lambda _: waves(half.count, signed, step), dtype, requires_grad, device)


def general_hamming(M: int, *, alpha: float = 0.54, **settings: Any) -> Tensor:
    """α - (1 - α) cos(2π n / N); settings as ``general_cosine``."""
    return general_cosine(M, a=[alpha, 1.0 - alpha], **settings)


def hamming(M: int, **settings: Any) -> Tensor:
    """0.54 - 0.46 cos(2π n / N); settings as ``general_cosine``."""
    return general_hamming(M, alpha=0.54, **settings)


def hann(M: int, **settings: Any) -> Tensor:
    """sin²(π n / N); settings as ``general_cosine``."""
    return general_hamming(M, alpha=0.5, **settings)


def blackman(M: int, **settings: Any) -> Tensor:
    """0.42 - 0.5 cos(2π n / N) + 0.08 cos(4π n / N); settings as ``general_cosine``."""
    return general_cosine(M, a=[0.42, 0.5, 0.08], **settings)


def nuttall(M: int, **settings: Any) -> Tensor:
    """Nuttall's four cosines with the smallest side lobes; settings as ``general_cosine``."""
    return general_cosine(M, a=[0.3635819, 0.4891775, 0.1365995, 0.0106411], **settings)


def bartlett(
    M: int,
    *,
    sym: bool = True,
    dtype: DTypeLike | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """A triangle that ends at 0: 1 - |2 n / N - 1|, which is 2 n / N up to its middle."""
    half = _Half(M, sym)
    step = 2 / half.period
    return half.made(lambda found: line(half.count, found, step), dtype, requires_grad, device)


def cosine(
    M: int,
    *,
    sym: bool = True,
    dtype: DTypeLike | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """sin(π (n + ½) / M)."""
    half = _Half(M, sym)
    step = np.pi / (half.period + 1)
    phase = step / 2 - np.pi / 2  # cos(x - π / 2) = sin(x)
    return half.made(
        lambda _: waves(half.count, [0.0, 1.0], step, phase), dtype, requires_grad, device
    )


def exponential(
    M: int,
    *,
    center: float | None = None,
    tau: float = 1.0,
    sym: bool = True,
    dtype: DTypeLike | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """exp(-|n - center| / τ); a ``sym`` one has its center in the middle."""
    if tau <= 0 or (sym and center is not None):
        raise ShapeError(f"exponential: tau is positive, center for sym=False; got {tau}, {center}")
    half = _Half(M, sym)
    if center is None:
        return half.of(lambda n: np.exp((n - half.middle) / tau), dtype, requires_grad, device)
    weights = counted(M, _real(dtype), lambda n: np.exp(-np.abs(n - center) / tau))
    return _kept(weights, requires_grad, device)


def gaussian(
    M: int,
    *,
    std: float = 1.0,
    sym: bool = True,
    dtype: DTypeLike | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """exp(-((n - N / 2) / std)² / 2)."""
    if std <= 0:
        raise ShapeError(f"gaussian: std is positive; got {std}")
    half = _Half(M, sym)

    def bell(n: Array) -> Array:
        x: Array = (n - half.middle) / std
        return np.exp(-0.5 * (x * x))

    return half.of(bell, dtype, requires_grad, device)


def kaiser(
    M: int,
    *,
    beta: float = 12.0,
    sym: bool = True,
    dtype: DTypeLike | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """I₀(β √(1 - (2 n / N - 1)²)) / I₀(β), I₀ the modified Bessel function."""
    if beta < 0:
        raise ShapeError(f"kaiser: beta is 0 or more; got {beta}")
    half = _Half(M, sym)
    top = _i0_of(float(beta), fused_enabled.get())

    def bump(n: Array) -> Any:
        n /= half.period / 2
        n -= 1  # -1 up to 0, the middle
        n *= n
        np.subtract(1, n, n)
        np.sqrt(n, n)
        n *= beta
        y = either_fused(ops.i0, n)
        y /= top
        return y

    return half.of(bump, dtype, requires_grad, device)


@functools.lru_cache(16)
def _i0_of(beta: float, fused: bool) -> Any:
    """I₀(β), by the twin if ``fused``."""
    return either_fused(ops.i0, np.array([beta], np.float64))
