"""Initialisers: fill a tensor in place from the counter-based random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from distgrad.arguments import checked
from distgrad.autograd.dtypes import of_one_number
from distgrad.autograd.stream import common_generator
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import DistgradError, ShapeError
from distgrad.missing import answers as _answers
from distgrad.nn.skip import skipping

# Squares of the gains, as fractions: the deviation that keeps a signal's size through each.
_SQUARED_GAINS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("linear", "sigmoid"), (1, 1)),
    **{f"conv{'_transpose' * transposed}{n}d": (1, 1) for n in (1, 2, 3) for transposed in (0, 1)},
    "tanh": (25, 9),
    "relu": (2, 1),
    "selu": (9, 16),
}


@checked
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Fill with U(a, b). Errors: ShapeError unless a <= b."""
    if not a <= b:
        raise ShapeError(f"uniform_ needs a <= b; got a={a}, b={b}")
    _expect_fractions(tensor, "uniform_", "f")
    if skipping.get():
        return tensor
    tensor._to_write()[...] = common_generator().uniform(a, b, tensor.shape)
    return tensor


@checked
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Fill with N(mean, std²), of a complex tensor half of it in either part.

    Errors: ShapeError for a negative ``std``.
    """
    if not std >= 0:
        raise ShapeError(f"normal_: std is 0 or more; got {std}")
    _expect_fractions(tensor, "normal_", "fc")
    if skipping.get():
        return tensor
    if tensor.dtype.kind == "c":
        pairs = common_generator().normal(0.0, std / math.sqrt(2), (*tensor.shape, 2))
        tensor._to_write()[...] = pairs.view(np.complex128)[..., 0] + mean
        return tensor
    tensor._to_write()[...] = common_generator().normal(mean, std, tensor.shape)
    return tensor


@checked
def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Tensor:
    """Fill with N(mean, std²) cut off outside [a, b] (values, not deviations).

    Errors: ShapeError unless a < b and std > 0.
    """
    if not (a < b and std > 0):
        raise ShapeError(f"trunc_normal_ needs a < b and std > 0; got a={a}, b={b}, std={std}")
    _expect_fractions(tensor, "trunc_normal_", "f")
    draw = _cut_normal(common_generator(), (a - mean) / std, (b - mean) / std)
    values = np.empty(tensor.size)
    missing: Array = np.arange(tensor.size)
    while missing.size:
        found, kept = draw(missing.size)
        values[missing[kept]] = found[kept]
        missing = missing[~kept]
    # The product may be rounded past a bound.
    tensor._to_write()[...] = np.clip(mean + std * values, a, b).reshape(tensor.shape)
    return tensor


@checked
def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one value."""
    tensor._to_write()[...] = val
    return tensor


@checked
def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    return constant_(tensor, 0.0)


@checked
def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    return constant_(tensor, 1.0)


