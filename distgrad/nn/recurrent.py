"""Recurrent layers: names, shapes, gate order and defaults are PyTorch's."""

from __future__ import annotations

import warnings
from typing import Annotated, Any

import numpy as np

from distgrad.autograd.device import Device
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Shape
from distgrad.errors import ShapeError
from distgrad.kinds import Count, Probability, Size, TrueOrFalse, one_of
from distgrad.nn import functional as F
from distgrad.nn import init, recurrence
from distgrad.nn.functional.wrap import wrap
from distgrad.nn.make import ParameterDType
from distgrad.nn.module import Module
from distgrad.nn.packed import PackedSequence
from distgrad.nn.recurrence import (
    States,
    make_weights,
    run_packed,
    states_before,
    weights_of,
)

KINDS = {
    "RNN_TANH": recurrence.rnn("tanh"),
    "RNN_RELU": recurrence.rnn("relu"),
    "LSTM": recurrence.LSTM,
    "GRU": recurrence.GRU,
}


class RNNBase(Module):
    """Layers of one recurrence, in one direction or in both, the second's outputs behind.

    ``mode`` is 'RNN_TANH', 'RNN_RELU', 'LSTM' or 'GRU'. Errors: ShapeError for another, and for a
    ``proj_size`` that is not below ``hidden_size`` or not an LSTM's.
    """

    def __init__(
        self,
        mode: str,
        input_size: Size,
        hidden_size: Size,
        num_layers: Size = 1,
        bias: TrueOrFalse = True,
        batch_first: TrueOrFalse = False,
        dropout: Probability = 0.0,
        bidirectional: bool = False,
        proj_size: Count = 0,
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if mode not in KINDS:
            raise ShapeError(f"{name}: mode is {', '.join(map(repr, KINDS))}; got {mode!r}")
        if proj_size and (mode != "LSTM" or not 0 < proj_size < hidden_size):
            raise ShapeError(
                f"{name}: proj_size is an LSTM's, 0 or below hidden_size={hidden_size}; got "
                f"{proj_size}"
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                f"{name}: dropout={dropout} acts between layers, and there is only one",
                stacklevel=4,
            )
        self.mode = mode
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        self._kind = recurrence.PROJECTED if proj_size else KINDS[mode]
        for layer in range(num_layers):
            out = (proj_size or hidden_size) * (1 + bidirectional)
            width = input_size if layer == 0 else out
            for end in self._ends(layer):
                sizes = (width, hidden_size, self._kind.gates)
                make_weights(self, end, *sizes, bias, proj_size)

    def _ends(self, layer: int) -> list[str]:
        """How the names of a layer's parameters end, for each direction."""
        return [f"_l{layer}", f"_l{layer}_reverse"][: 1 + self.bidirectional]

    def forward(self, input: TensorLike | PackedSequence, hx: TensorLike | None = None) -> Any:
        """Run over (t, b, i), with ``batch_first`` (b, t, i), or one sequence (t, i).

        ``hx`` is the state before, zeros if None: (layers x directions, b, h), an LSTM's a tuple
        of two such (h, c); without b for (t, i). Returns the last layer's h of all steps, (t, b,
        directions x h), and the last state of each layer in the form of ``hx``. A PackedSequence
        is answered with one; the states are in the order that was packed. Errors: ShapeError.
        """
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        x = self._checked(input)
        batched = x.ndim == 3
        if not batched:
            x = np.expand_dims(x, 1)
        elif self.batch_first:
            x = np.swapaxes(x, 0, 1)
        y, last = self._layers(x, self._before(hx, x.shape[1], batched), None)
        if not batched:
            y, last = np.squeeze(y, axis=1), [np.squeeze(s, axis=1) for s in last]
        elif self.batch_first:
            y = np.swapaxes(y, 0, 1)
        return y, last[0] if len(last) == 1 else tuple(last)

    def _packed(self, packed: PackedSequence, hx: TensorLike | None) -> Any:
        x = packed.data
        if x.ndim != 2 or x.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__} expects packed rows of {self.input_size}; got {x.shape}"
            )
        running = packed.batch_sizes.array
        before = self._before(hx, int(running[0]), True)
        if packed.sorted_indices is not None:
            before = [s[:, packed.sorted_indices.array] for s in before]
        y, last = self._layers(x, before, running)
        if packed.unsorted_indices is not None:
            last = [s[:, packed.unsorted_indices.array] for s in last]
        return PackedSequence(y, *packed[1:]), last[0] if len(last) == 1 else tuple(last)

    def _layers(self, x: Any, states: States, batch_sizes: Array | None) -> tuple[Any, list[Any]]:
        last: list[list[Tensor]] = [[] for _ in states]
        for layer in range(self.num_layers):
            if layer > 0:
                x = F.dropout(x, self.dropout, self.training)
            outputs = []
            for reverse, end in enumerate(self._ends(layer)):
                at = layer * (1 + self.bidirectional) + reverse
                before, weights = [s[at] for s in states], weights_of(self, end)
                if batch_sizes is None:
                    y, *after = self._kind.run(x, before, weights, bool(reverse))
                else:
                    settings = (batch_sizes, before, weights, bool(reverse))
                    y, *after = run_packed(self._kind, x, *settings)
                outputs.append(y)
                for collected, state in zip(last, after, strict=True):
                    collected.append(state)
            x = np.concatenate(outputs, axis=-1) if self.bidirectional else outputs[0]
        return x, [np.stack(s) for s in last]

    def _checked(self, x: TensorLike) -> Any:
        name = type(self).__name__
        if isinstance(x, tuple):
            raise ShapeError(
                f"{name} takes all sequences in one array, or a PackedSequence, which "
                f"nn.utils.rnn.pack_padded_sequence makes; got a tuple of {len(x)}"
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
        widths = (self.proj_size or self.hidden_size, self.hidden_size)
        shapes: list[Shape] = [(count, b, n) if batched else (count, n) for n in widths]
        names = self._kind.states
        states = states_before(self, names, hx, shapes[: len(names)])
        return states if batched else [np.expand_dims(s, 1) for s in states]

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters of each layer and direction."""
        ends = [end for layer in range(self.num_layers) for end in self._ends(layer)]
        return [[w for w in weights_of(self, end) if w is not None] for end in ends]

    @property
    def _all_weights(self) -> list[list[str]]:
        """Their names, which PyTorch's users ask for: ``for names in lstm._all_weights``."""
        names = {id(p): name for name, p in self.named_parameters(recurse=False)}
        return [[names[id(w)] for w in weights] for weights in self.all_weights]

    def reset_parameters(self) -> None:
        """Draw all parameters anew, from U(-1/√h, 1/√h)."""
        bound = self.hidden_size**-0.5
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def flatten_parameters(self) -> None:
        """Do nothing: parameters need not lie beside each other here."""

    def extra_repr(self) -> str:
        """Return the settings that are not the default."""
        sizes = [str(self.input_size), str(self.hidden_size)]
        defaults: dict[str, Any] = {
            "proj_size": 0,
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
        }
        defaults |= {"dropout": 0.0, "bidirectional": False}
        own = [f"{k}={getattr(self, k)}" for k, v in defaults.items() if getattr(self, k) != v]
        return ", ".join([*sizes, *own])


class RNN(RNNBase):
    """h ← tanh(W_ih x + b_ih + W_hh h + b_hh), or relu (Elman 1990)."""

    def __init__(
        self,
        input_size: Size,
        hidden_size: Size,
        num_layers: Size = 1,
        nonlinearity: Annotated[str, one_of("tanh", "relu")] = "tanh",
        bias: TrueOrFalse = True,
        batch_first: TrueOrFalse = False,
        dropout: Probability = 0.0,
        bidirectional: bool = False,
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        mode = "RNN_RELU" if nonlinearity == "relu" else "RNN_TANH"
        settings: Any = (num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__(mode, input_size, hidden_size, *settings)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter & Schmidhuber 1997); gates in the order i, f, g, o.

    With ``proj_size`` h is projected to that many features (Sak et al. 2014).
    """

    def __init__(
        self,
        input_size: Size,
        hidden_size: Size,
        num_layers: Size = 1,
        bias: TrueOrFalse = True,
        batch_first: TrueOrFalse = False,
        dropout: Probability = 0.0,
        bidirectional: bool = False,
        proj_size: Count = 0,
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        settings: Any = (num_layers, bias, batch_first, dropout, bidirectional, proj_size)
        super().__init__("LSTM", input_size, hidden_size, *settings)


class GRU(RNNBase):
    """Gated recurrent unit (Cho et al. 2014), reset behind the product; gates r, z, n."""

    def __init__(
        self,
        input_size: Size,
        hidden_size: Size,
        num_layers: Size = 1,
        bias: TrueOrFalse = True,
        batch_first: TrueOrFalse = False,
        dropout: Probability = 0.0,
        bidirectional: bool = False,
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        settings: Any = (num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__("GRU", input_size, hidden_size, *settings)
