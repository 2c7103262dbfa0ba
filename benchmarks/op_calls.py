"""What benchmarks/ops.py times: every op of the registry and every layer and loss of nn, by name.

A case is how both libraries are called and what draws the inputs for about n elements.
tests/oracle/test_sweep.py demands that each op and layer has one, or a reason to have none.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from torch_names import BINARY, FUNCTIONALS, UNARY

import distgrad as dg
from distgrad import ops
from distgrad.nn import functional as F

TF, L, S = torch.nn.functional, torch.linalg, torch.special
Draw = Callable[[np.random.Generator, tuple[int, int]], tuple[Any, ...]]
"""Draws the inputs for a matrix of this shape; arrays of floats are differentiated."""


@dataclass(frozen=True)
class Fixed:
    """An input that is not differentiated."""

    array: Any


@dataclass(frozen=True)
class Case:
    """A row: ``build`` makes layers anew; without ``strided`` one layout is timed."""

    name: str
    group: str
    build: Callable[[], tuple[Callable[..., Any], Callable[..., Any]]]
    draw: Draw
    strided: bool = False
    of: str = ""


CASES: list[Case] = []


def case(
    name: str,
    ours: Any,
    theirs: Any,
    draw: Draw,
    group: str = "op",
    strided: bool = False,
    of: str = "",
) -> None:
    """Add a case of two functions."""
    own = of or name.split(maxsplit=1)[0]
    CASES.append(Case(name, group, lambda: (ours, theirs), draw, strided, own))


def having(function: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
    """Return the function with its settings, if it has any."""
    return partial(function, **settings) if settings else function


# -- inputs -----------------------------------------------------------------------------------


def uniform(*ranges: tuple[float, float]) -> Draw:
    """Matrices, one for each range."""
    return lambda r, s: tuple(r.uniform(*span, s).astype("f4") for span in ranges)


def normal(count: int = 1, then: Callable[..., Any] | None = None) -> Draw:
    def draw(r: np.random.Generator, s: tuple[int, int]) -> tuple[Any, ...]:
        arrays = tuple(r.standard_normal(s, "f4") for _ in range(count))
        return arrays if then is None else tuple(then(r, *arrays))

    return draw


def planes(space: int = 2, channels: int = 32, count: int = 1) -> Draw:
    """(n, c, h, w) or another number of axes, of about as many elements as the matrix."""

    def draw(r: np.random.Generator, s: tuple[int, int]) -> tuple[Any, ...]:
        n = s[0] * s[1]
        c = channels if n > 1000 else 4
        batch = 1 if n < 1000 else 4 if n < 100_000 else 16
        side = max(2, round((n / c / batch) ** (1 / space)))
        shape = (batch, c, *(side - side % 2,) * space)
        return tuple(r.standard_normal(shape, "f4") for _ in range(count))

    return draw


def sequences(width: int) -> Draw:
    """(32, steps, width), or a short one."""

    def draw(r: np.random.Generator, s: tuple[int, int]) -> tuple[Any, ...]:
        n = max(s[0] * s[1] // width, 2)
        batch = 1 if n < 64 else 32
        return (r.standard_normal((batch, n // batch, width), "f4"),)

    return draw


def matrices(make: Callable[[np.random.Generator, Any], Any] = lambda r, a: a) -> Draw:
    """Many matrices of 8 × 8, far from singular."""

    def draw(r: np.random.Generator, s: tuple[int, int]) -> tuple[Any, ...]:
        a = r.uniform(-0.3, 0.3, (max(1, s[0] * s[1] // 64), 8, 8)) + np.diag(np.arange(2, 10))
        made = make(r, a.astype("f4"))
        return made if isinstance(made, tuple) else (made,)

    return draw


def of_parts(function: Callable[..., Any], make: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of a complex array as one of its two parts."""
    return lambda a, b: function(make(a, b)) * 1.0


def labels(r: np.random.Generator, a: Any) -> tuple[Any, ...]:
    return a, Fixed(r.integers(0, a.shape[1], a.shape[0]))


def target(r: np.random.Generator, a: Any, b: Any) -> tuple[Any, ...]:
    return a, Fixed(b)


def shares(r: np.random.Generator, s: tuple[int, int]) -> tuple[Any, ...]:
    p, t = r.uniform(0.05, 0.95, (2, *s)).astype("f4")
    return p, Fixed(t)


