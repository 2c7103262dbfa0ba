"""Recurrences over a whole sequence, each one op: the loop over time and its way back by hand.

The input's part of the gates, x W_ihᵀ, is one product for all steps, and so is each weight's
gradient. Biases may be None.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult, OpResults, Sample, Samples, op
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.ops.activation import relu
from distgrad.ops.helpers import fractional
from distgrad.ops.linalg import T


def _cases(gates: int, states: int, settings: dict[str, Any]) -> Samples:
    def draw(rng: np.random.Generator) -> list[Sample]:
        def inputs(i: int, h: int, bias: bool) -> list[Any]:
            before = [rng.normal(size=(2, h)) for _ in range(states)]
            weights = [rng.normal(size=(gates * h, n)) for n in (i, h)]
            own = [rng.normal(size=gates * h) if bias else None for _ in range(2)]
            return [rng.normal(size=(3, 2, i)), *before, *weights, *own]

        return [(inputs(3, 2, True), {}), (inputs(2, 1, False), settings)]

    return draw


@op(
    "t b i, b h, h i, h h, h, h -> t b h",
    samples=_cases(1, 1, {"nonlinearity": "relu", "reverse": True}),
    real=True,
)
def rnn(
    x: Array,
    h: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    *,
    nonlinearity: str = "tanh",
    reverse: bool = False,
) -> OpResult:
    """h ← tanh(W_ih x_t + b_ih + W_hh h + b_hh) for each step t (Elman 1990).

    Or relu for tanh, or from the last step on.
    """
    check_nonlinearity(nonlinearity)
    _check_gates("rnn", 1, x, w_ih, w_hh)
    activation = np.tanh if nonlinearity == "tanh" else _relu
    first, wt, hs = h, _transposed(w_hh), []
    for xt in _steps(_inputs(x, w_ih, b_ih, b_hh), reverse):
        h = activation(xt + np.matmul(h, wt))
        hs.append(h)
    y = _sequence(hs, reverse)

    def vjp(wanted: tuple[bool, ...], gy: Array) -> tuple[Array | None, ...]:
        dz: Any = None
        dzs = []
        for g, yt in zip(_steps(gy, not reverse), _steps(y, not reverse), strict=True):
            dh = g if dz is None else g + np.matmul(dz, w_hh)
            dz = dh * (1 - yt * yt if nonlinearity == "tanh" else yt > 0)
            dzs.append(dz)
        dz_all = _sequence(dzs, not reverse)
        dx, dw_ih, db = _to_inputs(wanted, dz_all, x, w_ih)
        return (
            dx,
            np.matmul(dz, w_hh) if wanted[1] else None,
            dw_ih,
            _to_weight(dz_all, _before(first, y, reverse)) if wanted[3] else None,
            db,
            db,
        )

    return y, Joint(vjp)


@op(
    "t b i, b h, b h, g i, g h, g, g -> t b h, b h",
    samples=_cases(4, 2, {"reverse": True}),
    real=True,
)
def lstm(
    x: Array,
    h: Array,
    c: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    *,
    reverse: bool = False,
) -> OpResults:
    """i, f, g, o of W_ih x_t + b_ih + W_hh h + b_hh; c ← f c + i g; h ← o tanh(c).

    The gates are σ of their part of the axis, g is tanh. Returns h of all steps, and the last c
    (Hochreiter & Schmidhuber 1997).
    """
    n = _check_gates("lstm", 4, x, w_ih, w_hh)
    # σ(a) = tanh(a / 2) / 2 + 1 / 2: one tanh serves all four. low is each one's smallest value.
    scale = np.repeat(np.array([0.5, 0.5, 1, 0.5], fractional(x.dtype)), n)
    shift, low = 1 - scale, 1 - 2 * scale
    first, wt, hs, saved = h, _transposed(w_hh), [], []
    for xt in _steps(_inputs(x, w_ih, b_ih, b_hh), reverse):
        a = np.tanh((xt + np.matmul(h, wt)) * scale) * scale + shift
        i, f, g, o = _parts(a, 4)
        before, c = c, f * c + i * g
        top = np.tanh(c)
        h = o * top
        hs.append(h)
        saved.append((a, before, top))
    y = _sequence(hs, reverse)

    def vjp(
        wanted: tuple[bool, ...], gy: Array | None, gc: Array | None
    ) -> tuple[Array | None, ...]:
        dz: Any = None
        dc: Any = 0 if gc is None else gc
        dzs = []
        gs = itertools.repeat(0) if gy is None else _steps(gy, not reverse)
        for gt, (a, before, top) in zip(gs, reversed(saved), strict=False):
            i, f, g, o = _parts(a, 4)
            dh = gt if dz is None else gt + np.matmul(dz, w_hh)
            dc = dc + dh * o * (1 - top * top)
            da = np.concatenate((dc * g, dc * before, dc * i, dh * top), axis=-1)
            dz = da * (a - low) * (1 - a)
            dzs.append(dz)
            dc = dc * f
        dz_all = _sequence(dzs, not reverse)
        dx, dw_ih, db = _to_inputs(wanted, dz_all, x, w_ih)
        return (
            dx,
            np.matmul(dz, w_hh) if wanted[1] else None,
            dc,
            dw_ih,
            _to_weight(dz_all, _before(first, y, reverse)) if wanted[4] else None,
            db,
            db,
        )

    return (y, c), Joint(vjp)


def _projected_cases(rng: np.random.Generator) -> list[Sample]:
    def case(b: int, i: int, h: int, p: int) -> list[Any]:
        shapes = [(3, b, i), (b, p), (b, h), (4 * h, i), (4 * h, p), (4 * h,), (4 * h,), (p, h)]
        return [rng.normal(size=shape) for shape in shapes]

    return [(case(2, 4, 3, 2), {}), (case(1, 1, 2, 1), {"reverse": True})]


@op(
    "t b i, b p, b h, g i, g p, g, g, p h -> t b p, b h",
    samples=_projected_cases,
    real=True,
)
def lstm_projected(
    x: Array,
    h: Array,
    c: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    w_hr: Array,
    *,
    reverse: bool = False,
) -> OpResults:
    """``lstm`` whose h is projected by ``w_hr`` before it is given back (Sak et al. 2014)."""
    n = _check_projected(x, w_ih, w_hh, w_hr)
    scale = np.repeat(np.array([0.5, 0.5, 1, 0.5], fractional(x.dtype)), n)
    shift, low = 1 - scale, 1 - 2 * scale
    first, wt, projection, hs, saved = h, _transposed(w_hh), _transposed(w_hr), [], []
    for xt in _steps(_inputs(x, w_ih, b_ih, b_hh), reverse):
        a = np.tanh((xt + np.matmul(h, wt)) * scale) * scale + shift
        i, f, g, o = _parts(a, 4)
        before, c = c, f * c + i * g
        top = np.tanh(c)
        h = np.matmul(o * top, projection)
        hs.append(h)
        saved.append((a, before, top))
    y = _sequence(hs, reverse)

    def vjp(
        wanted: tuple[bool, ...], gy: Array | None, gc: Array | None
    ) -> tuple[Array | None, ...]:
        dz: Any = None
        dc: Any = 0 if gc is None else gc
        dzs, dhs, ms = [], [], []
        gs = itertools.repeat(np.zeros_like(hs[0])) if gy is None else _steps(gy, not reverse)
        for gt, (a, before, top) in zip(gs, reversed(saved), strict=False):
            i, f, g, o = _parts(a, 4)
            dh = gt if dz is None else gt + np.matmul(dz, w_hh)
            dm = np.matmul(dh, w_hr)
            dc = dc + dm * o * (1 - top * top)
            da = np.concatenate((dc * g, dc * before, dc * i, dm * top), axis=-1)
            dz = da * (a - low) * (1 - a)
            dzs.append(dz)
            dhs.append(dh)
            ms.append(o * top)
            dc = dc * f
        dz_all = _sequence(dzs, not reverse)
        dx, dw_ih, db = _to_inputs(wanted, dz_all, x, w_ih)
        return (
            dx,
            np.matmul(dz, w_hh) if wanted[1] else None,
            dc,
            dw_ih,
            _to_weight(dz_all, _before(first, y, reverse)) if wanted[4] else None,
            db,
            db,
            _to_weight(np.stack(dhs), np.stack(ms)) if wanted[7] else None,
        )

    return (y, c), Joint(vjp)


@op(
    "t b i, b h, g i, g h, g, g -> t b h",
    samples=_cases(3, 1, {"reverse": True}),
    real=True,
)
def gru(
    x: Array,
    h: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    *,
    reverse: bool = False,
) -> OpResult:
    """r, z = σ(q + p), n = tanh(q + r p); h ← (1 - z) n + z h (Cho et al. 2014).

    Each takes its part of the axis of q = W_ih x_t + b_ih and p = W_hh h + b_hh. The reset gate r
    acts behind the product (PyTorch's and cuDNN's form).
    """
    n = _check_gates("gru", 3, x, w_ih, w_hh)
    first, wt, hs, saved = h, _transposed(w_hh), [], []
    for xt in _steps(_inputs(x, w_ih, b_ih), reverse):
        p = np.matmul(h, wt)
        p = p if b_hh is None else p + b_hh
        rz = 0.5 * np.tanh(0.5 * (xt[..., : 2 * n] + p[..., : 2 * n])) + 0.5
        r, z = _parts(rz, 2)
        p = p[..., 2 * n :]
        m = np.tanh(xt[..., 2 * n :] + r * p)
        h = m + z * (h - m)
        hs.append(h)
        saved.append((rz, m, p))
    y = _sequence(hs, reverse)

    def vjp(wanted: tuple[bool, ...], gy: Array) -> tuple[Array | None, ...]:
        dh: Any = None
        dqs, dps = [], []
        before = _before(first, y, reverse)
        for gt, (rz, m, p), h in zip(
            _steps(gy, not reverse), reversed(saved), _steps(before, not reverse), strict=True
        ):
            r, z = _parts(rz, 2)
            d = gt if dh is None else gt + dh
            dm = d * (1 - z) * (1 - m * m)
            drz = np.concatenate((dm * p, d * (h - m)), axis=-1) * rz * (1 - rz)
            dp = np.concatenate((drz, dm * r), axis=-1)
            dh = d * z + np.matmul(dp, w_hh)
            dqs.append(np.concatenate((drz, dm), axis=-1))
            dps.append(dp)
        dp = _sequence(dps, not reverse)
        dx, dw_ih, db = _to_inputs(wanted, _sequence(dqs, not reverse), x, w_ih)
        return (
            dx,
            dh,
            dw_ih,
            _to_weight(dp, before) if wanted[3] else None,
            db,
            np.add.reduce(dp, axis=(0, 1)) if wanted[5] else None,
        )

    return y, Joint(vjp)


def check_nonlinearity(name: str) -> None:
    """Raise ShapeError for one that ``rnn`` has not."""
    if name not in {"tanh", "relu"}:
        raise ShapeError(f"rnn: nonlinearity is 'tanh' or 'relu'; got {name!r}")


def _check_gates(name: str, gates: int, x: Array, w_ih: Array, w_hh: Array) -> int:
    """Return h. Errors: ShapeError, for what NumPy would broadcast or report far from here."""
    n: int = w_hh.shape[-1]
    shapes = (gates * n, x.shape[-1]), (gates * n, n)
    if (w_ih.shape, w_hh.shape) != shapes or x.ndim != 3 or not len(x):
        raise ShapeError(
            f"{name} expects x (t, b, i), at least one step, W_ih ({gates}h, i) and W_hh "
            f"({gates}h, h); got {x.shape}, {w_ih.shape} and {w_hh.shape}"
        )
    return n


def _check_projected(x: Array, w_ih: Array, w_hh: Array, w_hr: Array) -> int:
    """Return h. Errors: ShapeError."""
    n: int = w_hr.shape[-1]
    shapes = (4 * n, x.shape[-1]), (4 * n, len(w_hr))
    if (w_ih.shape, w_hh.shape) != shapes or x.ndim != 3 or not len(x):
        raise ShapeError(
            f"lstm_projected expects x (t, b, i), at least one step, W_ih (4h, i), W_hh (4h, p) "
            f"and W_hr (p, h); got {x.shape}, {w_ih.shape}, {w_hh.shape} and {w_hr.shape}"
        )
    return n


def _inputs(x: Array, w_ih: Array, *biases: Array | None) -> Array:
    """What does not wait for the state, of all steps: one product."""
    z = np.matmul(_rows(x), T(w_ih))
    there = [b for b in biases if b is not None]
    if there:
        z = z + (there[0] if len(there) == 1 else there[0] + there[1])
    return np.reshape(z, (*x.shape[:-1], w_ih.shape[0]))


def _to_inputs(
    wanted: Sequence[bool], dz: Array, x: Array, w_ih: Array
) -> tuple[Array | None, Array, Array]:
    """The gradients to x (None unless wanted), to W_ih and to a bias."""
    flat = _rows(dz)
    dx = np.reshape(np.matmul(flat, w_ih), x.shape) if wanted[0] else None
    return dx, _to_weight(dz, x), np.add.reduce(flat, axis=0)


def _transposed(w: Array | Tensor) -> Array:
    # In one piece, which makes the many small products a quarter faster.
    return T(w) if isinstance(w, Tensor) else np.ascontiguousarray(T(w))


def _relu(a: Array | Tensor) -> Array:
    # Arrays and Tensors alike: under create_graph the body runs on Tensors.
    return relu(a) if isinstance(a, Tensor) else np.maximum(a, 0)


def _parts(a: Array, count: int) -> Iterable[Array]:
    n = a.shape[-1] // count
    return [a[..., i * n : (i + 1) * n] for i in range(count)]


def _steps(a: Array | Tensor, reverse: bool) -> list[Array]:
    """The parts of (t, …) in the order in which they are met."""
    if isinstance(a, Tensor):
        # One split: the gradient of each a[t] would be an array of all t steps.
        steps = [np.squeeze(p, axis=0) for p in np.split(a, len(a))]
    else:
        steps = list(a)
    return steps[::-1] if reverse else steps


def _sequence(steps: list[Array], reverse: bool) -> Array:
    return np.stack(steps[::-1] if reverse else steps)


def _before(first: Array, y: Array, reverse: bool) -> Array:
    """The state before each step."""
    start = np.expand_dims(first, 0)
    return np.concatenate((y[1:], start) if reverse else (start, y[:-1]))


def _rows(a: Array) -> Array:
    *before, width = a.shape
    return np.reshape(a, (math.prod(before), width))


def _to_weight(dz: Array, h: Array) -> Array:
    """Σ over steps and batch of dz hᵀ, as one product."""
    product: Array = np.matmul(T(_rows(dz)), _rows(h))
    return product
