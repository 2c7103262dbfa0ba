"""How formulas of single numbers move flat arrays, and the formulas of SGD and Adam.

A formula takes one element, its gradient, its state and the settings' numbers, and returns the
element and its state as they are afterwards (``kernels.formula`` says what it may use). Called
with arrays, block by block, it is the reference; compiled, it is its own twin, with the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from distgrad import kernels
from distgrad.autograd.types import Array

Formula: TypeAlias = Callable[..., tuple[Any, ...]]
Numbers: TypeAlias = Callable[[int], tuple[float, ...]]

# Numbers of a block and what is computed of them stay in the cache of a core.
_BLOCK = 1 << 14


class Unmoved:
    """Stands for an array whose update is to be known and not done: see ``capture``.

    The gradient and the state are Unmoved, too.
    """

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        self.moves: list[tuple[Formula, Any, Any, tuple[float, ...]]] = []
        """The formulas that would have moved it, the gradients, the states, and the numbers."""
        self.later: Numbers | None = None
        """The numbers of other steps with the same settings, if the update knows them."""

    def told(
        self,
        formula: Formula,
        grad: Any,
        state: Any,
        numbers: tuple[float, ...],
        later: Numbers | None,
    ) -> None:
        """Note how it would have been moved."""
        self.moves.append((formula, grad, state, numbers))
        self.later = later


def move_(
    formula: Formula,
    value: Array | Unmoved,
    grad: Array,
    state: tuple[Array, ...],
    *numbers: float,
    maximize: bool = False,
    later: Numbers | None = None,
) -> None:
    """Let (value, *state) = formula(value, grad, *state, *numbers) in place, of flat arrays.

    The gradient is taken with the other sign to ``maximize``. ``later`` says the numbers of any
    step: who plans steps asks for those of many.
    """
    if isinstance(value, Unmoved):
        value.told(formula, grad, state, (-1.0 if maximize else 1.0, *numbers), later)
        return
    dtype = value.dtype
    twin = kernels.twin("move_") if dtype.kind == "f" and 4 <= dtype.itemsize <= 8 else None
    if twin is not None:
        numbers = (-1.0 if maximize else 1.0, *numbers)
        twin(formula, value, grad, state, np.array(numbers, dtype))
        return
    given = tuple(map(dtype.type, numbers))
    for start in range(0, value.size, _BLOCK):
        old, g, *others = (a[start : start + _BLOCK] for a in (value, grad, *state))
        new = formula(old, -g if maximize else g, *others, *given)
        for array, found in zip((old, *others), new, strict=True):
            array[...] = found


def sgd_(
    value: Array,
    grad: Array,
    buffer: Array | None,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    first: bool,
    maximize: bool = False,
) -> None:
    """θ ← θ - lr b, with b ← μ b + (1 - dampening) g (Sutskever et al. 2013, PyTorch's form)."""
    if buffer is None:
        plain = (lr, weight_decay)
        move_(_descent, value, grad, (), *plain, maximize=maximize, later=lambda _: plain)
        return
    if first:
        buffer.fill(0)
    later = (lr, weight_decay, momentum, 1 - dampening, nesterov)
    numbers = (lr, weight_decay, momentum, 1.0, nesterov) if first else later
    move_(_momentum, value, grad, (buffer,), *numbers, maximize=maximize, later=lambda _: later)


def mix_(x: Array, a: float, y: Array, b: float) -> None:
    """X ← a X + b Y, of contiguous arrays of one shape."""
    move_(_mixture, x.reshape(-1), y.reshape(-1), (), a, b)


def _mixture(x: Any, g: Any, a: Any, b: Any) -> tuple[Any, ...]:
    return (a * x + b * g,)


def _descent(x: Any, g: Any, lr: Any, decay: Any) -> tuple[Any, ...]:
    g = g + decay * x if decay else g
    return (x - lr * g,)


def _momentum(
    x: Any, g: Any, b: Any, lr: Any, decay: Any, mu: Any, fresh: Any, nesterov: Any
) -> tuple[Any, ...]:
    g = g + decay * x if decay else g
    b = mu * b + fresh * g
    return x - lr * (g + mu * b if nesterov else b), b


def adam_(
    value: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    max_exp_avg_sq: Array | None = None,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled_weight_decay: bool,
    maximize: bool = False,
) -> None:
    """θ ← θ - lr m̂ / (√v̂ + ε) (Kingma & Ba 2015); ``step`` counts from 1.

    The weight decay is an L2 penalty, or decoupled (Loshchilov & Hutter 2019). With the largest v
    so far, AMSGrad's form of it (Reddi et al. 2018).
    """
    b1, b2 = betas
    fixed = (*decays(lr, weight_decay, decoupled_weight_decay), 1 - b1, b2, 1 - b2)

    def numbers(step: int) -> tuple[float, ...]:
        correction, rate = 1 / math.sqrt(1 - b2**step), lr / (1 - b1**step)
        return (*fixed, correction, eps, rate)

    state = (exp_avg, exp_avg_sq, *(() if max_exp_avg_sq is None else (max_exp_avg_sq,)))
    formula = _adam if max_exp_avg_sq is None else _amsgrad
    move_(formula, value, grad, state, *numbers(step), maximize=maximize, later=numbers)


def decays(lr: float, weight_decay: float, decoupled: bool) -> tuple[float, float]:
    """Return what is kept of the value (decoupled decay), and the L2 penalty's factor."""
    return (1 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)


def _adam(
    x: Any,
    g: Any,
    m: Any,
    v: Any,
    keep: Any,
    decay: Any,
    fresh1: Any,
    beta2: Any,
    fresh2: Any,
    correction: Any,
    eps: Any,
    rate: Any,
) -> tuple[Any, ...]:
    g = g + decay * x if decay else g
    m = m + fresh1 * (g - m)
    v = beta2 * v + fresh2 * (g * g)
    return keep * x - rate * (m / (np.sqrt(v) * correction + eps)), m, v


def _amsgrad(
    x: Any,
    g: Any,
    m: Any,
    v: Any,
    largest: Any,
    keep: Any,
    decay: Any,
    fresh1: Any,
    beta2: Any,
    fresh2: Any,
    correction: Any,
    eps: Any,
    rate: Any,
) -> tuple[Any, ...]:
    g = g + decay * x if decay else g
    m = m + fresh1 * (g - m)
    v = beta2 * v + fresh2 * (g * g)
    largest = np.maximum(largest, v)
    return keep * x - rate * (m / (np.sqrt(largest) * correction + eps)), m, v, largest
