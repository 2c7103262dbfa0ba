"""One step of a recurrent layer as a module: for loops that choose the next input themselves."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from distgrad.autograd.device import Device
from distgrad.autograd.tensor import TensorLike
from distgrad.errors import ShapeError
from distgrad.kinds import Count, Size, one_of
from distgrad.nn import init, recurrence
from distgrad.nn.functional.wrap import wrap
from distgrad.nn.make import ParameterDType
from distgrad.nn.module import Module
from distgrad.nn.recurrence import Recurrence, make_weights, states_before, weights_of


class RNNCellBase(Module):
    """The weights of a recurrence with ``num_chunks`` gates, over one step; no ``forward``."""

    _kind: Recurrence

    def __init__(
        self,
        input_size: Size,
        hidden_size: Size,
        bias: bool,
        num_chunks: Count,
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        make_weights(self, "", input_size, hidden_size, num_chunks, bias)

    def reset_parameters(self) -> None:
        """Draw all parameters anew, from U(-1/√h, 1/√h)."""
        bound = self.hidden_size**-0.5
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class _Cell(RNNCellBase):
    """A recurrence over one step."""

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
        shapes = [(*x.shape[:-1], self.hidden_size)] * len(self._kind.states)
        states = states_before(self, self._kind.states, hx, shapes)
        if not batched:
            x, states = np.expand_dims(x, 0), [np.expand_dims(s, 0) for s in states]
        # A sequence of one step.
        _, *after = self._kind.run(np.expand_dims(x, 0), states, weights_of(self, ""), False)
        after = after if batched else [np.squeeze(s, axis=0) for s in after]
        return after[0] if len(after) == 1 else tuple(after)


class RNNCell(_Cell):
    """h ← tanh(W_ih x + b_ih + W_hh h + b_hh), or relu: one step of ``RNN``."""

    def __init__(
        self,
        input_size: Size,
        hidden_size: Size,
        bias: bool = True,
        nonlinearity: Annotated[str, one_of("tanh", "relu")] = "tanh",
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 1)
        self.nonlinearity = nonlinearity
        self._kind = recurrence.rnn(nonlinearity)

    def extra_repr(self) -> str:
        """Return the settings."""
        own = "" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}"
        return super().extra_repr() + own


class LSTMCell(_Cell):
    """One step of ``LSTM``: takes and returns the tuple (h, c)."""

    _kind = recurrence.LSTM

    def __init__(
        self,
        input_size: Size,
        hidden_size: Size,
        bias: bool = True,
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4)


class GRUCell(_Cell):
    """One step of ``GRU``."""

    _kind = recurrence.GRU

    def __init__(
        self,
        input_size: Size,
        hidden_size: Size,
        bias: bool = True,
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3)