@checked
def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with the identity (ones on its diagonal). Errors: ShapeError if not 2-D."""
    _expect(tensor, "eye_", 2)
    tensor._to_write()[...] = np.eye(tensor.shape[0], tensor.shape[1])
    return tensor


@checked
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill a convolution's weight (3 to 5 axes) so that it passes as many channels as it can.

    Errors: ShapeError for another number of axes or ``groups`` that do not divide axis 0.
    """
    _expect(tensor, "dirac_", 3, 4, 5)
    out, inner, *kernel = tensor.shape
    if groups < 1 or out % groups:
        raise ShapeError(f"dirac_: groups={groups} must divide the {out} output channels")
    tensor._to_write()[...] = 0
    middle = tuple(k // 2 for k in kernel)
    for g in range(groups):
        for c in range(min(out // groups, inner)):
            tensor._to_write()[(g * (out // groups) + c, c, *middle)] = 1
    return tensor


def fans(tensor: Tensor) -> tuple[int, int]:
    """Return (fan in, fan out) of a weight laid out as PyTorch's: (out, in, *kernel)."""
    if tensor.ndim < 2:
        raise ShapeError(
            f"fan in and out need at least 2 axes; the tensor has shape {tensor.shape}"
        )
    field = int(np.prod(tensor.shape[2:]))
    return tensor.shape[1] * field, tensor.shape[0] * field


@checked
def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the recommended gain of a nonlinearity; ``param`` is leaky_relu's slope (0.01).

    Errors: ShapeError for a nonlinearity it does not know.
    """
    over, under = _squared_gain(nonlinearity, 0.01 if param is None else param)
    return math.sqrt(over / under)


@checked
def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """U(-k, k) with k = gain √(3 / fan) (He et al. 2015); ``a`` is the slope of leaky_relu.

    With a = √5 it is U(-1/√fan_in, 1/√fan_in), which nn.Linear and the convolutions use.
    Errors: ShapeError for an unknown mode or nonlinearity, or fewer than 2 axes.
    """
    over, under = _squared_gain(nonlinearity, a)
    bound = math.sqrt(3.0 * over / (under * _fan(tensor, mode)))
    return uniform_(tensor, -bound, bound)


@checked
def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """N(0, gain² / fan) (He et al. 2015); ``a`` is the slope of leaky_relu.

    Errors: ShapeError for an unknown mode or nonlinearity, or fewer than 2 axes.
    """
    over, under = _squared_gain(nonlinearity, a)
    return normal_(tensor, 0.0, math.sqrt(over / (under * _fan(tensor, mode))))


@checked
def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """U(-k, k) with k = gain √(6 / (fan_in + fan_out)) (Glorot & Bengio 2010)."""
    _expect_gain("xavier_uniform_", gain)
    bound = gain * math.sqrt(6.0 / max(sum(fans(tensor)), 1))
    return uniform_(tensor, -bound, bound)


@checked
def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """N(0, 2 gain² / (fan_in + fan_out)) (Glorot & Bengio 2010)."""
    _expect_gain("xavier_normal_", gain)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / max(sum(fans(tensor)), 1)))


@checked
def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fill with a random orthogonal matrix times ``gain`` (Saxe et al. 2013).

    Axes from 1 on count as one: its rows are orthonormal, or its columns if there are fewer.
    Errors: ShapeError for fewer than 2 axes.
    """
    fans(tensor)
    _expect_fractions(tensor, "orthogonal_", "f")
    if not tensor.size:
        return tensor
    rows, columns = tensor.shape[0], tensor.size // tensor.shape[0]
    tall = common_generator().normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    # Signs of R's diagonal make Q uniform over the orthogonal matrices (Mezzadri 2007).
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)
    tensor._to_write()[...] = gain * (q.T if rows < columns else q).reshape(tensor.shape)
    return tensor


@checked
def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01) -> Tensor:
    """Fill a matrix with N(0, std²) and a share ``sparsity`` of each column with 0 (Martens 2010).

    Errors: ShapeError if it is not 2-D or ``sparsity`` is outside [0, 1].
    """
    _expect(tensor, "sparse_", 2)
    _expect_fractions(tensor, "sparse_", "f")
    if not 0 <= sparsity <= 1:
        raise ShapeError(f"sparse_: sparsity must be in [0, 1]; got {sparsity}")
    if not std >= 0:
        raise ShapeError(f"sparse_: std is 0 or more; got {std}")
    rows, _ = tensor.shape
    rng = common_generator()
    values = rng.normal(0.0, std, tensor.shape)
    order = rng.permuted(np.broadcast_to(np.arange(rows)[:, None], tensor.shape), axis=0)
    values[order < math.ceil(sparsity * rows)] = 0
    tensor._to_write()[...] = values
    return tensor


def _squared_gain(nonlinearity: str, slope: float) -> tuple[float, float]:
    if nonlinearity == "leaky_relu":
        return 2.0, 1 + slope * slope
    if nonlinearity not in _SQUARED_GAINS:
        raise ShapeError(
            f"no gain is known for nonlinearity={nonlinearity!r}; choose one of "
            f"{', '.join(['leaky_relu', *_SQUARED_GAINS])}"
        )
    return _SQUARED_GAINS[nonlinearity]


def _fan(tensor: Tensor, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ShapeError(f"mode is 'fan_in' or 'fan_out'; got {mode!r}")
    # A layer without inputs has no weights to fill.
    return max(fans(tensor)[mode == "fan_out"], 1)


def _expect(tensor: Tensor, name: str, *axes: int) -> None:
    if tensor.ndim not in axes:
        raise ShapeError(
            f"{name} fills tensors of {' or '.join(map(str, axes))} axes; got {tensor.shape}"
        )


def _expect_fractions(tensor: Tensor, name: str, kinds: str) -> None:
    if tensor.dtype.kind not in kinds:
        raise DistgradError(
            f"{name} draws {'real' if kinds == 'f' else 'real or complex'} numbers; the tensor is "
            f"{tensor.dtype}{of_one_number(tensor)}"
        )


def _expect_gain(name: str, gain: float) -> None:
    if not gain >= 0:
        raise ShapeError(f"{name}: gain is 0 or more; got {gain}")


def _cut_normal(
    rng: np.random.Generator, low: float, high: float
) -> Callable[[int], tuple[Array, Array]]:
    """Return a draw of n candidates of N(0, 1) on [low, high], and which of them to keep."""
    mass = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
    if mass > 0.25:

        def bell(n: int) -> tuple[Array, Array]:
            x = rng.normal(size=n)
            return x, (x >= low) & (x <= high)

        return bell

    # Little of the bell lies in the interval: it is narrow, or far out in a tail. There uniform
    # candidates are kept in proportion to the density; past e⁻⁴⁰ of its peak it counts as none.
    peak = max(low, -high, 0.0)
    reach = math.sqrt(peak * peak + 80)
    start, stop = max(low, -reach), min(high, reach)

    def flat(n: int) -> tuple[Array, Array]:
        x = rng.uniform(start, stop, n)
        return x, rng.uniform(size=n) < np.exp((peak * peak - x * x) / 2)

    return flat


# By the name that PyTorch's users know it by, though it is private there too.
_calculate_fan_in_and_fan_out = fans

__getattr__ = _answers("distgrad.nn.init", globals())
