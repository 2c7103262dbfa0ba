"""Runs recorded ops again on Tensors, for gradients of gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distgrad.autograd.node import CONSTANT, Edge, Node
from distgrad.autograd.record import edges_from
from distgrad.autograd.saved_check import changed, check_held, refuse_changed
from distgrad.autograd.tensor import Tensor, output
from distgrad.errors import GradError


class Rerun:
    """Runs ops again on Tensors, so that their closures record themselves.

    A value computed again takes the place of the recorded one in the graph, so that gradients of
    gradients reach tensors which the user still holds.
    """

    def __init__(self) -> None:
        self._values: dict[Node, list[Tensor]] = {}
        self._closures: dict[Node, tuple[Sequence[Edge], Any]] = {}

    def edges_from(self, node: Node) -> tuple[Sequence[Edge], Any]:
        """Return the node's edges and joint closure, made of Tensors."""
        stack = [node]
        while stack:
            top = stack[-1]
            missing = [
                source
                for _, source, index, _, _ in edges_of(top)
                if index != CONSTANT and isinstance(source, Node) and source not in self._values
            ]
            if missing and top not in self._values:
                stack += missing
                continue
            stack.pop()
            if top not in self._values:
                self._run(top)
        # Each node is walked once: its closures are not needed again.
        return self._closures.pop(node)

    def _run(self, node: Node) -> None:
        if not node.op.second_order:
            raise GradError(
                f"{node.op.name} has gradients of first order only; compute it without "
                f"create_graph, or from ops that docs/ops.md lists with second order"
            )
        if changed([*node.read, *node.given]) is not None:
            refuse_changed(node)
        check_held(node)
        inputs = []
        for _, source, index, _, _ in edges_of(node):
            recorded = index != CONSTANT and isinstance(source, Node)
            inputs.append(self._values[source][index] if recorded else source)
        value, vjps = node.op.function(*inputs, **node.attributes)
        values = value if isinstance(value, tuple) else (value,)
        self._values[node] = [
            output(v.array if isinstance(v, Tensor) else v, node, i) for i, v in enumerate(values)
        ]
        self._closures[node] = edges_from(inputs, vjps)


def edges_of(node: Node) -> Sequence[Edge]:
    """Return the way back from a node. Errors: GradError if it was freed."""
    if node.edges is None:
        raise GradError(
            f"the graph through {node.op.name} was freed by an earlier backward pass; "
            f"pass retain_graph=True to that one to walk it again"
        )
    return node.edges
