"""One step of a recurrent layer as a module: for loops that choose the next input themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.tensor import TensorLike
from distgrad.errors import ShapeError
from distgrad.nn import recurrence
from distgrad.nn.functional.wrap import wrap
from distgrad.nn.module import Module
from distgrad.nn.recurrence import Recurrence, make_weights, states_before, weights_of


class _Cell(Module):
    """A recurrence over one step."""

    def __init__(self, kind: Recurrence, input_size: int, hidden_size: int, bias: bool) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        self._kind = kind
        make_weights(self, "", input_size, hidden_size, kind.gates, bias)

    def forward(self, input: TensorLike, hx: TensorLike | None = None) -> Any:
        """Return the state after the input (b, i) or (i,): (b, h) or (h,).

        ``hx`` is the state before, zeros if None. An LSTMCell's state is a tuple of two such (h,
        c). Errors: ShapeError.
        """
        x: Any = wrap(input)
        if x.ndim not in {1, 2} or x.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__} expects (b, {self.input_size}) or ({self.input_size},); "
                f"got {x.shape}"
            )
        batched = x.ndim == 2
        states = states_before(self, self._kind.states, hx, (*x.shape[:-1], self.hidden_size))
        if not batched:
            x, states = np.expand_dims(x, 0), [np.expand_dims(s, 0) for s in states]
        # A sequence of one step.
        _, *after = self._kind.run(np.expand_dims(x, 0), states, weights_of(self, ""), False)
        after = after if batched else [np.squeeze(s, axis=0) for s in after]
        return after[0] if len(after) == 1 else tuple(after)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(_Cell):
    """h ← tanh(W_ih x + b_ih + W_hh h + b_hh), or relu: one step of ``RNN``."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh"
    ) -> None:
        super().__init__(recurrence.rnn(nonlinearity), input_size, hidden_size, bias)
        self.nonlinearity = nonlinearity


class LSTMCell(_Cell):
    """One step of ``LSTM``: takes and returns the tuple (h, c)."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__(recurrence.LSTM, input_size, hidden_size, bias)


class GRUCell(_Cell):
    """One step of ``GRU``."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__(recurrence.GRU, input_size, hidden_size, bias)
