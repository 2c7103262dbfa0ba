"""How a recurrence's twin goes over the steps of a sequence, forwards and back, and its buffers.

Gates and states of a step are (h, b), see gates.py; those of all steps (h, t·b) where a product
over all steps takes them: W's gradient is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from distgrad.autograd.types import Array
from distgrad.kernels.arrays import dense
from distgrad.kernels.gates import turn
from distgrad.kernels.products import product
from distgrad.kernels.repeated import multiplier

_COLUMNS = 256  # of the inputs' part of the gates at once: they stay in the cache until their step
_LONG = 16  # steps from which on a transposed copy of a weight pays
_LINE = 16  # numbers; rows a power of two apart would share few places in the cache


class Steps(NamedTuple):
    """``t`` steps of ``b`` sequences; a gate has ``n`` numbers, the state ``width``."""

    t: int
    b: int
    n: int
    width: int
    gates: int
    dtype: Any
    reverse: bool

    @property
    def start(self) -> int:
        """Where the state before all steps is kept among those of all."""
        return self.t if self.reverse else 0

    @property
    def end(self) -> int:
        """Where the last state is."""
        return 0 if self.reverse else self.t

    def forward(self, rows: Array, w_ih: Array) -> Iterator[tuple[int, int, int, int, Array]]:
        """Yield (step, where the state before is, and that after, at, q).

        q[:, at] is the inputs' part of the step's gates, W_ih x.
        """
        each = min(self.t, max(1, _COLUMNS // self.b))
        w, q = np.ascontiguousarray(w_ih), self.columns(self.gates * self.n, each)
        for begin in self._turns(range(0, self.t, each)):
            end = min(begin + each, self.t)
            x = rows[begin * self.b : end * self.b]
            product(w, x.T, q.reshape(len(w), -1)[:, : len(x)])
            for step in self._turns(range(begin, end)):
                yield step, step + self.reverse, step + 1 - self.reverse, step - begin, q

    def back(self) -> Iterator[tuple[int, int, int]]:
        """Yield (step, where the state before is, and that after), the last step first."""
        for step in self._turns(range(self.t))[::-1]:
            yield step, step + self.reverse, step + 1 - self.reverse

    def _turns(self, order: range) -> range:
        return order[::-1] if self.reverse else order

    def empty(self, *shape: int) -> Array:
        """Return an array to be filled."""
        return np.empty(shape, self.dtype)

    def columns(self, height: int, steps: int) -> Array:
        """Return an array (height, steps and some more, b)."""
        return self.empty(height, steps + -(-_LINE // self.b), self.b)

    def rows(self, x: Array) -> Array:
        """Return (t, b, i) as (t·b, i)."""
        return np.ascontiguousarray(x).reshape(self.t * self.b, -1)

    def bias(self, *biases: Array | None) -> Array:
        """Return the sum of the biases that are there."""
        there = [b for b in biases if b is not None]
        if not there:
            return np.zeros(self.gates * self.n, self.dtype)
        return dense(there[0]) if len(there) == 1 else np.add(*there)

    def states(self, h: Array) -> tuple[Array, Array]:
        """Return the state (h, b) and room for the states (t + 1, b, h), the first one filled."""
        hs = self.empty(self.t + 1, self.b, self.width)
        hs[self.start] = h
        return turned(h), hs

    def cells(self, c: Array) -> Array:
        """Return room for an LSTM's cells (t + 1, h, b), the first one filled."""
        cs = self.empty(self.t + 1, self.n, self.b)
        cs[self.start] = c.T
        return cs

    def before(self, hs: Array) -> Array:
        """Return the states before each step as (t·b, h)."""
        return (hs[1:] if self.reverse else hs[:-1]).reshape(self.t * self.b, -1)

    def after(self, hs: Array) -> Array:
        """Return the states after each step."""
        return hs[:-1] if self.reverse else hs[1:]


class Back:
    """The buffers of a way back: ``gates`` of them have a gradient; ``w`` led from the state.

    ``to_state`` says that the gradient to the state before all steps is wanted, too.
    """

    def __init__(self, steps: Steps, gates: int, w: Array, to_state: bool) -> None:
        self._steps, rows = steps, gates * steps.n
        self._products = steps.t if to_state else steps.t - 1
        # In one piece, which makes the many small products a tenth faster.
        self._wt = np.ascontiguousarray(w.T) if steps.t >= _LONG else w.T
        self.dh = np.zeros((steps.width, steps.b), steps.dtype)
        """What the step behind sends to the state."""
        self.dz = steps.empty(rows, steps.b)
        """The gates' gradients of a step."""
        self.d = steps.columns(rows, steps.t)
        """Those of all steps, b columns a step."""
        self.db = np.zeros(rows, steps.dtype)
        """Their sums."""
        self._to_state = self.dz[: len(w)]
        self._multiply = multiplier(self._wt, self._to_state, steps.t)

    def product(self) -> None:
        """Send the step's gradients on to the state before, where somebody waits for them."""
        if self._products:
            self._products -= 1
            self._multiply(self._wt, self._to_state, out=self.dh)

    def gradients(self, first: int, last: int | None = None) -> Array:
        """Return those of all steps of some gates, (gates·h, t·b)."""
        n, steps = self._steps.n, self._steps
        d = self.d[first * n : None if last is None else last * n]
        return d.reshape(len(d), -1)[:, : steps.t * steps.b]


def to_x(d: Array, w_ih: Array, x: Array) -> Array:
    """Return the gradient to x, of all steps: one product."""
    return product(d.T, w_ih).reshape(x.shape)


def turned(a: Array) -> Array:
    """Return aᵀ, a copy."""
    y = np.empty(a.shape[::-1], a.dtype)
    turn(dense(a), y)
    return y
