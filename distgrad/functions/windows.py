"""``torch.signal.windows``: M weights that fall off on both sides, computed in float64.

``sym`` windows are their own mirror image; the others are the first M of M + 1, for periods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.device import on_cpu
from distgrad.autograd.dtypes import get_default_dtype
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array, DTypeLike
from distgrad.errors import DistgradError, ShapeError

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


class _Places:
    """The numbers 0 to M - 1, and the length of a period."""

    def __init__(self, M: int, sym: bool) -> None:
        if M < 0:
            raise ShapeError(f"a window has M ≥ 0 weights; got M={M}")
        self.n: Array = np.arange(M, dtype=np.float64)
        self.period = max(M - 1 if sym else M, 1)
        self.middle = (M - 1 if sym or M <= 1 else M) / 2


@apart
@keeps_form
def made(weights: Any, dtype: DTypeLike | None, requires_grad: bool, device: Any = None) -> Tensor:
    """Return a new Tensor of ``weights``. Errors: DistgradError for a dtype that is not real."""
    found = np.dtype(get_default_dtype() if dtype is None else dtype)
    if found.kind != "f":
        raise DistgradError(f"windows are of real numbers; got dtype {found}")
    on_cpu(device)
    return Tensor(np.asarray(weights, found), requires_grad)


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
    at = _Places(M, sym)
    angle = 2 * np.pi * at.n / at.period
    weights = sum((-1) ** i * c * np.cos(i * angle) for i, c in enumerate(a))
    return made(np.ones(1) if M == 1 else weights, dtype, requires_grad, device)


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
    """A triangle that ends at 0: 1 - |2 n / N - 1|."""
    at = _Places(M, sym)
    weights = np.ones(1) if M == 1 else 1 - np.abs(2 * at.n / at.period - 1)
    return made(weights, dtype, requires_grad, device)


def cosine(
    M: int,
    *,
    sym: bool = True,
    dtype: DTypeLike | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """sin(π (n + ½) / M)."""
    at = _Places(M, sym)
    length = M + 1 if not sym and M > 1 else M
    return made(np.sin(np.pi * (at.n + 0.5) / max(length, 1)), dtype, requires_grad, device)


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
    at = _Places(M, sym)
    middle = at.middle if center is None else center
    return made(np.exp(-np.abs(at.n - middle) / tau), dtype, requires_grad, device)


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
    at = _Places(M, sym)
    return made(np.exp(-0.5 * ((at.n - at.middle) / std) ** 2), dtype, requires_grad, device)


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
    at = _Places(M, sym)
    height = np.maximum(1 - (2 * at.n / at.period - 1) ** 2, 0)
    weights = np.ones(1) if M == 1 else np.i0(beta * np.sqrt(height)) / np.i0(beta)
    return made(weights, dtype, requires_grad, device)