def signs(r: np.random.Generator, a: Any) -> tuple[Any, ...]:
    return a, Fixed(np.where(r.random(a.shape) < 0.5, 1, -1).astype("f4"))


# -- elementwise ------------------------------------------------------------------------------

_PLAIN = {"absolute": torch.abs, "cbrt": lambda x: torch.pow(x, 1 / 3)}
for _name, (_ours, _theirs, *_span) in UNARY.items():
    if _name == "astype":
        continue
    _span = [0.1, 3.0] if _name == "cbrt" else _span
    case(_name, _ours, _PLAIN.get(_name, _theirs), uniform(_span), "elementwise", True)
case("astype", lambda x: x.astype("f8"), lambda x: x.double(), normal(), "elementwise", True)
for _name, (_ours, _theirs, *_spans) in BINARY.items():
    _ranges = (tuple(_spans[:2]), tuple(_spans[2:]))
    case(_name, _ours, _theirs, uniform(*_ranges), "elementwise", True)
for _name, _settings in FUNCTIONALS.items():
    for _set in _settings if _name == "gelu" else _settings[:1]:
        _label = " ".join([_name, *(f"{k}={v}" for k, v in _set.items())])
        case(
            _label,
            having(getattr(F, _name), **_set),
            having(getattr(TF, _name), **_set),
            uniform((-4, 4)),
            "elementwise",
            True,
            "gelu_tanh" if _set.get("approximate") else _name,
        )
case("power of 3", lambda a: a**3, lambda a: a**3, normal(), "elementwise", True)
case("power of 0.5", lambda a: a**0.5, lambda a: a**0.5, uniform((0.1, 2)), "elementwise", True)
case("multiply by a number", lambda a: a * 2.5, lambda a: a * 2.5, normal(), "elementwise", True)
case("prelu", F.prelu, TF.prelu, normal(1, lambda r, a: (a, np.full(1, 0.2, "f4"))), "elementwise")
case("clamp", lambda a: np.clip(a, -1, 1), lambda a: a.clamp(-1, 1), normal(), "elementwise", True)
_held = normal(3, lambda r, c, a, b: (Fixed(c > 0), a, b))
case("where", np.where, torch.where, _held, "elementwise", True)
_kept = normal(1, lambda r, a: (a, Fixed(r.random(a.shape) < 0.9)))
case(
    "dropout",
    lambda a, keep: ops.dropout(a, keep.array, p=0.1),
    lambda a, keep: torch.nn.functional.dropout(a, 0.1),
    _kept,
    "elementwise",
)
for _name, _low in (("lgamma", 0.3), ("digamma", 0.3)):
    case(_name, getattr(ops, _name), getattr(torch, _name), uniform((_low, 6)), "special")
case("polygamma", lambda x: ops.polygamma(x, n=2), lambda x: torch.polygamma(2, x),
     uniform((0.5, 6)), "special")  # fmt: skip
case("erfinv", ops.erfinv, torch.erfinv, uniform((-0.95, 0.95)), "special")
case("ndtri", ops.ndtri, S.ndtri, uniform((0.02, 0.98)), "special")
for _name in ("entr", "erfcx", "i0", "i0e", "i1", "i1e", "log_ndtr"):
    case(_name, getattr(ops, _name), getattr(S, _name), uniform((0.1, 5)), "special")
case("xlog1py", ops.xlog1py, S.xlog1py, uniform((-2, 2), (-0.9, 2)), "special")

# -- broadcasts, reductions, scans, order -------------------------------------------------------

_row = normal(1, lambda r, a: (a, a[:1].copy()))
_column = normal(1, lambda r, a: (a, a[:, :1].copy()))
case("multiply by a row", np.multiply, torch.mul, _row, of="multiply")
case("multiply by a column", np.multiply, torch.mul, _column, of="multiply")
case("add a row", np.add, torch.add, _row, of="add")
case("add a column", np.add, torch.add, _column, of="add")
_REDUCTIONS: dict[str, tuple[Any, Any]] = {
    "sum": (np.sum, torch.sum),
    "mean": (np.mean, torch.mean),
    "var": (np.var, lambda x, **s: torch.var(x, correction=0, **s)),
    "std": (np.std, lambda x, **s: torch.std(x, correction=0, **s)),
    "max": (np.max, lambda x, dim: torch.max(x, dim=dim).values),
    "min": (np.min, lambda x, dim: torch.min(x, dim=dim).values),
    "amax": (np.amax, torch.amax),
    "amin": (np.amin, torch.amin),
    "prod": (np.prod, torch.prod),
    "logsumexp": (ops.logsumexp, torch.logsumexp),
    "vector_norm": (ops.vector_norm, L.vector_norm),
    "cumsum": (np.cumsum, torch.cumsum),
    "cumprod": (np.cumprod, torch.cumprod),
    "logcumsumexp": (ops.logcumsumexp, torch.logcumsumexp),
    "softmax": (ops.softmax, torch.softmax),
    "log_softmax": (ops.log_softmax, torch.log_softmax),
}
for _name, (_ours, _theirs) in _REDUCTIONS.items():
    for _axis in (0, 1):
        case(
            f"{_name} over {'rows' if _axis else 'columns'}",
            having(_ours, axis=_axis),
            having(_theirs, dim=_axis),
            uniform((0.9, 1.1)) if "prod" in _name else normal(),
            strided=True,
        )
