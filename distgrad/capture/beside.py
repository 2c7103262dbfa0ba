"""What a step does beside the tape and still comes to machine-level calls: clipping, the optimizer.

Each time the stretch is run they are asked first whether they would do what they did; if not, the
line itself is run in their place.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

import numpy as np

from distgrad.autograd.neighbours import Neighbours, by_places
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.capture.calls import OUTSIDE, Buffer, Tape, Unlowered
from distgrad.capture.forms import Form
from distgrad.capture.lines import Call, Values
from distgrad.optim import Optimizer, clip_grad_norm_
from distgrad.optim.norms import BLOCK
from distgrad.optim.prepared import PreparedStep, step_of_all


class Beside(ABC):
    """One such line, which begins with call number ``first`` of the tape."""

    def __init__(self, number: int, line: Call) -> None:
        self.number = number
        self.runner = line.runner()

    @abstractmethod
    def ready(self) -> bool:
        """Whether the calls would do what the line does."""

    @abstractmethod
    def done(self, v: Values) -> None:
        """Do what is left when the calls have run."""


def beside(
    tape: Tape, number: int, line: Call, lines: Sequence[Any], leaves: dict[int, Any]
) -> Beside:
    """Return what a line comes to; ``leaves`` have their gradients at their places by now.

    Errors: Unlowered.
    """
    made = _MADE.get(line.function)
    if made is None or line.args.numbers:
        raise Unlowered("a function beside the tape")
    first = len(tape.calls)
    found: Beside = made(tape, number, line, lines, leaves)
    for call in tape.calls[first:]:
        call.beside = found
        call.elements = 0  # all at once
    return found


class _Clip(Beside):
    def __init__(
        self, tape: Tape, number: int, line: Call, lines: Sequence[Any], leaves: dict[int, Any]
    ) -> None:
        super().__init__(number, line)
        from distgrad.kernels import squares  # noqa: PLC0415 (numba)

        args, settings = line.args.value
        given = inspect.signature(line.function).bind(*args, **settings)
        given.apply_defaults()
        asked = given.arguments
        if asked["norm_type"] != 2.0 or asked["error_if_nonfinite"]:
            raise Unlowered("another norm, or an error before anything is changed")
        params = asked["params"]
        params = [params] if isinstance(params, Tensor) else params
        having = [p for p in params if id(p) in leaves]
        self._without = [p for p in params if id(p) not in leaves]
        grads = by_places(having)
        if grads is None or not having:
            raise Unlowered("gradients elsewhere")
        self._having, self._places = having, [p._place for p in having]
        self._to = line.writes
        self._found = np.zeros(2)
        self._emit(tape, squares, grads, float(asked["max_norm"]))

    def _emit(self, tape: Tape, kernels: Any, grads: Neighbours, max_norm: float) -> None:
        double = np.dtype(np.float64)
        lanes = tape.new((kernels.LANES,), double)
        order = np.argsort([n for stretch in grads.stretches for n in stretch.numbers])
        squares = tape.new((len(order),), double)
        found = _outside(tape, self._found)
        first = 0
        for s in grads.stretches:
            part = squares[first : first + len(s.numbers)]
            given = _outside(tape, s.flat), tape.constant(s.bounds), BLOCK, lanes, part
            tape.kernel(kernels.in_lanes, *given, writes=2)
            first += len(s.numbers)
        limit = tape.constant(np.array([max_norm]))
        tape.kernel("joint_norm", squares, tape.constant(order.astype(np.int64)), limit, found)
        for s in grads.stretches:
            tape.kernel("clip", _outside(tape, s.flat), found, out=0)

    def ready(self) -> bool:
        """Whether the calls would do what the line does."""
        if self._without and any(p.grad is not None for p in self._without):
            return False
        return all(map(is_, [p._place for p in self._having], self._places))

    def done(self, v: Values) -> None:
        """Do what is left when the calls have run."""
        for n in self._to:
            v[n] = float(self._found[0])


class _Step(Beside):
    def __init__(
        self, tape: Tape, number: int, line: Call, lines: Sequence[Any], leaves: dict[int, Any]
    ) -> None:
        super().__init__(number, line)
        from distgrad.kernels.update import loop_of  # noqa: PLC0415 (numba)

        (optimizer, *others), settings = line.args.value
        if others or settings:
            raise Unlowered("a closure")
        if sum(_is_step(other, optimizer) for other in lines) > 1:
            raise Unlowered("several steps, each of which counts")
        self._step = step = PreparedStep(optimizer)
        if any(id(p) not in leaves for move in step.moves for p in move.run.params):
            raise Unlowered("parameters without a gradient")
        for move in step.moves:
            arrays = [_outside(tape, a) for a in (*move.arrays, move.numbers)]
            tape.kernel(loop_of(move.formula, len(arrays) - 3), *arrays, out=0)

    def ready(self) -> bool:
        """Whether the calls would do what the line does."""
        return self._step.ready()

    def done(self, v: Values) -> None:
        """Do what is left when the calls have run."""
        self._step.done()


def _is_step(line: Any, optimizer: Optimizer) -> bool:
    return (
        isinstance(line, Call)
        and line.function is step_of_all
        and line.args.value[0][0] is optimizer
    )


def _outside(tape: Tape, array: Array) -> Form:
    """Return an array that is not the program's, and never moves."""
    buffer = Buffer(array.nbytes, array)
    buffer.shared = OUTSIDE
    return Form(tape, buffer, array.shape, array.dtype)


_MADE: dict[Callable[..., Any], type[Any]] = {
    clip_grad_norm_.__wrapped__: _Clip,  # type: ignore[attr-defined]
    step_of_all: _Step,
}
