"""What a step does beside the tape and still comes to machine-level calls: clipping, the optimizer.

Each time the stretch is run they are asked first whether they would do what they did; if not, the
line itself is run in their place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distgrad.capture.asked import Beside, Spot, outside
from distgrad.capture.calls import Unlowered
from distgrad.capture.clipping import CLIPPING
from distgrad.capture.lines import Call, Values
from distgrad.optim import Optimizer
from distgrad.optim.prepared import PreparedStep, step_of_all


def beside(spot: Spot) -> Beside:
    """Return what a line comes to, whose calls are put on the tape. Errors: Unlowered."""
    made = _MADE.get(spot.line.function)
    if made is None:
        raise Unlowered("a function beside the tape")
    calls = spot.tape.calls
    first = len(calls)
    found: Beside = made(spot)
    if {*spot.line.args.numbers} != {n for n, _ in found.reads}:
        raise Unlowered("arguments that vary")
    for call in calls[first:]:
        call.beside = found
        call.elements = 0  # all at once
    return found


class _Step(Beside):
    def __init__(self, spot: Spot) -> None:
        super().__init__(spot)
        from distgrad.kernels.update import loop_of  # noqa: PLC0415 (numba)

        (optimizer, *others), settings = spot.line.args.value
        if others or settings:
            raise Unlowered("a closure")
        if sum(_is_step(other, optimizer) for other in spot.lines) > 1:
            raise Unlowered("several steps, each of which counts")
        self._step = step = PreparedStep(optimizer)
        self.leaves = [p for move in step.moves for p in move.run.params]
        if any(id(p) not in spot.leaves for p in self.leaves):
            raise Unlowered("parameters without a gradient")
        for move in step.moves:
            arrays = [outside(spot.tape, a) for a in (*move.arrays, move.numbers)]
            spot.tape.kernel(loop_of(move.formula, len(arrays) - 3), *arrays, out=0)

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


_MADE: dict[Callable[..., Any], type[Any]] = {**CLIPPING, step_of_all: _Step}
