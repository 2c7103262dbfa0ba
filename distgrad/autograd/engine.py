"""The backward pass: walks the recorded nodes once, newest first, without recursion.

Knows no op by name, and nothing of the wire: it tells a leaf's listener when its gradient is final.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.mode import enable_grad, no_grad
from distgrad.autograd.node import CONSTANT, Edge, Node
from distgrad.autograd.op import way_back
from distgrad.autograd.tensor import GradListener, Tensor, TensorLike, output
from distgrad.errors import GradError, ShapeError


def backward(
    root: Tensor,
    gradient: TensorLike | None = None,
    *,
    retain_graph: bool = False,
    create_graph: bool = False,
) -> None:
    """Add the gradient of ``root`` to ``grad`` of its leaves (see ``Tensor.backward``)."""
    if root._node is None and root.requires_grad:
        root.accumulate_(_seed(root, gradient, 1.0))
        return
    nodes, consumers = _reach([root])
    listeners = _listeners(consumers)
    weight = 1.0
    for listener in listeners:
        if create_graph:
            raise GradError(
                "backward(create_graph=True) reaches parameters whose gradients are reduced over "
                "ranks; use distgrad.autograd.grad for the inner derivative and call a plain "
                "backward() on the outer loss"
            )
        weight *= listener.backward_started()
    grads = _start(root, _seed(root, gradient, weight), create_graph)

    def deposit(leaf: Tensor, g: Any) -> None:
        leaf.accumulate_(_tensor(g))
        consumers[leaf] -= 1
        if consumers[leaf] == 0 and leaf._listener is not None:
            leaf._listener.grad_ready(leaf)

    keep = retain_graph or create_graph
    _walk(nodes, grads, deposit, create_graph=create_graph, keep=keep, watch={}, out={})
    for listener in listeners:
        listener.backward_finished()


def grad(
    outputs: Tensor,
    inputs: Sequence[Tensor],
    *,
    gradient: TensorLike | None = None,
    retain_graph: bool = False,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> list[Tensor | None]:
    """Return the gradients of ``outputs`` (one tensor) to each of ``inputs``, leaving ``.grad`` be.

    With ``create_graph`` the results are recorded and can be differentiated again.
    Errors: GradError if an input was not used, unless ``allow_unused`` (then None stands there).
    """
    nodes, _ = _reach([outputs])
    captured: dict[Tensor, Tensor] = {}
    watch: dict[tuple[Node | None, int], Tensor] = {
        (x._node, x._index): x for x in inputs if x._node is not None
    }
    leaves = {x for x in inputs if x._node is None}
    seed = _seed(outputs, gradient, 1.0)

    def deposit(leaf: Tensor, g: Any) -> None:
        if leaf in leaves:
            captured[leaf] = captured[leaf] + g if leaf in captured else _tensor(g)

    if outputs._node is None:
        deposit(outputs, seed)
    else:
        grads = _start(outputs, seed, create_graph)
        keep = retain_graph or create_graph
        _walk(
            nodes, grads, deposit, create_graph=create_graph, keep=keep, watch=watch, out=captured
        )
    results = [captured.get(x) for x in inputs]
    if not allow_unused and None in [None if r is None else 0 for r in results]:
        unused = [i for i, r in enumerate(results) if r is None]
        raise GradError(
            f"inputs {unused} were not used to compute the output; pass allow_unused=True to get "
            f"None for them"
        )
    return results


def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum ``g`` over the axes along which an array of ``shape`` was broadcast to it."""
    extra = len(g.shape) - len(shape)
    axes = tuple(range(extra)) + tuple(
        extra + i for i, n in enumerate(shape) if n == 1 and g.shape[extra + i] != 1
    )
    if axes:
        g = np.add.reduce(g, axis=axes, keepdims=True)
    return np.reshape(g, shape)


def _walk(  # noqa: PLR0912 (a call for each branch would cost as much as the op)
    nodes: Iterable[Node],
    grads: dict[Node | None, Any],
    deposit: Any,
    *,
    create_graph: bool,
    keep: bool,
    watch: dict[tuple[Node | None, int], Tensor],
    out: dict[Tensor, Tensor],
) -> None:
    """Pass gradients from node to node: plain arrays, or Tensors with ``create_graph``.

    ``grads`` holds what each node has received: its gradient, or a list of them for a node with
    several outputs.
    """
    owned: set[tuple[Node, int]] = set()  # sums made here, so free to be added to in place
    rerun = _Rerun() if create_graph else None
    with enable_grad() if create_graph else no_grad():
        for node in nodes:
            received = grads.pop(node, None)
            if received is None:
                continue
            incoming = received if node.outputs > 1 else (received,)
            if watch:
                for index, g in enumerate(incoming):
                    if g is not None and (node, index) in watch:
                        out[watch[node, index]] = _tensor(g)
            edges = _edges(node)
            joint = node.joint
            if rerun is not None:
                edges, joint = rerun.way_back(node)
            if joint is not None:
                incoming = (joint(*incoming),)
            for vjp, source, index, shape, dtype in edges:
                if vjp is None:
                    continue
                g = vjp(*incoming)
                if g.shape != shape:
                    g = unbroadcast(g, shape)
                if g.dtype != dtype:
                    if g.dtype.kind == "c" and dtype.kind != "c":
                        g = np.real(g)  # a real input moves along the real axis only
                    g = g.astype(dtype)
                if isinstance(source, Tensor):
                    deposit(source, g)
                elif source.outputs == 1:
                    old = grads.get(source)
                    grads[source] = g if old is None else _sum(old, g, (source, 0), owned)
                else:
                    slots = grads.setdefault(source, [None] * source.outputs)
                    old = slots[index]
                    slots[index] = g if old is None else _sum(old, g, (source, index), owned)
            if not keep:
                node.release()


