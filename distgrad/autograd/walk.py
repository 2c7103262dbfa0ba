"""One pass over recorded nodes, newest first, without recursion. Knows no op by name."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from distgrad.autograd.absent import ABSENT, bring
from distgrad.autograd.hooks import apply_hooks
from distgrad.autograd.mode import grad_enabled, watching
from distgrad.autograd.node import Edge, Node, Unfold
from distgrad.autograd.rerun import Rerun, edges_of
from distgrad.autograd.saved_check import WHOLE, changed, large, refuse_changed
from distgrad.autograd.tensor import Tensor, output
from distgrad.autograd.types import Array, Shape
from distgrad.errors import GradError
from distgrad.tracing import tracer

Received = dict[Node, Any]
"""What each node has received: its gradient, or a list of them for a node with several outputs."""
Place = tuple[Node, int]
"""Where in the graph a tensor that is not a leaf was computed: output ``index`` of a node."""


class Sink(Protocol):
    """Who takes the gradients of leaves."""

    def add(self, leaf: Tensor, g: Array | Tensor) -> None:
        """Take one consumer's gradient, or a part of it."""

    def done(self, leaf: Tensor) -> None:
        """One consumer of ``leaf``, which has a listener or hooks, has added all it has."""

    def pull(self, vjp: Any, g: Any, leaf: Tensor) -> Any:
        """Return ``vjp(g)``; its closure may write where the gradient of ``leaf`` will be."""

    def poll(self) -> None:
        """Called after every node of an ``early`` walk."""


class Gathered(dict[Tensor, Tensor]):
    """A sink that sums up, for those of ``leaves`` alone if they are given."""

    def __init__(self, leaves: Collection[Tensor] | None = None) -> None:
        super().__init__()
        self.leaves = leaves

    def add(self, leaf: Tensor, g: Array | Tensor) -> None:
        """Sum up."""
        if self.leaves is None or leaf in self.leaves:
            self[leaf] = self[leaf] + g if leaf in self else as_tensor(g)

    def done(self, leaf: Tensor) -> None:
        """Nobody waits for it."""

    def pull(self, vjp: Any, g: Any, leaf: Tensor) -> Any:
        """Return ``vjp(g)``."""
        return vjp(g)

    def poll(self) -> None:
        """Nothing is on its way."""


def reach(roots: Sequence[Tensor], floor: int = 0) -> tuple[list[Node], dict[Tensor, int]]:
    """Collect the nodes behind ``roots``, newest first, and how often each leaf is used.

    Nodes recorded before number ``floor`` are not entered.
    """
    consumers: dict[Tensor, int] = {}
    seen: dict[Node, None] = {}  # grows evenly with the depth, which a set does not
    stack: list[Node] = []
    for root in roots:
        if not root.requires_grad:
            raise GradError(
                "nothing to differentiate: no input of this tensor requires gradients, or it was "
                "computed under no_grad()"
            )
        node = root._node
        if node is not None and node not in seen and node.sequence >= floor:
            stack.append(node)
            seen[node] = None
    while stack:
        node = stack.pop()
        for vjp, source, _, _, _ in edges_of(node) if node.edges is None else node.edges:
            if vjp is None:
                continue
            if type(source) is not Node:
                consumers[source] = consumers.get(source, 0) + 1
            elif source not in seen and source.sequence >= floor:
                seen[source] = None
                stack.append(source)
    return sorted(seen, key=operator.attrgetter("sequence"), reverse=True), consumers


def traced(nodes: Sequence[Node]) -> Iterable[Node]:
    """Return the nodes for a ``Walk`` to run, which a timeline, if one is recorded, follows."""
    listener = tracer.get()
    return nodes if listener is None else listener.walking(nodes)


def leading_to(nodes: Sequence[Node], targets: set[Node | Tensor]) -> set[Node | Tensor]:
    """Return ``targets`` and those of ``nodes`` (newest first) from which one is reached."""
    found = set(targets)
    for node in reversed(nodes):
        if any(vjp is not None and source in found for vjp, source, _, _, _ in edges_of(node)):
            found.add(node)
    return found


def start(
    roots: Sequence[Tensor],
    seeds: Sequence[Tensor],
    create_graph: bool,
    received: Received | None = None,
) -> Received:
    """Give the nodes of ``roots`` what they receive to begin with."""
    received = {} if received is None else received
    for root, seed in zip(roots, seeds, strict=True):
        node = root._node
        if node is not None:
            give(received, node, root._index, seed if create_graph else seed.array, set())
    return received


