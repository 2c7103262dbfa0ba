"""Recurrences over a whole sequence, each one op: the loop over time and its way back by hand.

They take the input's part of the gates, x W_ihᵀ + b, of all steps: that is one large product.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
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
        def inputs(h: int, bias: bool) -> list[Any]:
            before = [rng.normal(size=(2, h)) for _ in range(states)]
            own = [rng.normal(size=gates * h) if bias else None] if gates == 3 else []
            x, w = rng.normal(size=(3, 2, gates * h)), rng.normal(size=(gates * h, h))
            return [x, *before, w, *own]

        return [(inputs(2, True), {}), (inputs(1, False), settings)]

    return draw


@op(
    "t b h, b h, h h -> t b h",
    samples=_cases(1, 1, {"nonlinearity": "relu", "reverse": True}),
    real=True,
)
def rnn(
    x: Array, h: Array, w: Array, *, nonlinearity: str = "tanh", reverse: bool = False
) -> OpResult:
    """h ← tanh(x_t + h Wᵀ) for each step t; or relu, or from the last step (Elman 1990)."""
    if nonlinearity not in {"tanh", "relu"}:
        raise ShapeError(f"rnn: nonlinearity is 'tanh' or 'relu'; got {nonlinearity!r}")
    _check_gates("rnn", 1, x, w)
    activation = np.tanh if nonlinearity == "tanh" else _relu
    first, wt, hs = h, _transposed(w), []
    for xt in _steps(x, reverse):
        h = activation(xt + np.matmul(h, wt))
        hs.append(h)
    y = _sequence(hs, reverse)

    def vjp(wanted: tuple[bool, ...], gy: Array) -> tuple[Array | None, ...]:
        dz: Any = None
        dzs = []
        for g, yt in zip(_steps(gy, not reverse), _steps(y, not reverse), strict=True):
            dh = g if dz is None else g + np.matmul(dz, w)
            dz = dh * (1 - yt * yt if nonlinearity == "tanh" else yt > 0)
            dzs.append(dz)
        dx = _sequence(dzs, not reverse)
        return (
            dx,
            np.matmul(dz, w) if wanted[1] else None,
            _to_weight(dx, _before(first, y, reverse)) if wanted[2] else None,
        )

    return y, Joint(vjp)


@op("t b g, b h, b h, g h -> t b h, b h", samples=_cases(4, 2, {"reverse": True}), real=True)
def lstm(x: Array, h: Array, c: Array, w: Array, *, reverse: bool = False) -> OpResults:
    """i, f, g, o of x_t + h Wᵀ; c ← f c + i g; h ← o tanh(c) (Hochreiter & Schmidhuber 1997).

    The gates are σ of their part of the axis, g is tanh. Returns h of all steps, and the last c.
    """
    n = _check_gates("lstm", 4, x, w)
    # σ(a) = tanh(a / 2) / 2 + 1 / 2: one tanh serves all four. low is each one's smallest value.
    scale = np.repeat(np.array([0.5, 0.5, 1, 0.5], fractional(x.dtype)), n)
    shift, low = 1 - scale, 1 - 2 * scale
    first, wt, hs, saved = h, _transposed(w), [], []
    for xt in _steps(x, reverse):
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
            dh = gt if dz is None else gt + np.matmul(dz, w)
            dc = dc + dh * o * (1 - top * top)
            da = np.concatenate((dc * g, dc * before, dc * i, dh * top), axis=-1)
            dz = da * (a - low) * (1 - a)
            dzs.append(dz)
            dc = dc * f
        dx = _sequence(dzs, not reverse)
        return (
            dx,
            np.matmul(dz, w) if wanted[1] else None,
            dc,
            _to_weight(dx, _before(first, y, reverse)) if wanted[3] else None,
        )

    return (y, c), Joint(vjp)


def _projected_cases(rng: np.random.Generator) -> list[Sample]:
    def case(b: int, h: int, p: int) -> list[Any]:
        shapes = [(3, b, 4 * h), (b, p), (b, h), (4 * h, p), (p, h)]
        return [rng.normal(size=shape) for shape in shapes]

    return [(case(2, 3, 2), {}), (case(1, 2, 1), {"reverse": True})]


@op("t b g, b p, b h, g p, p h -> t b p, b h", samples=_projected_cases, real=True)
def lstm_projected(
    x: Array, h: Array, c: Array, w: Array, w_hr: Array, *, reverse: bool = False
) -> OpResults:
    """``lstm`` whose h is projected by ``w_hr`` before it is given back (Sak et al. 2014)."""
    n: int = w_hr.shape[-1]
    if w.shape != (4 * n, len(w_hr)) or x.ndim != 3 or x.shape[-1] != 4 * n or not len(x):
        raise ShapeError(
            f"lstm_projected expects x (t, b, 4h), at least one step, W (4h, p) and W_hr (p, h); "
            f"got {x.shape}, {w.shape} and {w_hr.shape}"
        )
    scale = np.repeat(np.array([0.5, 0.5, 1, 0.5], fractional(x.dtype)), n)
    shift, low = 1 - scale, 1 - 2 * scale
    first, wt, projection, hs, saved = h, _transposed(w), _transposed(w_hr), [], []
    for xt in _steps(x, reverse):
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
            dh = gt if dz is None else gt + np.matmul(dz, w)
            dm = np.matmul(dh, w_hr)
            dc = dc + dm * o * (1 - top * top)
            da = np.concatenate((dc * g, dc * before, dc * i, dm * top), axis=-1)
            dz = da * (a - low) * (1 - a)
            dzs.append(dz)
            dhs.append(dh)
            ms.append(o * top)
            dc = dc * f
        dx = _sequence(dzs, not reverse)
        return (
            dx,
            np.matmul(dz, w) if wanted[1] else None,
            dc,
            _to_weight(dx, _before(first, y, reverse)) if wanted[3] else None,
            _to_weight(np.stack(dhs), np.stack(ms)) if wanted[4] else None,
        )

    return (y, c), Joint(vjp)


@op("t b g, b h, g h, g -> t b h", samples=_cases(3, 1, {"reverse": True}), real=True)
def gru(x: Array, h: Array, w: Array, b: Array | None, *, reverse: bool = False) -> OpResult:
    """r, z = σ(x_t + p), n = tanh(x_t + r p), p = h Wᵀ + b; h ← (1 - z) n + z h (Cho et al. 2014).

    Each takes its part of the axis of x and p. The reset gate r acts behind the product (PyTorch's
    and cuDNN's form). b may be None.
    """
    n = _check_gates("gru", 3, x, w)
    first, wt, hs, saved = h, _transposed(w), [], []
    for xt in _steps(x, reverse):
        p = np.matmul(h, wt)
        p = p if b is None else p + b
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
        dxs, dps = [], []
        before = _before(first, y, reverse)
        for gt, (rz, m, p), h in zip(
            _steps(gy, not reverse), reversed(saved), _steps(before, not reverse), strict=True
        ):
            r, z = _parts(rz, 2)
            d = gt if dh is None else gt + dh
            dm = d * (1 - z) * (1 - m * m)
            drz = np.concatenate((dm * p, d * (h - m)), axis=-1) * rz * (1 - rz)
            dp = np.concatenate((drz, dm * r), axis=-1)
            dh = d * z + np.matmul(dp, w)
            dxs.append(np.concatenate((drz, dm), axis=-1))
            dps.append(dp)
        dp = _sequence(dps, not reverse)
        return (
            _sequence(dxs, not reverse) if wanted[0] else None,
            dh,
            _to_weight(dp, before) if wanted[2] else None,
            np.add.reduce(dp, axis=(0, 1)) if wanted[3] else None,
        )

    return y, Joint(vjp)


def _check_gates(name: str, gates: int, x: Array, w: Array) -> int:
    """Return h. Errors: ShapeError, for what NumPy would broadcast or report far from here."""
    n: int = w.shape[-1]
    if w.shape != (gates * n, n) or x.ndim != 3 or x.shape[-1] != gates * n or not len(x):
        raise ShapeError(
            f"{name} expects x (t, b, {gates}h), at least one step, and W ({gates}h, h); got "
            f"{x.shape} and {w.shape}"
        )
    return n


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


def _to_weight(dz: Array, h: Array) -> Array:
    """Σ over steps and batch of dz hᵀ, as one product."""
    flat = [np.reshape(a, (-1, a.shape[-1])) for a in (dz, h)]
    product: Array = np.matmul(T(flat[0]), flat[1])
    return product
