"""One step of a recurrence, forward and back, over all its gates: what the products leave to do.

The gates of a step are (4h, b), the batch along the last axis: so each gate is one stretch of
memory, whatever the batch, and the products are those that BLAS is fastest at. What comes from
outside and goes there is (b, h), and turned in passing. Each loop over a stretch is vectorised.
"""

from __future__ import annotations

from distgrad.autograd.types import Array
from distgrad.kernels.jit import kernel
from distgrad.kernels.mathematics import sigmoid, tanh
from distgrad.kernels.scalars import least, most, ravel

_BLOCK = 1024  # numbers of a gate that are worked on while they are in the cache
_ACROSS, _DOWN = 64, 8  # a tile that is turned at once: all lines it touches stay in the cache


@kernel
def turn(a: Array, y: Array) -> None:
    """Y ← aᵀ."""
    for j0 in range(0, a.shape[0], _ACROSS):
        for k0 in range(0, a.shape[1], _DOWN):
            tile, out = a[j0 : j0 + _ACROSS, k0 : k0 + _DOWN], y[k0 : k0 + _DOWN, j0 : j0 + _ACROSS]
            for k in range(tile.shape[1]):
                for j in range(tile.shape[0]):
                    out[k, j] = tile[j, k]


@kernel
def _add_turned(a: Array, y: Array) -> None:
    """Y ← y + aᵀ."""
    for j0 in range(0, y.shape[0], _ACROSS):
        for k0 in range(0, y.shape[1], _DOWN):
            tile, out = a[k0 : k0 + _DOWN, j0 : j0 + _ACROSS], y[j0 : j0 + _ACROSS, k0 : k0 + _DOWN]
            for k in range(tile.shape[0]):
                for j in range(tile.shape[1]):
                    out[j, k] += tile[k, j]


@kernel
def _add(z: Array, q: Array, at: int, bias: Array, begin: int, y: Array) -> None:
    """Rows of y ← those from ``begin`` on of z + q[:, at] + bias."""
    for j in range(y.shape[0]):
        b = bias[begin + j]
        for k in range(y.shape[1]):
            y[j, k] = z[begin + j, k] + (q[begin + j, at, k] + b)


@kernel
def _keep(dz: Array, d: Array, at: int, db: Array) -> None:
    """d[:, at] ← dz; db gains its sums."""
    for j in range(dz.shape[0]):
        total = dz.dtype.type(0)
        for k in range(dz.shape[1]):
            d[j, at, k] = dz[j, k]
            total += dz[j, k]
        db[j] += total


@kernel
def _lstm(i: Array, f: Array, g: Array, o: Array, old: Array, new: Array, h: Array) -> None:
    for e in range(i.size):
        p, q, r, s = sigmoid(i[e]), sigmoid(f[e]), tanh(g[e]), sigmoid(o[e])
        c = q * old[e] + p * r
        i[e] = p
        f[e] = q
        g[e] = r
        o[e] = s
        new[e] = c
        h[e] = s * tanh(c)


