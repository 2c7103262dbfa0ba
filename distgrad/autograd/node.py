"""One recorded operation: what it was, what it was given, how gradients flow back through it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from distgrad.autograd.op import Op

# The way back to one input: (vjp, source, index, shape, dtype). Plain tuples: one is made for every
# input of every op. The source is a leaf Tensor or the Node that computed the input (its output
# number ``index``). An input outside the tape has index -1 and stands there itself; vjp is None.
Edge: TypeAlias = "tuple[Any, Any, int, Any, Any]"
CONSTANT = -1

_sequence = itertools.count()


class Joint:
    """One closure for all inputs of an op, for gradients that share their work.

    ``function(wanted, *gs)`` returns a gradient for each input; where ``wanted`` (a tuple of
    booleans) is false it may be None.
    """

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Sequence[Any]]) -> None:
        self.function = function


class Node:
    """A recorded operation.

    It holds no input tensor alive but leaves: residuals are what the closures in ``edges``
    mention. For gradients of gradients the edges are enough to run the op again.
    """

    __slots__ = ("attributes", "edges", "joint", "op", "outputs", "sequence")

    def __init__(
        self,
        op: Op,
        edges: list[Edge],
        joint: Callable[..., Any] | None,
        attributes: dict[str, Any],
        outputs: int,
    ) -> None:
        self.op = op
        self.edges: list[Edge] | None = edges
        # Where it is set it runs first, and the edges' closures pick from what it returns.
        self.joint = joint
        self.attributes = attributes
        self.outputs = outputs
        # Inputs are made before outputs, so this number is a topological order.
        self.sequence = next(_sequence)

    def release(self) -> None:
        """Free the residuals; another backward pass through this node raises GradError."""
        self.edges = None
        self.joint = None
