"""What recurrent layers and cells share: the recurrences, their weights and states."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import fixed
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Shape
from distgrad.errors import ShapeError
from distgrad.nn import init
from distgrad.nn.functional.wrap import wrap
from distgrad.nn.make import empty
from distgrad.nn.module import Module
from distgrad.nn.packed import segments

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")

States: TypeAlias = "Sequence[Tensor | Array]"
Weights: TypeAlias = "Sequence[Any]"
"""As in WEIGHTS; None for what is not there."""


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
    y = ops.rnn(x, *states, *weights[:4], nonlinearity=nonlinearity, reverse=reverse)
    return y, y[0 if reverse else -1]


def _lstm(x: Tensor, states: States, weights: Weights, reverse: bool) -> Sequence[Tensor]:
    y, c = ops.lstm(x, *states, *weights[:4], reverse=reverse)
    return y, y[0 if reverse else -1], c


def _gru(x: Tensor, states: States, weights: Weights, reverse: bool) -> Sequence[Tensor]:
    y = ops.gru(x, *states, *weights[:4], reverse=reverse)
    return y, y[0 if reverse else -1]


def _lstm_projected(x: Tensor, states: States, weights: Weights, reverse: bool) -> Sequence[Tensor]:
    y, c = ops.lstm_projected(x, *states, *weights, reverse=reverse)
    return y, y[0 if reverse else -1], c


LSTM = Recurrence(4, ("h", "c"), _lstm)
PROJECTED = Recurrence(4, ("h", "c"), _lstm_projected)
GRU = Recurrence(3, ("h",), _gru)


def rnn(nonlinearity: str) -> Recurrence:
    """Return the simple recurrence, with tanh or relu."""
    return Recurrence(1, ("h",), functools.partial(_rnn, nonlinearity=nonlinearity))


def run_packed(
    kind: Recurrence,
    x: Any,
    batch_sizes: Array,
    states: States,
    weights: Weights,
    reverse: bool,
) -> Sequence[Any]:
    """``kind.run`` over packed rows (Σ lengths, i): h of all of them, and the last states.

    Steps with as many sequences running are one call. Forwards, sequences end from the last row of
    the batch on; backwards, they begin there, with their own state before.
    """
    parts = list(segments(batch_sizes))
    outputs: list[Any] = []
    ended: list[list[Any]] = [[] for _ in states]
    running: list[Any] = [s[: parts[-1][2] if reverse else parts[0][2]] for s in states]
    for row, steps, count in parts[::-1] if reverse else parts:
        have = running[0].shape[0]
        if count < have:
            for end, state in zip(ended, running, strict=True):
                end.append(state[count:])
            running = [state[:count] for state in running]
        elif count > have:
            running = [
                np.concatenate([now, first[have:count]])
                for now, first in zip(running, states, strict=True)
            ]
        here = np.reshape(x[row : row + steps * count], (steps, count, x.shape[-1]))
        y, *running = kind.run(here, running, weights, reverse)
        outputs.append(np.reshape(y, (steps * count, y.shape[-1])))
    last = [
        np.concatenate([state, *end[::-1]]) if end else state
        for state, end in zip(running, ended, strict=True)
    ]
    ordered = outputs[::-1] if reverse else outputs
    return np.concatenate(ordered) if len(ordered) > 1 else ordered[0], *last


def make_weights(
    module: Module,
    end: str,
    input_size: int,
    hidden_size: int,
    gates: int,
    bias: bool,
    proj_size: int = 0,
) -> None:
    """Give ``module`` one recurrence's weights, from U(-1/√h, 1/√h), in PyTorch's order."""
    rows, bound = gates * hidden_size, hidden_size**-0.5
    shapes = {
        "weight_ih": (rows, input_size),
        "weight_hh": (rows, proj_size or hidden_size),
        "bias_ih": (rows,) if bias else None,
        "bias_hh": (rows,) if bias else None,
        "weight_hr": (proj_size, hidden_size) if proj_size else None,
    }
    for name, shape in shapes.items():
        if shape is not None:
            setattr(module, name + end, init.uniform_(empty(*shape), -bound, bound))


def weights_of(module: Module, end: str) -> list[Any]:
    """Return what ``make_weights`` made, None for what is not there."""
    return [getattr(module, name + end, None) for name in WEIGHTS]


def states_before(
    module: Module, names: Sequence[str], hx: TensorLike | None, shapes: Sequence[Shape]
) -> States:
    """Return the parts of the state ``hx``, zeros if None.

    Errors: ShapeError if it does not have these parts, of these ``shapes``.
    """
    kind = type(module).__name__
    if hx is None:
        dtype = next(module.parameters()).dtype
        return [fixed(np.zeros(shape, dtype)) for _, shape in zip(names, shapes, strict=True)]
    if len(names) == 1:
        hx = (hx,)
    if not isinstance(hx, tuple | list) or len(hx) != len(names):
        found = f"{len(hx)} parts" if isinstance(hx, tuple | list) else type(hx).__name__
        raise ShapeError(f"{kind}: hx is a tuple ({', '.join(names)}); got {found}")
    parts = [wrap(s) for s in hx]
    for name, part, shape in zip(names, parts, shapes, strict=True):
        if part.shape != shape:
            raise ShapeError(f"{kind}: the state {name} has shape {part.shape}, expected {shape}")
    return parts
