"""What a step does beside the tape and still comes to machine-level calls: clipping, the optimizer.

Each time the stretch is run they are asked first whether they would do what they did; if not, the
line itself is run in their place.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from operator import is_
from typing import Any

import numpy as np

from distgrad.autograd.apart import declared
from distgrad.autograd.neighbours import Neighbours, by_places
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.capture.calls import OUTSIDE, Buffer, Tape, Unlowered
from distgrad.capture.forms import Form
from distgrad.capture.lines import Call, Values
from distgrad.nn import utils
from distgrad.optim import Optimizer, clip_grad_norm_, clip_grad_value_
from distgrad.optim.norms import BLOCK
from distgrad.optim.prepared import PreparedStep, step_of_all


class Beside(ABC):
    """One such line, which begins with call number ``first`` of the tape."""

    leaves: Sequence[Tensor] = ()
    """Whose gradients it reads."""
    was_ready = False
    """At the time before."""

    def __init__(self, number: int, line: Call) -> None:
        self.number = number
        self.runner = line.runner()

    @abstractmethod
    def ready(self, steady: bool) -> bool:
        """Whether the calls would do what the line does.

        ``steady``: it was ready the time before, and ``leaves`` have the arrays and places of then.
        """

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


class _Clipping(Beside):
    """What changes the gradients of the parameters that are its first argument."""

    def __init__(
        self, tape: Tape, number: int, line: Call, lines: Sequence[Any], leaves: dict[int, Any]
    ) -> None:
        super().__init__(number, line)
        args, settings = line.args.value
        given = inspect.signature(line.function).bind(*args, **settings)
        given.apply_defaults()
        # Its name is not the same where the function has PyTorch's.
        params, *_ = given.arguments.values()
        params = [params] if isinstance(params, Tensor) else params
        having = [p for p in params if id(p) in leaves]
        self._without = [p for p in params if id(p) not in leaves]
        grads = by_places(having)
        if grads is None or not having:
            raise Unlowered("gradients elsewhere")
        self.leaves, self._places = having, [p._place for p in having]
        self._emit(tape, line, grads, given.arguments)

    @abstractmethod
    def _emit(self, tape: Tape, line: Call, grads: Neighbours, asked: Mapping[str, Any]) -> None:
        """Put the calls on the tape. Errors: Unlowered."""

    def ready(self, steady: bool) -> bool:
        """Whether the calls would do what the line does."""
        if self._without and any(p.grad is not None for p in self._without):
            return False
        return steady or all(map(is_, [p._place for p in self.leaves], self._places))

    def done(self, v: Values) -> None:
        """Do what is left when the calls have run."""


class _Clip(_Clipping):
    def _emit(self, tape: Tape, line: Call, grads: Neighbours, asked: Mapping[str, Any]) -> None:
        from distgrad.kernels import squares as kernels  # noqa: PLC0415 (numba)

        if asked["norm_type"] != 2.0 or asked["error_if_nonfinite"]:
            raise Unlowered("another norm, or an error before anything is changed")
        self._to = line.writes
        form = line.forms[0]  # None of a number, which the form with a plain result gives
        self._dtype = None if form is None else form[1]
        self._found = np.zeros(2)
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
        limit = tape.constant(np.array([float(asked["max_norm"])]))
        tape.kernel("joint_norm", squares, tape.constant(order.astype(np.int64)), limit, found)
        for s in grads.stretches:
            tape.kernel("clip", _outside(tape, s.flat), found, out=0)

    def done(self, v: Values) -> None:
        """Show the norm before clipping."""
        norm = float(self._found[0])
        for n in self._to:
            v[n] = norm if self._dtype is None else np.array(norm, self._dtype)


class _ClipValue(_Clipping):
    def _emit(self, tape: Tape, line: Call, grads: Neighbours, asked: Mapping[str, Any]) -> None:
        most = float(asked["clip_value"])
        if not most > 0:  # of 0 and -0 NumPy's clip keeps the sign that there is
            raise Unlowered("a limit of 0, or an error")
        for s in grads.stretches:
            if s.flat.dtype.kind != "f":
                raise Unlowered("an error")
            flat, dtype = _outside(tape, s.flat), s.flat.dtype
            for ufunc, limit in ((np.maximum, -most), (np.minimum, most)):
                tape.elementwise(ufunc, [flat, tape.constant(np.array(limit, dtype))], flat)


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
        self.leaves = [p for move in step.moves for p in move.run.params]
        if any(id(p) not in leaves for p in self.leaves):
            raise Unlowered("parameters without a gradient")
        for move in step.moves:
            arrays = [_outside(tape, a) for a in (*move.arrays, move.numbers)]
            tape.kernel(loop_of(move.formula, len(arrays) - 3), *arrays, out=0)

    def ready(self, steady: bool) -> bool:
        """Whether the calls would do what the line does."""
        return self._step.ready(steady)

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
    declared(clip_grad_norm_): _Clip,
    declared(utils.clip_grad_norm_): _Clip,  # which returns a Tensor
    declared(clip_grad_value_): _ClipValue,
    declared(utils.clip_grad_value_): _ClipValue,
    step_of_all: _Step,
}