@kernel
def lstm_step(
    z: Array,
    q: Array,
    at: int,
    bias: Array,
    step: int,
    before: int,
    after: int,
    a: Array,
    c: Array,
    h: Array,
    y: Array,
) -> None:
    """z = W h, q the inputs' part; the gates go to a[step], the states to c[after] and y[after]."""
    n, m = h.shape
    gates, old, new = a[step], c[before], c[after]
    rows = most(1, _BLOCK // m)
    for begin in range(0, n, rows):
        end = least(n, begin + rows)
        i, f = gates[begin:end], gates[n + begin : n + end]
        g, o = gates[2 * n + begin : 2 * n + end], gates[3 * n + begin : 3 * n + end]
        _add(z, q, at, bias, begin, i)
        _add(z, q, at, bias, n + begin, f)
        _add(z, q, at, bias, 2 * n + begin, g)
        _add(z, q, at, bias, 3 * n + begin, o)
        _lstm(
            ravel(i),
            ravel(f),
            ravel(g),
            ravel(o),
            ravel(old[begin:end]),
            ravel(new[begin:end]),
            ravel(h[begin:end]),
        )
    turn(h, y[after])


@kernel
def lstm_step_back(
    dh: Array,
    gy: Array,
    step: int,
    before: int,
    after: int,
    a: Array,
    c: Array,
    dc: Array,
    dz: Array,
    d: Array,
    db: Array,
) -> None:
    """dh = Wᵀ dz of the step behind, gy empty or what comes from outside; dc and dz change."""
    n, m = dh.shape
    one = dh.dtype.type(1)
    if gy.size:
        _add_turned(gy[step], dh)
    gates, old, new, slope = a[step], ravel(c[before]), ravel(c[after]), ravel(dc)
    i, f = ravel(gates[:n]), ravel(gates[n : 2 * n])
    g, o = ravel(gates[2 * n : 3 * n]), ravel(gates[3 * n :])
    di, df = ravel(dz[:n]), ravel(dz[n : 2 * n])
    dg, do = ravel(dz[2 * n : 3 * n]), ravel(dz[3 * n :])
    flat = ravel(dh)
    for e in range(n * m):
        top = tanh(new[e])
        s = slope[e] + flat[e] * o[e] * (one - top * top)
        di[e] = s * g[e] * i[e] * (one - i[e])
        df[e] = s * old[e] * f[e] * (one - f[e])
        dg[e] = s * i[e] * (one - g[e] * g[e])
        do[e] = flat[e] * top * o[e] * (one - o[e])
        slope[e] = s * f[e]
    _keep(dz, d, step, db)


@kernel
def gru_step(
    z: Array,
    q: Array,
    at: int,
    b_ih: Array,
    b_hh: Array,
    step: int,
    after: int,
    a: Array,
    h: Array,
    y: Array,
) -> None:
    """As ``lstm_step``; a[step] becomes r, z, n, the product behind r, and h - n."""
    n, m = h.shape
    gates, state = a[step], ravel(h)
    r, u = ravel(gates[:n]), ravel(gates[n : 2 * n])
    new, p = ravel(gates[2 * n : 3 * n]), ravel(gates[3 * n : 4 * n])
    rest = ravel(gates[4 * n :])
    for j in range(2 * n, 3 * n):
        b, own = b_ih[j], b_hh[j]
        for k in range(m):
            gates[j, k] = q[j, at, k] + b
            gates[n + j, k] = z[j, k] + own
    for j in range(2 * n):
        b = b_ih[j] + b_hh[j]
        for k in range(m):
            gates[j, k] = z[j, k] + (q[j, at, k] + b)
    for e in range(n * m):
        r[e] = sigmoid(r[e])
        u[e] = sigmoid(u[e])
        new[e] = tanh(new[e] + r[e] * p[e])
        rest[e] = state[e] - new[e]
        state[e] = new[e] + u[e] * rest[e]
    turn(h, y[after])


@kernel
def gru_step_back(
    dh: Array,
    gy: Array,
    step: int,
    a: Array,
    direct: Array,
    dz: Array,
    d: Array,
    db: Array,
) -> None:
    """As ``lstm_step_back``; dz is to the product behind r, r, z, and the input's part of n.

    In this order the first three are what W takes, the last three what the input takes. ``direct``
    is what reaches the state before past the gates.
    """
    n, m = dh.shape
    one = dh.dtype.type(1)
    _add_turned(gy[step], dh)
    gates, past, flat = a[step], ravel(direct), ravel(dh)
    r, u = ravel(gates[:n]), ravel(gates[n : 2 * n])
    new, p = ravel(gates[2 * n : 3 * n]), ravel(gates[3 * n : 4 * n])
    rest = ravel(gates[4 * n :])
    dp, dr = ravel(dz[:n]), ravel(dz[n : 2 * n])
    du, dn = ravel(dz[2 * n : 3 * n]), ravel(dz[3 * n :])
    for e in range(n * m):
        s = flat[e] + past[e]
        t = s * (one - u[e]) * (one - new[e] * new[e])
        dn[e] = t
        dp[e] = t * r[e]
        dr[e] = t * p[e] * r[e] * (one - r[e])
        du[e] = s * rest[e] * u[e] * (one - u[e])
        past[e] = s * u[e]
    _keep(dz, d, step, db)


@kernel
def rnn_step(
    z: Array,
    q: Array,
    at: int,
    bias: Array,
    relu: bool,
    step: int,
    after: int,
    a: Array,
    y: Array,
) -> None:
    """As ``lstm_step``; a[step] becomes the state."""
    state, zero = a[step], z.dtype.type(0)
    _add(z, q, at, bias, 0, state)
    flat = ravel(state)
    if relu:
        for e in range(flat.size):
            flat[e] = zero if flat[e] <= zero else flat[e]
    else:
        for e in range(flat.size):
            flat[e] = tanh(flat[e])
    turn(state, y[after])


@kernel
def rnn_step_back(
    dh: Array, gy: Array, relu: bool, step: int, a: Array, dz: Array, d: Array, db: Array
) -> None:
    """As ``lstm_step_back``."""
    zero, one = dh.dtype.type(0), dh.dtype.type(1)
    _add_turned(gy[step], dh)
    state, flat, out = ravel(a[step]), ravel(dh), ravel(dz)
    if relu:
        for e in range(flat.size):
            out[e] = flat[e] * (one if state[e] > zero else zero)
    else:
        for e in range(flat.size):
            out[e] = flat[e] * (one - state[e] * state[e])
    _keep(dz, d, step, db)
