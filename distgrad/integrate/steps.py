"""One Runge-Kutta step of a tuple of arrays or Tensors. Knows no step size but the one it is given.

Tableaux: Hairer, Nørsett & Wanner, Solving Ordinary Differential Equations I.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

State = tuple[Any, ...]
Field = Callable[[Any, State], State]
"""f(t, y): the derivatives of a state, a tuple like it."""


@dataclass(frozen=True)
class Tableau:
    """Butcher's: a stage is at t + c h and adds h Σ a k to y; the step adds h Σ b k."""

    order: int
    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    error: tuple[float, ...] | None = None
    """b less the weights of the embedded method, with that of the last stage; None: fixed steps."""
    middle: tuple[float, ...] | None = None
    """Weights for y(t + h / 2), for interpolation."""


EULER = Tableau(1, (0.0,), ((),), (1.0,))
MIDPOINT = Tableau(2, (0.0, 0.5), ((), (0.5,)), (0.0, 1.0))
HEUN2 = Tableau(2, (0.0, 1.0), ((), (1.0,)), (0.5, 0.5))
HEUN3 = Tableau(3, (0, 1 / 3, 2 / 3), ((), (1 / 3,), (0, 2 / 3)), (1 / 4, 0, 3 / 4))
# Kutta's 3/8 rule, as torchdiffeq's rk4.
RK4 = Tableau(
    4,
    (0, 1 / 3, 2 / 3, 1),
    ((), (1 / 3,), (-1 / 3, 1), (1, -1, 1)),
    (1 / 8, 3 / 8, 3 / 8, 1 / 8),
)
# Dormand & Prince 1980; the middle: Shampine 1986.
DOPRI5 = Tableau(
    5,
    (0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1),
    (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    ),
    (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    (
        35 / 384 - 1951 / 21600,
        0,
        500 / 1113 - 22642 / 50085,
        125 / 192 - 451 / 720,
        -2187 / 6784 + 12231 / 42400,
        11 / 84 - 649 / 6300,
        -1 / 60,
    ),
    (
        6025192743 / 30085553152 / 2,
        0,
        51252292925 / 65400821598 / 2,
        -2691868925 / 45128329728 / 2,
        187940372067 / 1594534317056 / 2,
        -1776094331 / 19743644256 / 2,
        11237099 / 235043384 / 2,
    ),
)
# Bogacki & Shampine 1989; the middle by Hermite's cubic.
BOSH3 = Tableau(
    3,
    (0, 1 / 2, 3 / 4),
    ((), (1 / 2,), (0, 3 / 4)),
    (2 / 9, 1 / 3, 4 / 9),
    (2 / 9 - 7 / 24, 1 / 3 - 1 / 4, 4 / 9 - 1 / 3, -1 / 8),
    (1 / 9 + 1 / 8, 1 / 6, 2 / 9, -1 / 8),
)
ADAPTIVE_HEUN = Tableau(
    2, (0.0, 1.0), ((), (1.0,)), (0.5, 0.5), (-0.5, 0.5, 0.0), (0.25 + 1 / 8, 0.25, -1 / 8)
)


def combined(y: State, h: Any, weights: Sequence[float], ks: Sequence[State]) -> State:
    """y + h Σ weight k, part by part."""
    found = []
    for i, part in enumerate(y):
        terms = [w * k[i] for w, k in zip(weights, ks, strict=False) if w]
        total = sum(terms[1:], terms[0]) if terms else None
        found.append(part if total is None else part + h * total)
    return tuple(found)


def step(
    tableau: Tableau, field: Field, t: Any, h: Any, y: State, first: State | None = None
) -> tuple[State, list[State]]:
    """Return y(t + h) and the stages; ``first`` is f(t, y) where it is known."""
    ks: list[State] = []
    for c, a in zip(tableau.c, tableau.a, strict=True):
        if not a:
            ks.append(field(t, y) if first is None else first)
        else:
            ks.append(field(t + c * h, combined(y, h, a, ks)))
    return combined(y, h, tableau.b, ks), ks
