"""Recurrent layers: names, shapes, gate order and defaults are PyTorch's."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.nn import functional as F
from distgrad.nn import recurrence
from distgrad.nn.functional.wrap import wrap
from distgrad.nn.module import Module
from distgrad.nn.recurrence import Recurrence, States, make_weights, states_before, weights_of


class _Recurrent(Module):
    """Layers of one recurrence, in one direction or in both, the second's outputs behind."""

    def __init__(
        self,
        kind: Recurrence,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                f"{name}: dropout={dropout} acts between layers, and there is only one",
                stacklevel=4,
            )
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional = bidirectional
        self._kind = kind
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size * (1 + bidirectional)
            for end in self._ends(layer):
                make_weights(self, end, width, hidden_size, kind.gates, bias)

    def _ends(self, layer: int) -> list[str]:
        """How the names of a layer's parameters end, for each direction."""
        return [f"_l{layer}", f"_l{layer}_reverse"][: 1 + self.bidirectional]

    def forward(self, input: TensorLike, hx: TensorLike | None = None) -> tuple[Tensor, Any]:
        """Run over (t, b, i), with ``batch_first`` (b, t, i), or one sequence (t, i).

        ``hx`` is the state before, zeros if None: (layers x directions, b, h), an LSTM's a tuple
        of two such (h, c); without b for (t, i). Returns the last layer's h of all steps, (t, b,
        directions x h), and the last state of each layer in the form of ``hx``. Errors: ShapeError.
        """
        x = self._checked(input)
        batched = x.ndim == 3
        if not batched:
            x = np.expand_dims(x, 1)
        elif self.batch_first:
            x = np.swapaxes(x, 0, 1)
        y, last = self._layers(x, self._before(hx, x.shape[1], batched))
        if not batched:
            y, last = np.squeeze(y, axis=1), [np.squeeze(s, axis=1) for s in last]
        elif self.batch_first:
            y = np.swapaxes(y, 0, 1)
        return y, last[0] if len(last) == 1 else tuple(last)

    def _layers(self, x: Any, states: States) -> tuple[Any, list[Any]]:
        last: list[list[Tensor]] = [[] for _ in states]
        for layer in range(self.num_layers):
            if layer > 0:
                x = F.dropout(x, self.dropout, self.training)
            outputs = []
            for reverse, end in enumerate(self._ends(layer)):
                at = layer * (1 + self.bidirectional) + reverse
                before = [s[at] for s in states]
                y, *after = self._kind.run(x, before, weights_of(self, end), bool(reverse))
                outputs.append(y)
                for collected, state in zip(last, after, strict=True):
                    collected.append(state)
            x = np.concatenate(outputs, axis=-1) if self.bidirectional else outputs[0]
        return x, [np.stack(s) for s in last]

    def _checked(self, x: TensorLike) -> Any:
        name = type(self).__name__
        if isinstance(x, tuple):
            raise ShapeError(
                f"{name} takes all sequences in one array; packed sequences are not there: pad "
                f"them to one length and leave out the outputs behind each one's end"
            )
        x = wrap(x)
        if x.ndim not in {2, 3} or x.shape[-1] != self.input_size:
            order = "b, t" if self.batch_first else "t, b"
            raise ShapeError(
                f"{name} expects ({order}, {self.input_size}) or (t, {self.input_size}); "
                f"got {x.shape}"
            )
        return x

    def _before(self, hx: TensorLike | None, b: int, batched: bool) -> States:
        count = self.num_layers * (1 + self.bidirectional)
        shape = (count, b, self.hidden_size) if batched else (count, self.hidden_size)
        states = states_before(self, self._kind.states, hx, shape)
        return states if batched else [np.expand_dims(s, 1) for s in states]

    def extra_repr(self) -> str:
        """Return the settings that are not the default."""
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0}
        defaults["bidirectional"] = False
        own = [f"{k}={getattr(self, k)}" for k, v in defaults.items() if getattr(self, k) != v]
        return ", ".join([str(self.input_size), str(self.hidden_size), *own])


class RNN(_Recurrent):
    """h ← tanh(W_ih x + b_ih + W_hh h + b_hh), or relu (Elman 1990)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        kind = recurrence.rnn(nonlinearity)
        super().__init__(
            kind, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        )
        self.nonlinearity = nonlinearity

    def extra_repr(self) -> str:
        """Return the settings that are not the default."""
        own = "" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity!r}"
        return super().extra_repr() + own


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997); gates in the order i, f, g, o."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
    ) -> None:
        if proj_size != 0:
            raise ShapeError(f"LSTM: projections are not there; leave out proj_size={proj_size}")
        kind = recurrence.LSTM
        super().__init__(
            kind, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        )


class GRU(_Recurrent):
    """Gated recurrent unit (Cho et al. 2014), reset behind the product; gates r, z, n."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        kind = recurrence.GRU
        super().__init__(
            kind, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        )
