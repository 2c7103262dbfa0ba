"""Twins of the recurrences: a step is one matrix product and one kernel over its gates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult, OpResults
from distgrad.autograd.types import Array
from distgrad.kernels import gates
from distgrad.kernels.arrays import dense, suits
from distgrad.kernels.products import product
from distgrad.kernels.repeated import multiplier
from distgrad.kernels.steps import Back, Steps, to_x, turned
from distgrad.ops.recurrent import check_nonlinearity


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
) -> OpResult | None:
    """The twin of ``ops.rnn``."""
    check_nonlinearity(nonlinearity)
    steps = _steps(1, reverse, x, w_ih, w_hh, [h], [b_ih, b_hh])
    if steps is None or steps.width != steps.n:
        return None
    relu, rows, bias = nonlinearity == "relu", steps.rows(x), steps.bias(b_ih, b_hh)
    w, (state, hs) = np.ascontiguousarray(w_hh), steps.states(h)
    a, z = steps.empty(steps.t, steps.n, steps.b), steps.empty(steps.n, steps.b)
    multiply = multiplier(w, state, steps.t)
    for step, _, after, at, q in steps.forward(rows, w_ih):
        multiply(w, state, out=z)
        gates.rnn_step(z, q, at, bias, relu, step, after, a, hs)
        state = a[step]

    def vjp(wanted: tuple[bool, ...], gy: Array) -> tuple[Array | None, ...]:
        back, g = Back(steps, 1, w_hh, wanted[1]), dense(gy)
        for step, _, _ in steps.back():
            gates.rnn_step_back(back.dh, g, relu, step, a, back.dz, back.d, back.db)
            back.product()
        d = back.gradients(0)
        return (
            to_x(d, w_ih, x) if wanted[0] else None,
            turned(back.dh) if wanted[1] else None,
            product(d, rows) if wanted[2] else None,
            product(d, steps.before(hs)) if wanted[3] else None,
            back.db,
            back.db,
        )

    return steps.after(hs), Joint(vjp)


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
) -> OpResults | None:
    """The twin of ``ops.lstm``."""
    steps = _steps(4, reverse, x, w_ih, w_hh, [h, c], [b_ih, b_hh])
    if steps is None or steps.width != steps.n:
        return None
    rows, bias = steps.rows(x), steps.bias(b_ih, b_hh)
    w, (state, hs), cs = np.ascontiguousarray(w_hh), steps.states(h), steps.cells(c)
    a, z = steps.empty(steps.t, 4 * steps.n, steps.b), steps.empty(4 * steps.n, steps.b)
    multiply = multiplier(w, state, steps.t)
    for step, before, after, at, q in steps.forward(rows, w_ih):
        multiply(w, state, out=z)
        gates.lstm_step(z, q, at, bias, step, before, after, a, cs, state, hs)

    def vjp(
        wanted: tuple[bool, ...], gy: Array | None, gc: Array | None
    ) -> tuple[Array | None, ...]:
        back = Back(steps, 4, w_hh, wanted[1])
        g = steps.empty(0, 0, 0) if gy is None else dense(gy)
        dc = np.zeros_like(back.dh) if gc is None else turned(gc)
        for step, before, after in steps.back():
            gates.lstm_step_back(
                back.dh, g, step, before, after, a, cs, dc, back.dz, back.d, back.db
            )
            back.product()
        d = back.gradients(0)
        return (
            to_x(d, w_ih, x) if wanted[0] else None,
            turned(back.dh) if wanted[1] else None,
            turned(dc) if wanted[2] else None,
            product(d, rows) if wanted[3] else None,
            product(d, steps.before(hs)) if wanted[4] else None,
            back.db,
            back.db,
        )

    return (steps.after(hs), turned(cs[steps.end])), Joint(vjp)


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
) -> OpResults | None:
    """The twin of ``ops.lstm_projected``."""
    steps = _steps(4, reverse, x, w_ih, w_hh, [h, c], [b_ih, b_hh])
    if steps is None or not suits(x, w_hr) or w_hr.shape != (steps.width, steps.n):
        return None
    rows, bias = steps.rows(x), steps.bias(b_ih, b_hh)
    w, (state, hs), cs = np.ascontiguousarray(w_hh), steps.states(h), steps.cells(c)
    a, z = steps.empty(steps.t, 4 * steps.n, steps.b), steps.empty(4 * steps.n, steps.b)
    # What is projected, of the step and of all.
    m, ms = steps.empty(steps.n, steps.b), steps.empty(steps.t + 1, steps.b, steps.n)
    multiply, project = multiplier(w, state, steps.t), multiplier(w_hr, m, steps.t)
    for step, before, after, at, q in steps.forward(rows, w_ih):
        multiply(w, state, out=z)
        gates.lstm_step(z, q, at, bias, step, before, after, a, cs, m, ms)
        project(w_hr, m, out=state)
        hs[after] = state.T

    def vjp(
        wanted: tuple[bool, ...], gy: Array | None, gc: Array | None
    ) -> tuple[Array | None, ...]:
        back, none = Back(steps, 4, w_hh, wanted[1]), steps.empty(0, 0, 0)
        dc = np.zeros_like(m) if gc is None else turned(gc)
        dm, dhs = np.empty_like(m), steps.columns(steps.width, steps.t)
        project = multiplier(w_hr.T, back.dh, steps.t)
        for step, before, after in steps.back():
            if gy is not None:
                back.dh += gy[step].T
            dhs[:, step] = back.dh
            project(w_hr.T, back.dh, out=dm)
            gates.lstm_step_back(dm, none, step, before, after, a, cs, dc, back.dz, back.d, back.db)
            back.product()
        d = back.gradients(0)
        return (
            to_x(d, w_ih, x) if wanted[0] else None,
            turned(back.dh) if wanted[1] else None,
            turned(dc) if wanted[2] else None,
            product(d, rows) if wanted[3] else None,
            product(d, steps.before(hs)) if wanted[4] else None,
            back.db,
            back.db,
            product(
                dhs.reshape(steps.width, -1)[:, : len(rows)], steps.after(ms).reshape(len(rows), -1)
            ),
        )

    return (steps.after(hs), turned(cs[steps.end])), Joint(vjp)


def gru(
    x: Array,
    h: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    *,
    reverse: bool = False,
) -> OpResult | None:
    """The twin of ``ops.gru``."""
    steps = _steps(3, reverse, x, w_ih, w_hh, [h], [b_ih, b_hh])
    if steps is None or steps.width != steps.n:
        return None
    n, rows, b, own = steps.n, steps.rows(x), steps.bias(b_ih), steps.bias(b_hh)
    w, (state, hs) = np.ascontiguousarray(w_hh), steps.states(h)
    a, z = steps.empty(steps.t, 5 * n, steps.b), steps.empty(3 * n, steps.b)
    multiply = multiplier(w, state, steps.t)
    for step, _, after, at, q in steps.forward(rows, w_ih):
        multiply(w, state, out=z)
        gates.gru_step(z, q, at, b, own, step, after, a, state, hs)

    def vjp(wanted: tuple[bool, ...], gy: Array) -> tuple[Array | None, ...]:
        # In the gates' order in Back: the product behind r, r, z, the input's part of n.
        back, g = (
            Back(steps, 4, np.concatenate((w_hh[2 * n :], w_hh[: 2 * n])), wanted[1]),
            dense(gy),
        )
        direct = np.zeros_like(back.dh)
        for step, _, _ in steps.back():
            gates.gru_step_back(back.dh, g, step, a, direct, back.dz, back.d, back.db)
            back.product()
        d, dw_hh, db = back.gradients(1), None, back.db
        if wanted[3]:
            dw_hh = product(back.gradients(0, 3), steps.before(hs))
            dw_hh = np.concatenate((dw_hh[n:], dw_hh[:n]))
        return (
            to_x(d, w_ih, x) if wanted[0] else None,
            turned(back.dh + direct) if wanted[1] else None,
            product(d, rows) if wanted[2] else None,
            dw_hh,
            db[n:],
            np.concatenate((db[n : 3 * n], db[:n])),
        )

    return steps.after(hs), Joint(vjp)


def _steps(
    count: int,
    reverse: bool,
    x: Array,
    w_ih: Array,
    w_hh: Array,
    states: Sequence[Array],
    biases: Sequence[Array | None],
) -> Steps | None:
    """Return how the op goes over its steps; None where it is left to the reference."""
    if not suits(x, w_ih, w_hh, *states, *biases) or x.ndim != 3 or w_hh.ndim != 2:
        return None
    (t, b, i), (rows, width) = x.shape, w_hh.shape
    n = rows // count
    fits = rows == count * n and w_ih.shape == (rows, i) and states[0].shape == (b, width)
    fits = fits and all(s.shape == (b, n) for s in states[1:])
    if not fits or any(s is not None and s.shape != (rows,) for s in biases):
        return None
    return Steps(t, b, n, width, count, x.dtype, reverse)