for _name in ("sum", "mean", "amax", "prod", "var", "vector_norm"):
    case(f"{_name} of all", *_REDUCTIONS[_name], uniform((0.9, 1.1)), strided=_name != "prod")
case("sort", lambda a: np.sort(a, axis=1), lambda a: a.sort(1)[0], normal(),
     of="permute_along_axis")  # fmt: skip

# -- shapes -----------------------------------------------------------------------------------


def _with_rows(r: np.random.Generator, a: Any) -> tuple[Any, ...]:
    return a, Fixed(r.integers(0, len(a), len(a)))


_SHAPES: dict[str, tuple[Any, Any, Draw]] = {
    "transpose": (lambda a: a.T * 1.0, lambda a: a.T * 1.0, normal()),
    "swapaxes": (lambda a: np.swapaxes(a, 0, 1) + 1.0, lambda a: a.swapaxes(0, 1) + 1.0, normal()),
    "reshape": (lambda a: a.reshape(-1) * 1.0, lambda a: a.reshape(-1) * 1.0, normal()),
    "squeeze": (lambda a: np.squeeze(a) * 1.0, lambda a: torch.squeeze(a) * 1.0, normal()),
    "expand_dims": (lambda a: a[None] * 1.0, lambda a: a[None] * 1.0, normal()),
    "getitem slice": (lambda a: a[1:, 1:] * 1.0, lambda a: a[1:, 1:] * 1.0, normal()),
    "getitem rows": (lambda a, i: a[i.array], lambda a, i: a[i], normal(1, _with_rows)),
    "getitem mask": (
        lambda a, m: a[m.array],
        lambda a, m: a[m],
        normal(2, lambda r, a, b: (a, Fixed(b > 0))),
    ),
    "take": (
        lambda a, i: np.take(a, i.array, axis=1),
        lambda a, i: torch.index_select(a, 1, i),
        normal(1, lambda r, a: (a, Fixed(r.integers(0, a.shape[1], a.shape[1])))),
    ),
    "take_along": (
        lambda a, i: np.take_along_axis(a, i.array, 1),
        lambda a, i: torch.gather(a, 1, i),
        normal(2, lambda r, a, b: (a, Fixed(b.argsort(1)))),
    ),
    "take_along columns": (
        lambda a, i: np.take_along_axis(a, i.array, 0),
        lambda a, i: torch.gather(a, 0, i),
        normal(2, lambda r, a, b: (a, Fixed(b.argsort(0)))),
    ),
    "add_along scatter_add": (
        lambda a, b, i: ops.scatter_add(a, 1, i.array, b),
        lambda a, b, i: torch.scatter_add(a, 1, i, b),
        normal(2, lambda r, a, b: (a, b, Fixed(b.argsort(1)))),
    ),
    "add_slices index_add": (
        lambda a, b, i: ops.index_add(a, 0, i.array, b),
        lambda a, b, i: torch.index_add(a, 0, i, b),
        normal(2, lambda r, a, b: (a, b, _with_rows(r, a)[1])),
    ),
    "put_along scatter": (
        lambda a, b, i: ops.scatter(a, 1, i.array, b),
        lambda a, b, i: torch.scatter(a, 1, i, b),
        normal(2, lambda r, a, b: (a, b, Fixed(b.argsort(1)))),
    ),
    "set_at index_put": (
        lambda a, b, i: ops.index_put(a, (i.array,), b),
        lambda a, b, i: torch.index_put(a, (i,), b),
        normal(2, lambda r, a, b: (a, b, Fixed(r.permutation(len(a))))),
    ),
    "set_at slice": (
        lambda a, b: ops.index_put(a, (slice(None), slice(0, 4)), b[:, :4]),
        lambda a, b: torch.slice_scatter(a, b[:, :4], 1, 0, 4),
        normal(2),
    ),
    "where masked_fill": (
        lambda a, m: ops.masked_fill(a, m.array, 0.5),
        lambda a, m: torch.masked_fill(a, m, 0.5),
        normal(2, lambda r, a, b: (a, Fixed(b > 0))),
    ),
    "broadcast_to": (
        lambda a: np.broadcast_to(a[:1], a.shape) * 1.0,
        lambda a: a[:1].broadcast_to(a.shape) * 1.0,
        normal(),
    ),
    "distances": (
        dg.cdist,
        torch.cdist,
        normal(2, lambda r, a, b: (a[:, :64].copy(), b[:, :64].copy())),
    ),
    "distances p=1": (
        lambda a, b: dg.cdist(a, b, 1.0),
        lambda a, b: torch.cdist(a, b, 1.0),
        normal(2, lambda r, a, b: (a[:, :3].copy(), b[:, :3].copy())),
    ),
    "grid_sample": (
        lambda a, g: F.grid_sample(a, g, align_corners=False),
        lambda a, g: TF.grid_sample(a, g, align_corners=False),
        lambda r, s: (
            r.standard_normal((1, 1, *s), "f4"),
            r.uniform(-1, 1, (1, *s, 2)).astype("f4"),
        ),
    ),
    "outer_product": (
        dg.outer,
        torch.outer,
        normal(2, lambda r, a, b: (a[0].copy(), b[0].copy())),
    ),
    "bag_sum embedding_bag": (
        lambda a, i: F.embedding_bag(i.array, a, mode="sum"),
        lambda a, i: TF.embedding_bag(i, a, mode="sum"),
        normal(1, lambda r, a: (a, Fixed(r.integers(0, len(a), (len(a) // 8, 8))))),
    ),
    "unstack": (
        lambda a: sum(s * (i + 1.0) for i, s in enumerate(dg.unbind(a[:, :4], 1))),
        lambda a: sum(s * (i + 1.0) for i, s in enumerate(torch.unbind(a[:, :4], 1))),
        normal(),
    ),
    "pair_distances": (
        F.pdist,
        TF.pdist,
        normal(1, lambda r, a: (a[:, :64].copy(),)),
    ),
    "join concatenate": (
        lambda a, b: np.concatenate([a, b], axis=1),
        lambda a, b: torch.cat([a, b], 1),
        normal(2),
    ),
    "join stack": (
        lambda a, b: np.stack([a, b]),
        lambda a, b: torch.stack([a, b]),
        normal(2),
    ),
    "split": (
        lambda a: sum(s * (i + 1.0) for i, s in enumerate(np.array_split(a, 4, axis=1))),
        lambda a: sum(s * (i + 1.0) for i, s in enumerate(torch.tensor_split(a, 4, 1))),
        lambda r, s: (r.standard_normal((s[0], s[1] // 4 * 4), "f4"),),
    ),
    "flip": (lambda a: np.flip(a, 1), lambda a: a.flip(1), normal()),
    "roll": (lambda a: np.roll(a, 3, 1), lambda a: torch.roll(a, 3, 1), normal()),
    "pad_constant": (
        lambda a: np.pad(a, ((1, 1), (2, 2))),
        lambda a: TF.pad(a, (2, 2, 1, 1)),
        normal(),
    ),
    "tril": (np.tril, torch.tril, normal()),
    "triu": (np.triu, torch.triu, normal()),
    "diagonal": (np.diagonal, torch.diagonal, normal()),
    "diagonal_fill": (
        np.diag,
        torch.diag,
        normal(1, lambda r, a: (a.diagonal().copy(),)),
    ),
    "unfold": (
        lambda a: F.unfold(a, (3, 3)),
        lambda a: TF.unfold(a, (3, 3)),
        planes(2, 8),
    ),
    "fold": (
        lambda a: F.fold(F.unfold(a, (2, 2), stride=2), a.shape[2:], (2, 2), stride=2),
        lambda a: TF.fold(TF.unfold(a, (2, 2), stride=2), a.shape[2:], (2, 2), stride=2),
        planes(2, 8),
    ),
}
for _name, (_ours, _theirs, _draw) in _SHAPES.items():
    case(_name, _ours, _theirs, _draw)

# -- products and matrices ----------------------------------------------------------------------


def _product(r: np.random.Generator, s: tuple[int, int]) -> tuple[Any, ...]:
    k = min(s[1], 256)
    return r.standard_normal((s[0], k), "f4"), r.standard_normal((k, k), "f4")


case("matmul", np.matmul, torch.matmul, _product)
case("linear", F.linear, TF.linear, _product)
case("einsum", lambda a, b: np.einsum("ij,kj->ik", a, b),
     lambda a, b: torch.einsum("ij,kj->ik", a, b), _product, of="matmul")  # fmt: skip
case("matmul of many", np.matmul, torch.matmul, matrices(lambda r, a: (a, a + 1)), of="matmul")
for _name in ("inv", "det", "cholesky", "eigh", "svd", "qr", "pinv"):
    _make: Any = (lambda r, a: a + a.transpose(0, 2, 1)) if _name in ("cholesky", "eigh") else None
    _settings_: Any = {"full_matrices": False} if _name == "svd" else {}
    case(
        _name,
        having(getattr(np.linalg, _name), **_settings_),
        having(getattr(L, _name), **_settings_),
        matrices(_make) if _make else matrices(),
        "linalg",
    )
# The sign comes first, and its gradient is zeros.
case("slogdet", lambda a: np.linalg.slogdet(a)[1], lambda a: L.slogdet(a)[1], matrices(), "linalg")
_two = matrices(lambda r, a: (a, a + 1))
case("solve", np.linalg.solve, L.solve, _two, "linalg")
case("solve_triangular", lambda a, b: ops.solve_triangular(np.tril(a), b),
     lambda a, b: L.solve_triangular(a.tril(), b, upper=False), _two, "linalg")  # fmt: skip
case("matrix_exp", ops.matrix_exp, L.matrix_exp, matrices(lambda r, a: a / 9), "linalg")
for _name in ("fft", "ifft", "rfft"):
    case(_name, getattr(np.fft, _name), getattr(torch.fft, _name), normal(), "fft")
case("irfft", lambda a, b: np.fft.irfft(ops.complex(a, b)),
     lambda a, b: torch.fft.irfft(torch.complex(a, b)), normal(2), "fft")  # fmt: skip
for _name in ("real", "imag", "conj", "angle"):
    case(
        _name,
        of_parts(getattr(np, _name), ops.complex),
        of_parts(getattr(torch, _name), torch.complex),
        normal(2),
        "fft",
    )
case("complex", ops.complex, torch.complex, normal(2), "fft")

OPS_LEFT_OUT = {
    "add_at": "the way back of getitem",
    "bessel_j0": "PyTorch has no gradient of it",
    "bessel_j1": "PyTorch has no gradient of it",
    "block_diagonal": "timed as the function block_diag",
    "contraction": "timed as the functions inner and tensordot",
    "convolution_weight": "the way back of a convolution",
    "convolve": "PyTorch has no such function",
    "diagonal_sum": "timed as the function trace",
    "eig": "complex eigenvalues: LAPACK's time on both sides",
    "extreme_at": "timed as the functions scatter_reduce and index_reduce",
    "fold_border": "the way back of pad_border",
    "frames": "a part of stft",
    "from_lower": "a part of eigh",
    "igamma": "PyTorch has no gradient to its order",
    "igammac": "PyTorch has no gradient to its order",
    "kronecker": "timed as the function kron",
    "lstm_projected": "a variant of the LSTM",
    "lu_factor": "linalg.lu_factor",
    "lu_unpack": "lu_unpack",
    "overlap": "a part of istft",
    "powers": "timed as the function vander",
    "row_covariances": "timed as the function cov",
    "qr_complete": "a variant of qr",
    "scalar_product": "timed as the function linalg.vecdot",
    "scaled_product": "the way back of tanh_backward",
    "set_diagonal": "timed as the function diagonal_scatter",
    "sigmoid_backward": "the way back of sigmoid",
    "tanh_backward": "the way back of tanh",
    "singular_values": "timed as the function linalg.cond",
    "tiled": "timed as the function tile",
    "three_term": "PyTorch has no gradients of polynomials; special.…_polynomial_… are timed",
    "vector_product": "timed as the function cross",
    "zeta": "PyTorch has no gradient to x",
}