def _sum(old: Any, g: Any, slot: tuple[Node, int], owned: set[tuple[Node, int]]) -> Any:
    if isinstance(old, Tensor) or isinstance(g, Tensor):
        return old + g
    if slot in owned:
        return np.add(old, g, out=old)
    # Out of place: a closure may hand the same array to both inputs.
    owned.add(slot)
    return np.asarray(np.add(old, g))


def _start(root: Tensor, seed: Tensor, create_graph: bool) -> dict[Node | None, Any]:
    node = root._node
    assert node is not None
    g = seed if create_graph else seed.data
    if node.outputs == 1:
        return {node: g}
    return {node: [g if i == root._index else None for i in range(node.outputs)]}


def _tensor(g: Any) -> Tensor:
    return g if isinstance(g, Tensor) else output(g, None, 0)


def _edges(node: Node) -> list[Edge]:
    if node.edges is None:
        raise GradError(
            f"the graph through {node.op.name} was freed by an earlier backward pass; "
            f"pass retain_graph=True to that one to walk it again"
        )
    return node.edges


class _Rerun:
    """Runs ops again on Tensors, so that their closures record themselves.

    A value computed again takes the place of the recorded one in the graph, so that gradients of
    gradients reach tensors which the user still holds.
    """

    def __init__(self) -> None:
        self._values: dict[Node, list[Tensor]] = {}
        self._closures: dict[Node, tuple[list[Edge], Any]] = {}

    def way_back(self, node: Node) -> tuple[list[Edge], Any]:
        """Return the node's edges and joint closure, made of Tensors."""
        stack = [node]
        while stack:
            top = stack[-1]
            missing = [
                source
                for _, source, index, _, _ in _edges(top)
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
        inputs = []
        for _, source, index, _, _ in _edges(node):
            recorded = index != CONSTANT and isinstance(source, Node)
            inputs.append(self._values[source][index] if recorded else source)
        value, vjps = node.op.function(*inputs, **node.attributes)
        values = value if isinstance(value, tuple) else (value,)
        self._values[node] = [
            output(v.data if isinstance(v, Tensor) else v, node, i) for i, v in enumerate(values)
        ]
        self._closures[node] = way_back(inputs, vjps)


def _reach(roots: Sequence[Tensor]) -> tuple[list[Node], dict[Tensor, int]]:
    """Collect the nodes behind ``roots``, newest first, and how often each leaf is used."""
    consumers: dict[Tensor, int] = {}
    seen: set[Node] = set()
    stack = []
    for root in roots:
        if not root.requires_grad:
            raise GradError(
                "nothing to differentiate: no input of this tensor requires gradients, or it was "
                "computed under no_grad()"
            )
        if root._node is not None:
            stack.append(root._node)
            seen.add(root._node)
    nodes = []
    while stack:
        node = stack.pop()
        nodes.append(node)
        for vjp, source, _, _, _ in _edges(node):
            if vjp is None:
                continue
            if isinstance(source, Tensor):
                consumers[source] = consumers.get(source, 0) + 1
            elif source not in seen:
                seen.add(source)
                stack.append(source)
    nodes.sort(key=operator.attrgetter("sequence"), reverse=True)
    return nodes, consumers


def _listeners(leaves: Iterable[Tensor]) -> list[GradListener]:
    found: dict[int, GradListener] = {}
    for leaf in leaves:
        if leaf._listener is not None:
            found[id(leaf._listener)] = leaf._listener
    return list(found.values())


def _seed(root: Tensor, gradient: TensorLike | None, weight: float) -> Tensor:
    if gradient is None:
        if root.size != 1:
            raise GradError(
                f"backward() without a gradient needs a single number; this tensor has shape "
                f"{root.shape}: reduce it (.mean(), .sum()) or pass gradient="
            )
        return Tensor(np.full(root.shape, weight, dtype=root.dtype))
    seed = gradient if isinstance(gradient, Tensor) else Tensor(np.asarray(gradient, root.dtype))
    if seed.shape != root.shape:
        raise ShapeError(f"gradient has shape {seed.shape}, the tensor {root.shape}; make it equal")
    return seed if weight == 1.0 else Tensor((seed.data * weight).astype(root.dtype))
