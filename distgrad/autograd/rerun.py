"""Makes the closures of recorded ops record themselves, for gradients of gradients."""

from __future__ import annotations

from collections.abc import Sequence
from types import CellType, FunctionType
from typing import Any

import numpy as np

from distgrad.autograd.absent import ABSENT, bring
from distgrad.autograd.anomaly import users_line
from distgrad.autograd.mode import recorder
from distgrad.autograd.node import CONSTANT, OUTPUT, Edge, Node
from distgrad.autograd.record import edges_from
from distgrad.autograd.saved_check import changed, check_held, refuse_changed
from distgrad.autograd.tensor import Tensor, output
from distgrad.errors import CaptureError, GradError

_ndarray = np.ndarray
_NONE = (None, (None,))
"""The defaults of closures: there are none, or an ``out`` that is not used here."""
_PLAIN = {int, float, complex, bool, str, type(None), slice, type(...)}
"""What a closure may read besides the op's inputs and output: no gradient flows through it."""


class Rerun:
    """Gives closures that hold Tensors in place of arrays.

    Where all that a closure reads are the op's inputs and its output, these take the arrays'
    places. An op whose closures read anything else is run again on Tensors, and so are those that
    computed its inputs, unless it has kept these: a value computed again takes the place of the
    recorded one in the graph, so that gradients of gradients reach tensors which the user still
    holds.
    """

    def __init__(self) -> None:
        self._values: dict[Node, list[Tensor]] = {}
        self._closures: dict[Node, tuple[Sequence[Edge], Any]] = {}

    def edges_from(self, node: Node) -> tuple[Sequence[Edge], Any]:
        """Return the node's edges and joint closure, made of Tensors."""
        edges = _refilled(node)
        if edges is not None:
            return _recordable(node, edges), None
        stack = [node]
        while stack:
            top = stack[-1]
            missing = [
                source
                for i, (_, source, index, _, _) in enumerate(edges_of(top))
                if index != CONSTANT
                and isinstance(source, Node)
                and source not in self._values
                and _kept(top, i) is None
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
        for a, _, _ in (*node.read, *node.given) if ABSENT else ():
            bring(a)
        if changed([*node.read, *node.given]) is not None:
            refuse_changed(node)
        check_held(node)
        inputs = []
        for i, (_, source, index, _, _) in enumerate(edges_of(node)):
            if index == CONSTANT or not isinstance(source, Node):
                inputs.append(source)
            elif source in self._values:
                inputs.append(self._values[source][index])
            else:
                inputs.append(output(_kept(node, i), source, index))
        value, vjps = _naming(node, node.op.function)(*inputs, **node.attributes)
        values = value if isinstance(value, tuple) else (value,)
        self._values[node] = [
            output(v.array if isinstance(v, Tensor) else v, node, i) for i, v in enumerate(values)
        ]
        edges, joint = edges_from(inputs, vjps)
        self._closures[node] = _recordable(node, edges), joint


def _recordable(node: Node, edges: Sequence[Edge]) -> Sequence[Edge]:
    if recorder() is None:
        return edges
    return [(vjp and _naming(node, vjp), *rest) for vjp, *rest in edges]


def _naming(node: Node, function: Any) -> Any:
    """While a step is recorded: ``function``, whose refusals are said of the node's op."""
    if recorder() is None:
        return function

    def named(*args: Any, **settings: Any) -> Any:
        try:
            return function(*args, **settings)
        except CaptureError:
            raise CaptureError(
                f"{users_line()}: gradients of gradients of {node.op.name} cannot be captured, "
                f"as they are computed from values that a replay does not have; leave this step "
                f"uncaptured"
            ) from None

    return named


def _refilled(node: Node) -> list[Edge] | None:
    """Return the edges with Tensors for the arrays that the closures read.

    None where a closure reads what is no input and no output, or is not that of the op's body (its
    fused twin knows no Tensors): the op has to be run again.
    """
    if node.joint is not None or not node.op.second_order:
        return None
    home = node.op.home
    roles = {id(a): role for a, _, role in node.read}
    tensors: dict[int, Any] = {}
    edges: list[Edge] = []
    for edge in edges_of(node):
        vjp = edge[0]
        if type(vjp) is FunctionType:
            if vjp.__globals__ is not home or vjp.__kwdefaults__ or vjp.__defaults__ not in _NONE:
                return None
            cells = []
            for cell in vjp.__closure__ or ():
                content = cell.cell_contents
                if type(content) is _ndarray:
                    if id(content) not in tensors:
                        role = roles[id(content)]
                        tensors[id(content)] = _as_tensor(node, content, role)
                    content = tensors[id(content)]
                    if content is None:
                        return None
                elif not (type(content) in _PLAIN or _is_form(content) or _is_function(content)):
                    return None
                cells.append(CellType(content))
            vjp = FunctionType(
                vjp.__code__, vjp.__globals__, vjp.__name__, vjp.__defaults__, tuple(cells)
            )
        edges.append((vjp, *edge[1:]))
    return edges


def _is_function(content: Any) -> bool:
    """Whether it takes all it works on as arguments, arrays and Tensors alike."""
    return type(content) is np.ufunc or (
        type(content) is FunctionType and content.__closure__ is None
    )


def _kept(node: Node, number: int) -> Any:
    """Return the array of input ``number``, if the node's closures read it."""
    return next((a for a, _, role in node.read if role == number), None)


def _as_tensor(node: Node, a: Any, role: int | None) -> Any:
    """Return the Tensor that has ``a`` and its place in the graph; None if nobody knows it."""
    if role is None or (role == OUTPUT and node.outputs != 1):
        return None
    if role == OUTPUT:
        return output(a, _again(node), 0)
    _, source, index, _, _ = edges_of(node)[role]
    if index == CONSTANT:
        return a
    if isinstance(source, Tensor):  # unless its data was replaced since
        return source if source.array is a else None
    return output(a, source, index)


def _again(node: Node) -> Node:
    # Not the node itself: where it was run again the value that its closures read had one of its
    # own, and later sums keep their order, and so their bits.
    again = Node(node.op, edges_of(node), None, node.attributes, 1, node.read, node.given)
    if (recording := recorder()) is not None:
        recording.again(node, again)
    return again


def _is_form(content: Any) -> bool:
    """Whether it is a shape, an index of numbers and slices, a dtype, or a tuple of such."""
    if type(content) is tuple:
        return all(type(n) in _PLAIN or _is_form(n) for n in content)
    return isinstance(content, np.dtype)


def edges_of(node: Node) -> Sequence[Edge]:
    """Return the way back from a node. Errors: GradError if it was freed."""
    if node.edges is None:
        raise GradError(
            f"the graph through {node.op.name} was freed by an earlier backward pass; "
            f"pass retain_graph=True to that one to walk it again"
        )
    return node.edges