class Walk:
    """A pass in progress: what nodes have received, who takes the leaves' gradients."""

    def __init__(
        self,
        received: Received,
        sink: Sink,
        create_graph: bool = False,
        keep: bool = False,
        only: set[Node | Tensor] | None = None,
        watch: Mapping[Place, Tensor] | None = None,
        *,
        early: bool = False,
    ) -> None:
        self.received, self.sink = received, sink
        self.early = early
        """Whether leaves come first among what a node leads to, and are told of before the rest."""
        self.create_graph, self.keep = create_graph, keep
        self.only, self.watch = only, watch
        """Where ``only`` is given no other source is served."""
        self.seen: dict[Tensor, Tensor] = {}
        """The gradients that arrived at the places of ``watch``."""
        self.owned: set[Place] = set()
        """Sums made here, so free to be added to in place."""

    def run(self, nodes: Iterable[Node]) -> None:  # noqa: PLR0912, PLR0915 (calls cost)
        """Pass gradients from node to node: plain arrays, or Tensors with ``create_graph``.

        What is left in ``received`` afterwards belongs to nodes outside ``nodes``.
        """
        # This runs for every node and edge: what reads clumsily here was measured.
        received, sink, only, owned = self.received, self.sink, self.only, self.owned
        take, keep, watch, absent = received.pop, self.keep, self.watch, ABSENT
        early = self.early
        rerun = Rerun() if self.create_graph else None
        watcher = watching.get()
        done: list[Tensor] = []  # leaves of a node for which somebody waits
        token = grad_enabled.set(self.create_graph)
        try:
            for node in nodes:
                arrived = take(node, None)
                if arrived is None:
                    continue
                single = node.outputs == 1
                incoming: Any = None  # a tuple, where more than the one gradient is asked for
                if node.hooks or watch or watcher is not None or not single:
                    incoming = (arrived,) if single else arrived
                    if node.hooks:
                        incoming = [_hooked(node, i, g) for i, g in enumerate(incoming)]
                    if watch:
                        self._look(node, incoming)
                if only is not None and node not in only:
                    continue
                edges = node.edges
                if edges is None:
                    edges = edges_of(node)
                joint = node.joint
                for saved in node.read:
                    a = saved[0]
                    if absent:
                        bring(a)
                    now = a.tobytes() if a.nbytes <= WHOLE else large(a, False)
                    if now != saved[1] and changed([saved]) is not None:
                        refuse_changed(node)
                if rerun is not None:
                    edges, joint = rerun.edges_from(node)
                given = incoming
                if joint is not None:
                    if incoming is None:
                        incoming = (arrived,)
                    if isinstance(joint, Unfold):
                        joint.run(incoming, edges, self)
                        if not keep:
                            node.release()
                        continue
                    incoming = (list(joint(*incoming)),)
                    single = True
                if single and incoming is not None:
                    (arrived,) = incoming
                for number, (vjp, source, index, shape, dtype) in (
                    _leaves_first(edges) if early else enumerate(edges)
                ):
                    if vjp is None or (only is not None and source not in only):
                        continue
                    if not single:
                        g = vjp(*incoming)
                    elif type(source) is Node:
                        if early and done and not any(leaf._hooks for leaf in done):
                            for leaf in done:  # hooks may change values that are read here
                                sink.done(leaf)
                            done.clear()
                        g = vjp(arrived)
                    else:
                        g = sink.pull(vjp, arrived, source)
                    if joint is not None:
                        arrived[number] = None  # a leaf may keep what nobody else has
                    if g is None:  # an output of several that was not used
                        if type(source) is not Node and (
                            source._listener is not None or source._hooks
                        ):
                            done.append(source)
                        continue
                    if g.shape != shape:
                        g = _fitted(node, number, g, shape)
                    if g.dtype is not dtype and g.dtype != dtype:
                        if g.dtype.kind == "c" and dtype.kind != "c":
                            g = np.real(g)  # a real input moves along the real axis only
                        g = g.astype(dtype)
                    if watcher is not None:
                        watcher.after_backward(node, number, g, given)
                    if type(source) is not Node:
                        sink.add(source, g)
                        if source._listener is not None or source._hooks:
                            done.append(source)
                    elif source.outputs == 1:
                        first = received.get(source)
                        received[source] = (
                            g if first is None else _sum(first, g, (source, 0), owned)
                        )
                    else:
                        give(received, source, index, g, owned)
                # Now: who is told may change or free the values that the closures have read.
                if done:
                    for leaf in done:
                        sink.done(leaf)
                    done.clear()
                if early:
                    sink.poll()
                if not keep:
                    node.edges = node.joint = None  # as ``release`` does
                    node.read = node.given = ()
        finally:
            grad_enabled.reset(token)

    def _look(self, node: Node, incoming: Sequence[Array | Tensor | None]) -> None:
        for index, g in enumerate(incoming):
            x = (self.watch or {}).get((node, index))
            if x is not None and g is not None:
                self.seen[x] = as_tensor(g)


