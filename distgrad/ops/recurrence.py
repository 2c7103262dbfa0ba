"""Powers, and polynomials of a three-term recurrence: each degree from those before."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from distgrad.autograd.apart import fixed
from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.ops.helpers import conjugate, data_of, empty_in, memory_order

Term: TypeAlias = "tuple[float, float, float, float]"
"""α, β, γ and δ of pₖ₊₁ = ((α x + β) pₖ - γ pₖ₋₁) / δ."""

_BLOCK = 1 << 14
"""Numbers of a block: five arrays of them are in the second cache."""


def _samples(rng: np.random.Generator) -> list[Sample]:
    legendre = tuple([(2 * k + 1, 0, k, k + 1) for k in range(4)])
    x = rng.uniform(-1, 1, (2, 3))
    return [
        ((x,), {"terms": legendre}),
        ((x,), {"terms": ((-1, 1, 0, 1),)}),
        ((x,), {"terms": legendre, "degrees": np.array([4, -1, 2])}),
    ]


@op("... -> ...", samples=_samples, real=True)
def three_term(a: Array, *, terms: tuple[Term, ...], degrees: Array | None = None) -> OpResult:
    """The last of p₀ = 1, pₖ₊₁ = ((α a + β) pₖ - γ pₖ₋₁) / δ, of (α, β, γ, δ) of each term.

    With ``degrees``, which broadcast to ``a``, the one of each number's degree; 0 of one below 0.
    """

    def vjp(g: Array) -> Any:
        return g * slope(a, terms, degrees)

    return _value(data_of(a), terms, degrees), vjp


def _value(x: Array, terms: tuple[Term, ...], degrees: Array | None) -> Array:
    order = memory_order(x)
    y = empty_in(x, order, x.shape)
    axes = range(x.ndim) if order is None else order
    row, out = (v.transpose(axes).reshape(-1) for v in (x, y))
    wanted = degrees
    if degrees is not None:
        wanted = np.broadcast_to(degrees, x.shape).transpose(axes).reshape(-1)
    memory = [np.empty(min(_BLOCK, row.size), x.dtype) for _ in range(4)]
    for begin in range(0, row.size, _BLOCK):
        block = slice(begin, begin + _BLOCK)
        n = len(row[block])
        own = None if wanted is None else wanted[block]
        _recur(row[block], terms, own, out[block], [m[:n] for m in memory])
    return y


def _recur(
    x: Array, terms: tuple[Term, ...], degrees: Array | None, y: Array, memory: list[Array]
) -> None:
    """Let y be the polynomials of x; ``memory`` is that of four more such arrays."""
    factor, before, now, after = memory
    if degrees is not None:
        y[...] = degrees == 0
    made: tuple[float, float] | None = None
    for k, (alpha, beta, gamma, delta) in enumerate(terms):
        if made != (alpha, beta):
            made = alpha, beta
            np.multiply(x, alpha, out=factor)
            if beta:
                factor += beta
        target = y if degrees is None and k == len(terms) - 1 else after
        if k == 0:
            target[...] = factor
        else:
            np.multiply(factor, now, out=target)
            if k == 1:
                target -= gamma
            else:
                if gamma != 1:
                    before *= gamma
                target -= before
        if delta != 1:
            target /= delta
        if degrees is not None:
            np.copyto(y, target, where=degrees == k + 1)
        before, now, after = now, target, before


def slope(a: Any, terms: tuple[Term, ...], degrees: Array | None) -> Any:
    """The derivative: that of the recurrence, beside it."""
    zero, one = np.zeros((), a.dtype), np.ones((), a.dtype)
    before, now, slope_before, slope, found = zero, one, zero, zero, zero
    for k, (alpha, beta, gamma, delta) in enumerate(terms):
        factor = alpha * a + beta
        before, now, slope_before, slope = (
            now,
            (factor * now - gamma * before) / delta,
            slope,
            (alpha * now + factor * slope - gamma * slope_before) / delta,
        )
        if degrees is not None:
            found = np.where(degrees == k + 1, slope, found)
    return slope if degrees is None else found


@op(
    "... -> ... k",
    samples=lambda rng: [
        ((rng.normal(size=shape),), {"count": k}) for shape in ((3,), (2, 2)) for k in (1, 4)
    ],
)
def powers(a: Array | Tensor, *, count: int) -> OpResult:
    """a⁰ to aᵏ⁻¹ in a new last axis, by products: their gradients at 0 are those of powers."""
    y: Any = powers(a, count=count) if isinstance(a, Tensor) else _accumulated(a, count)
    return y, lambda g: slope_of_powers(g, y)


def slope_of_powers(g: Array, y: Array) -> Any:
    """The gradient to the number whose powers ``y`` have the gradient ``g``: Σ k gₖ yₖ₋₁."""
    degrees = fixed(np.arange(1, g.shape[-1]).astype(g.dtype))
    return np.matmul(g[..., 1:] * conjugate(y[..., :-1]), degrees)


def _accumulated(x: Array, count: int) -> Array:
    # Twice as many from all that are there: one after the other they would wait for each other.
    y = np.empty((*x.shape, count), x.dtype)
    # Loops along a short last axis cost: the first powers lie in rows of their own.
    few = min(_FEW, count) if x.size >= 2 * _FEW and count > 4 else 1
    rows = np.empty((few, x.size), x.dtype)
    rows[0] = 1
    done, power = 1, x.reshape(-1)  # x to the power of ``done``
    while done < few:
        more = min(done, few - done)
        np.multiply(rows[:more], power, rows[done : done + more])
        done, power = done + more, power * power
    y.reshape(-1, count)[:, :few] = rows.T
    power = power.reshape(x.shape)
    while done < count:
        more = min(done, count - done)
        np.multiply(y[..., :more], power[..., None], out=y[..., done : done + more])
        done, power = done + more, power * power
    return y


_FEW = 32
"""Powers that are computed in rows, where there are enough of them and of numbers to pay."""
