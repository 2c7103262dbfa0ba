"""What recurrent layers and cells share: the recurrences, their weights and states."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from distgrad import ops
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Shape
from distgrad.errors import ShapeError
from distgrad.nn import functional as F
from distgrad.nn import init
from distgrad.nn.functional.wrap import wrap
from distgrad.nn.make import empty
from distgrad.nn.module import Module

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

States: TypeAlias = "Sequence[Tensor | Array]"
Weights: TypeAlias = "Sequence[Any]"
"""As in WEIGHTS; None for a bias that is not there."""


class Recurrence(NamedTuple):
    """A kind of recurrent layer.

    ``run(x, states, weights, reverse)`` goes over x (t, b, i), from the last step if ``reverse``,
    and returns h of all steps (t, b, h), then each part of the last state (b, h).
    """

    gates: int
    states: tuple[str, ...]
    run: Callable[[Any, States, Weights, bool], Sequence[Any]]


def _rnn(
    x: Tensor, states: States, weights: Weights, reverse: bool, *, nonlinearity: str
) -> Sequence[Tensor]:
    y = ops.rnn(_gates(x, weights), *states, weights[1], nonlinearity=nonlinearity, reverse=reverse)
    return y, y[0 if reverse else -1]


def _lstm(x: Tensor, states: States, weights: Weights, reverse: bool) -> Sequence[Tensor]:
    y, c = ops.lstm(_gates(x, weights), *states, weights[1], reverse=reverse)
    return y, y[0 if reverse else -1], c


def _gru(x: Tensor, states: States, weights: Weights, reverse: bool) -> Sequence[Tensor]:
    w_ih, w_hh, b_ih, b_hh = weights
    y = ops.gru(F.linear(x, w_ih, b_ih), *states, w_hh, b_hh, reverse=reverse)
    return y, y[0 if reverse else -1]


def _gates(x: Tensor, weights: Weights) -> Tensor:
    """The part of the gates that does not wait for the state, of all steps: one product."""
    w_ih, _, b_ih, b_hh = weights
    return F.linear(x, w_ih, None if b_ih is None else b_ih + b_hh)


LSTM = Recurrence(4, ("h", "c"), _lstm)
GRU = Recurrence(3, ("h",), _gru)


def rnn(nonlinearity: str) -> Recurrence:
    """Return the simple recurrence, with tanh or relu."""
    return Recurrence(1, ("h",), functools.partial(_rnn, nonlinearity=nonlinearity))


def make_weights(
    module: Module, end: str, input_size: int, hidden_size: int, gates: int, bias: bool
) -> None:
    """Give ``module`` one recurrence's weights, from U(-1/√h, 1/√h), in PyTorch's order."""
    rows, bound = gates * hidden_size, hidden_size**-0.5
    shapes = [(rows, input_size), (rows, hidden_size), (rows,), (rows,)]
    for name, shape in list(zip(WEIGHTS, shapes, strict=True))[: 4 if bias else 2]:
        setattr(module, name + end, init.uniform_(empty(*shape), -bound, bound))


def weights_of(module: Module, end: str) -> list[Any]:
    """Return what ``make_weights`` made, None for a bias that is not there."""
    return [getattr(module, name + end, None) for name in WEIGHTS]


def states_before(
    module: Module, names: Sequence[str], hx: TensorLike | None, shape: Shape
) -> States:
    """Return the parts of the state ``hx``, zeros if None.

    Errors: ShapeError if it does not have these parts of this ``shape``.
    """
    kind = type(module).__name__
    if hx is None:
        return [np.zeros(shape, next(module.parameters()).dtype) for _ in names]
    if len(names) == 1:
        hx = (hx,)
    if not isinstance(hx, tuple | list) or len(hx) != len(names):
        found = f"{len(hx)} parts" if isinstance(hx, tuple | list) else type(hx).__name__
        raise ShapeError(f"{kind}: hx is a tuple ({', '.join(names)}); got {found}")
    parts = [wrap(s) for s in hx]
    for name, part in zip(names, parts, strict=True):
        if part.shape != shape:
            raise ShapeError(f"{kind}: the state {name} has shape {part.shape}, expected {shape}")
    return parts