def _leaves_first(edges: Sequence[Edge]) -> list[tuple[int, Edge]]:
    """Return the edges with their numbers, those to leaves before all others."""
    return sorted(enumerate(edges), key=lambda numbered: type(numbered[1][1]) is Node)


def give(received: Received, node: Node, index: int, g: Array | Tensor, owned: set[Place]) -> None:
    """Add ``g`` to what output ``index`` of ``node`` has received."""
    if node.outputs == 1:
        old = received.get(node)
        received[node] = g if old is None else _sum(old, g, (node, 0), owned)
        return
    slots = received.setdefault(node, [None] * node.outputs)
    old = slots[index]
    slots[index] = g if old is None else _sum(old, g, (node, index), owned)


def _fitted(node: Node, number: int, g: Array | Tensor, shape: Shape) -> Array:
    try:
        return unbroadcast(g, shape)
    except ValueError as error:
        name = node.op.inputs[number] if number < len(node.op.inputs) else f"input {number}"
        raise GradError(
            f"the gradient closure of {node.op.name} to {name} returned shape {g.shape}, which "
            f"does not sum up to the input's {shape}: return one of that shape"
        ) from error


def unbroadcast(g: Array | Tensor, shape: Shape) -> Array:
    """Sum ``g`` over the axes along which an array of ``shape`` was broadcast to it."""
    given = g.shape
    extra = len(given) - len(shape)
    axes = [*range(extra)]
    if 1 in shape:
        axes += [extra + i for i, n in enumerate(shape) if n == 1 and given[extra + i] != 1]
    if axes:
        kept = len(axes) > extra
        if len(axes) == 1 and given[axes[0]] == 2 and _is_plain(g):
            return _halves_added(np.asarray(g), axes[0]).reshape(shape)
        g = np.add.reduce(g, axis=tuple(axes), keepdims=kept)  # type: ignore[call-overload]
    return g if g.shape == shape else g.reshape(shape)  # type: ignore[return-value]  # a Tensor


def _is_plain(g: Array | Tensor) -> bool:
    return type(g) is np.ndarray and g.dtype.char in "fd" and g.size >= _MANY


_MANY = 1 << 12
"""Elements: of fewer NumPy's reduction is as fast."""


def _halves_added(g: Array, axis: int) -> Array:
    """Sum an axis of length 2, with the bits of NumPy's sum, which goes pair by pair."""
    first, second = np.moveaxis(g, axis, 0)
    total = np.asarray(np.add(first, second))
    total += 0  # -0 becomes 0: NumPy's sums begin with 0
    return total


def as_tensor(g: Array | Tensor) -> Tensor:
    """Return a gradient as a Tensor outside the tape, or as the recorded one it is."""
    return g if isinstance(g, Tensor) else output(g, None, 0)


def _hooked(node: Node, index: int, g: Array | Tensor | None) -> Array | Tensor | None:
    hooks = (node.hooks or {}).get(index)
    if g is None or not hooks:
        return g
    result = apply_hooks(hooks, as_tensor(g))
    return result if isinstance(g, Tensor) else result.array


def _sum(old: Any, g: Array | Tensor, place: Place, owned: set[Place]) -> Any:
    if isinstance(old, Tensor) or isinstance(g, Tensor):
        return old + g
    if place in owned:
        return np.add(old, g, out=old)
    # Out of place: a closure may hand the same array to both inputs.
    owned.add(place)
    return np.asarray(np.add(old, g))
