"""What stands for a line beside the tape among machine-level calls, and is asked before they run.

If they would not do what the line does now, the line itself is run in their place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.capture.calls import OUTSIDE, Buffer, Tape
from distgrad.capture.forms import Form
from distgrad.capture.lines import Call, Line, Values


@dataclass(frozen=True)
class Spot:
    """A line that is to be lowered, and what is known where it stands."""

    tape: Tape
    number: int
    line: Call
    lines: Sequence[Line]
    """All of the program."""
    leaves: Collection[int]
    """Whose gradients are at their places by now, by ``id``."""
    forms: Mapping[int, Form]
    """Of values that are known by now, by number."""
    numbers: Collection[int]
    """Which of them are numbers of Python."""


class Beside(ABC):
    """One such line."""

    leaves: Sequence[Tensor] = ()
    """Whose gradients it reads."""
    was_ready = False
    """At the time before."""

    def __init__(self, spot: Spot) -> None:
        self.number = spot.number
        self.runner = spot.line.runner()
        self.reads: list[tuple[int, Form]] = []
        """Values that the line itself reads."""

    @abstractmethod
    def ready(self, steady: bool) -> bool:
        """Whether the calls would do what the line does.

        ``steady``: it was ready the time before, and ``leaves`` have the arrays and places of then.
        """

    @abstractmethod
    def done(self, v: Values) -> None:
        """Do what is left when the calls have run."""


def outside(tape: Tape, array: Array) -> Form:
    """Return an array that is not the program's, and never moves."""
    buffer = Buffer(array.nbytes, array)
    buffer.shared = OUTSIDE
    return Form(tape, buffer, array.shape, array.dtype)
