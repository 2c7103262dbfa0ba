"""One recorded operation: what it was, what it was given, how gradients flow back through it."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from distgrad.autograd.types import Array


class Recordable(Protocol):
    """What a node needs of its operation: an ``Op``, or a stretch of them (``checkpoint``)."""

    @property
    def name(self) -> str:
        """How messages call it."""

    @property
    def inputs(self) -> Sequence[str]:
        """The names of its inputs."""

    @property
    def second_order(self) -> bool:
        """Whether ``function`` may be run on Tensors."""

    @property
    def view(self) -> bool:
        """Whether what comes out may share its memory with an input."""

    @property
    def home(self) -> object:
        """The globals of the body, which its closures share and those of others do not."""

    @property
    def function(self) -> Callable[..., tuple[Any, Any]]:
        """Compute the value and the gradient closures."""


# The way back to one input: (vjp, source, index, shape, dtype). Plain tuples: one is made for every
# input of every op. The source is a leaf Tensor or the Node that computed the input (its output
# number ``index``). An input outside the tape has index -1 and stands there itself; vjp is None.
Edge: TypeAlias = "tuple[Any, Any, int, Any, Any]"
CONSTANT = -1

# An array with what tells its content (saved_check.py), and whose it is: that of input 0, 1, …,
# OUTPUT, or None where a closure read something else.
SavedArray: TypeAlias = "tuple[Array, bytes | str, int | None]"
OUTPUT = -1

_sequence = itertools.count()


next_number = _sequence.__next__
"""Return a number that every node recorded from here on exceeds."""


class Joint:
    """One closure for all inputs of an op, for gradients that share their work.

    ``function(wanted, *gs)`` returns a gradient for each input; where ``wanted`` (a tuple of
    booleans) is false it may be None.
    """

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Sequence[Any]]) -> None:
        self.function = function


class Unfold(ABC):
    """Takes a node's place in the backward pass with nodes that it makes only then."""

    @abstractmethod
    def run(self, incoming: Sequence[Any], edges: Sequence[Edge], into: Any) -> None:
        """Send the gradients of a first-order pass on, one by one, to ``into`` (a ``Walk``)."""


class Node:
    """A recorded operation.

    It holds no input tensor alive but leaves: residuals are what the closures in ``edges``
    mention. For gradients of gradients the edges are enough to run the op again.
    """

    __slots__ = (
        *("attributes", "edges", "given", "hooks", "joint", "op"),
        *("origin", "outputs", "read", "sequence"),
    )

    def __init__(
        self,
        op: Recordable,
        edges: Sequence[Edge],
        joint: Callable[..., Any] | Unfold | None,
        attributes: Mapping[str, Any],
        outputs: int,
        read: Sequence[SavedArray] = (),
        given: Sequence[SavedArray] = (),
    ) -> None:
        self.op = op
        self.edges: Sequence[Edge] | None = edges
        # Where it is set it runs first, and the edges' closures pick from what it returns.
        self.joint = joint
        self.attributes = attributes
        self.outputs = outputs
        # What the closures read, and the other inputs that are not on the tape: to be run again
        # for gradients of gradients an op needs these too.
        self.read, self.given = read, given
        # The user's functions of the gradient to each output (``Tensor.register_hook``).
        self.hooks: dict[int, dict[int, Callable[[Any], Any]]] | None = None
        # The user's line that ran the op, under ``detect_anomaly``.
        self.origin: str | None = None
        # Inputs are made before outputs, so this number is a topological order.
        self.sequence = next_number()

    def __repr__(self) -> str:
        return f"<{self.op.name}>"

    def name(self) -> str:
        """Return the name of the operation."""
        return self.op.name

    def release(self) -> None:
        """Free the residuals; another backward pass through this node raises GradError."""
        self.edges = None
        self.joint = None
        self.read = self.given = ()
