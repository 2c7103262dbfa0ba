"""The backward pass of a step that is being recorded: ``Walk.run``, with every move written down.

It sends the same gradients along the same edges in the same order. What a captured step does not
do (hooks, checkpoints) is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from distgrad.autograd.anomaly import users_line
from distgrad.autograd.engine import listeners_of, seed_of, takes_out
from distgrad.autograd.flat import held
from distgrad.autograd.mode import grad_enabled, switched
from distgrad.autograd.node import Edge, Joint, Node, Unfold
from distgrad.autograd.rerun import edges_of
from distgrad.autograd.tensor import Tensor, TensorLike, output
from distgrad.autograd.types import Array
from distgrad.autograd.walk import Gathered, Place, reach, unbroadcast
from distgrad.capture.gradients import (
    Accumulate,
    Add,
    Cast,
    Fit,
    Pull,
    PullAll,
    PullInto,
    Seed,
    accumulate,
)
from distgrad.capture.lines import Line
from distgrad.capture.tree import Leaf, Tree
from distgrad.errors import CaptureError

Known = tuple[int, Any]
"""The number of a value, and its array."""
Take = Callable[[Tensor, Known], None]


class Backward:
    """What a recorder does in place of the engine."""

    def __init__(self) -> None:
        self.made: dict[Node, tuple[int, Any]] = {}
        """The closures of each node: their number and themselves."""
        self.touched: set[int] = set()
        """Whose gradients the step has set or dropped itself, by ``id``."""
        self.had: list[tuple[Tensor, bool]] = []
        """Of leaves whose gradients the step finds as they are: whether there were none."""

    # What the recorder itself has.
    value: Callable[..., int]
    add: Callable[..., None]
    call: Callable[..., None]
    apart: Callable[..., Any]
    paused: Callable[[], Any]
    number_of: Callable[[Tensor], int]
    name_of: Callable[[Tensor], str]
    known: Callable[[Array], int | None]
    stands_for: Callable[[Array, int], None]
    gradient_added: Callable[[Tensor], None]

    def backward(
        self, root: Tensor, gradient: TensorLike | None, *, keep: bool, create_graph: bool
    ) -> None:
        """Add the gradient of ``root`` to ``grad`` of the leaves (``engine.backward``)."""
        if create_graph:
            raise _refused(
                "backward(create_graph=True)", "use dg.autograd.grad(…, create_graph=True)"
            )
        if root._node is None:
            raise _refused("backward() of a leaf", "compute something from it")
        nodes, consumers = reach([root])
        listeners = listeners_of(consumers)
        weights = [self.apart(type(x).backward_started, (x,), {}) for x in listeners]
        received: dict[Node, Any] = {}
        start = self._seed(root, gradient, weights)
        self._give(received, root._node, root._index, start, set())

        def take(leaf: Tensor, g: Known) -> None:
            self._accumulate(leaf, g)

        def done(leaf: Tensor) -> None:
            consumers[leaf] -= 1
            if not consumers[leaf] and leaf._listener is not None:
                listener = leaf._listener
                self.call(f"ready: {self.name_of(leaf)}", listener.grad_ready, leaf)

        self._walk(nodes, received, take, done, keep=keep, into=True)
        for x in listeners:
            self.call("sums over ranks", x.backward_finished)

    def grad(
        self,
        nodes: Sequence[Node],
        roots: Sequence[Tensor],
        seeds: Sequence[Tensor],
        found: Gathered,
        only: set[Node | Tensor],
        watch: Mapping[Place, Tensor],
        *,
        keep: bool,
    ) -> dict[Tensor, Tensor]:
        """Gather the gradients to the leaves of ``found``; return those at ``watch``."""
        received: dict[Node, Any] = {}
        sums: dict[Tensor, Known] = {}
        seen: dict[Tensor, Tensor] = {}
        for root, start in zip(roots, seeds, strict=True):
            if root._node is not None:
                with self.paused():
                    array = start.array
                at = (self.number_of(start), array)
                self._give(received, root._node, root._index, at, set())

        def take(leaf: Tensor, g: Known) -> None:
            if found.leaves is None or leaf in found.leaves:
                old = sums.get(leaf)
                sums[leaf] = g if old is None else self._sum(old, g, in_place=False)

        def look(node: Node, incoming: Sequence[Known | None]) -> None:
            for index, g in enumerate(incoming):
                x = watch.get((node, index))
                if x is not None and g is not None:
                    seen[x] = self._tensor(g)

        self._walk(nodes, received, take, _nobody, keep=keep, only=only, look=look)
        for leaf, g in sums.items():
            found[leaf] = self._tensor(g)
        return seen

    def again(self, node: Node, copy: Node) -> None:
        """Note that ``copy`` has the closures of ``node``."""
        if node in self.made:
            self.made[copy] = self.made[node]

    def _seed(self, root: Tensor, gradient: TensorLike | None, weights: Sequence[Any]) -> Known:
        if gradient is not None:
            given = self.apart(seed, (root, gradient, *weights), {})
            return self.number_of(given), held(given)
        with self.paused():
            array = held(seed(root, None, *[w.held for w in weights]))
        number = self.value(array)
        reads = [w.number for w in weights]
        self.add(Seed(reads, array.shape, array.dtype, number), array)
        return number, array

    # -- the walk ---------------------------------------------------------------------------------

    def _walk(
        self,
        nodes: Sequence[Node],
        received: dict[Node, Any],
        take: Take,
        done: Callable[[Tensor], None],
        *,
        keep: bool,
        only: set[Node | Tensor] | None = None,
        look: Callable[[Node, Sequence[Known | None]], None] | None = None,
        into: bool = False,
    ) -> None:
        owned: set[Place] = set()
        for node in nodes:
            arrived = received.pop(node, None)
            if arrived is None:
                continue
            incoming: list[Known | None] = [arrived] if node.outputs == 1 else arrived
            if node.hooks:
                raise _refused(f"a hook on the gradient of {node.name()}", "remove it")
            if look is not None:
                look(node, incoming)
            if only is not None and node not in only:
                continue
            for leaf in self._sent(node, incoming, received, take, owned, only, into):
                done(leaf)
            if not keep:
                node.release()
                self.made.pop(node, None)

    def _sent(
        self,
        node: Node,
        incoming: Sequence[Known | None],
        received: dict[Node, Any],
        take: Take,
        owned: set[Place],
        only: set[Node | Tensor] | None,
        into: bool,
    ) -> list[Tensor]:
        """Send a node's gradients on; return the leaves that somebody listens to."""
        leaves: list[Tensor] = []
        edges = edges_of(node)
        gradients = self._pulled(node, edges, incoming, only, into)
        for (_, source, index, shape, dtype), pulled in zip(edges, gradients, strict=True):
            if pulled is None:
                continue
            given = pulled is _UNUSED or pulled is _TAKEN
            g = pulled if given else self._fitted(pulled, shape, dtype)
            if type(source) is Node:
                if g is not _UNUSED:
                    self._give(received, source, index, g, owned)
                continue
            if source._hooks:
                raise _refused(f"a hook on {self.name_of(source)}", "remove it")
            if g is not _UNUSED and g is not _TAKEN:
                take(source, g)
            if source._listener is not None:
                leaves.append(source)
        return leaves

    def _pulled(
        self,
        node: Node,
        edges: Sequence[Edge],
        incoming: Sequence[Known | None],
        only: set[Node | Tensor] | None,
        into: bool,
    ) -> list[Any]:
        """Return the gradient along each edge: None where none is asked for."""
        if isinstance(node.joint, Unfold):
            raise _refused("checkpoint()", "memory is planned here: call the function itself")
        made = self.made.get(node)
        if made is None:
            raise _refused(
                f"the gradient of {node.name()}, which was computed outside of it or is a "
                f"Function of your own,",
                "compute all of the graph inside, and declare your own operation with @dg.op",
            )
        closures, raw = made
        wanted = tuple(e[0] is not None and (only is None or e[1] in only) for e in edges)
        gs = Tree(tuple(incoming), _as_value)
        arrays = [None if g is None else g[1] for g in incoming]
        found: list[Any] = [None] * len(edges)
        if not any(wanted):
            return found
        begun = perf_counter()
        with switched(grad_enabled, False):
            if type(raw) is Joint:
                asked = node.joint.args[0]  # type: ignore[union-attr]  # a partial of the function
                with self.paused():
                    results = raw.function(asked, *arrays)
                to = [self.value(results[i]) for i, w in enumerate(asked) if w]
                line: Line = PullAll(node.name(), closures, asked, gs, to)
                made_here = [results[i] for i, w in enumerate(asked) if w]
                self.add(line, *made_here, seconds=perf_counter() - begun)
                numbers = iter(to)
                for i, w in enumerate(asked):
                    number = next(numbers) if w else -1
                    if wanted[i]:
                        found[i] = _UNUSED if results[i] is None else (number, results[i])
                return found
            for i in range(len(edges)):
                if wanted[i]:
                    leaf = edges[i][1] if into and type(edges[i][1]) is not Node else None
                    found[i] = self._one(node, closures, raw, i, gs, arrays, leaf)
        return found

    def _one(
        self,
        node: Node,
        closures: int,
        raw: Any,
        i: int,
        gs: Tree,
        arrays: Sequence[Any],
        leaf: Tensor | None,
    ) -> Any:
        begun = perf_counter()
        only = type(raw) is not tuple
        if leaf is not None and not only and self._takes_out(leaf, raw[i], arrays):
            self.first_gradient(leaf, True)
            place = leaf._place
            assert place is not None
            with self.paused():
                raw[i](arrays[0], place.gradient)
                leaf.grad = output(place.gradient, None, 0)
            seconds = perf_counter() - begun
            into = PullInto(self.name_of(leaf), closures, i, gs.numbers[0], leaf)
            self.add(into, seconds=seconds)
            self.gradient_added(leaf)
            return _TAKEN
        with self.paused():
            g = raw(*arrays) if only else raw[i](*arrays)
        if g is None:
            return _UNUSED
        to = self.value(g)
        line = Pull(node.name(), closures, -1 if only else i, gs, to)
        self.add(line, g, seconds=perf_counter() - begun)
        return to, g

    def _fitted(self, g: Known, shape: Any, dtype: Any) -> Known:
        number, array = g
        if array.shape != shape:
            array = unbroadcast(array, shape)
            to = self.value(array)
            self.add(Fit(number, shape, to), array)
            number = to
        if array.dtype != dtype:
            real = array.dtype.kind == "c" and dtype.kind != "c"
            array = (np.real(array) if real else array).astype(dtype)
            to = self.value(array)
            self.add(Cast(number, dtype, real, to), array)
            number = to
        return number, array

    def _give(
        self, received: dict[Node, Any], node: Node, index: int, g: Known, owned: set[Place]
    ) -> None:
        single = node.outputs == 1
        slots = [received.get(node)] if single else received.setdefault(node, [None] * node.outputs)
        old = slots[index]
        if old is not None:
            g = self._sum(old, g, in_place=(node, index) in owned)
            owned.add((node, index))
        if single:
            received[node] = g
        else:
            slots[index] = g

    def _sum(self, old: Known, g: Known, *, in_place: bool) -> Known:
        total = np.add(old[1], g[1], out=old[1]) if in_place else np.asarray(np.add(old[1], g[1]))
        to = self.value() if in_place else self.value(total)
        self.add(Add(old[0], g[0], in_place, to), total)
        return to, total

    def _tensor(self, g: Known) -> Tensor:
        number, array = g
        tensor = output(array, None, 0)  # of a NumPy number it makes an array
        self.stands_for(held(tensor), number)
        return tensor

    def _accumulate(self, leaf: Tensor, g: Known) -> None:
        if self.known(held(leaf)) is not None and id(leaf) not in self.leaves:
            self._add_to_own(leaf, g)
            return
        with self.paused():
            first = leaf.grad is None
            self.first_gradient(leaf, first)
            accumulate(leaf, g[1])
        self.add(Accumulate(self.name_of(leaf), g[0], leaf, first))
        self.gradient_added(leaf)

    def first_gradient(self, leaf: Tensor, first: bool) -> None:
        """Note whether the step finds ``leaf`` without a gradient, if that is not its own doing."""
        if id(leaf) not in self.touched and all(leaf is not known for known, _ in self.had):
            self.had.append((leaf, first))

    def _takes_out(self, leaf: Tensor, vjp: Any, arrays: Sequence[Any]) -> bool:
        """Whether the gradient goes straight to its place, as ``engine`` has it."""
        free = leaf._place is not None and leaf.grad is None and not leaf._hooks
        return free and id(leaf) in self.leaves and len(arrays) == 1 and takes_out(vjp)

    def _add_to_own(self, leaf: Tensor, g: Known) -> None:
        """Add to the gradient of a leaf that the step has made: it ends with the step."""
        if id(leaf) in self.given:
            raise _refused(
                f"backward() to an argument, a Tensor of shape {leaf.shape}",
                "take its gradient with dg.autograd.grad(loss, x), or make the leaf inside: "
                "dg.tensor(x, requires_grad=True)",
            )
        with self.paused():
            old = None if leaf.grad is None else (self.number_of(leaf.grad), leaf.grad.array)
            accumulate(leaf, g[1])
            assert leaf.grad is not None
            array = leaf.grad.array
        number = g[0]
        if old is not None:
            number = self.value()
            self.add(Add(old[0], g[0], False, number), array)
        self.stands_for(array, number)

    leaves: dict[int, Tensor]
    given: Collection[int]


_UNUSED: Any = object()
"""In place of a gradient that a closure did not return: an output of several was not used."""
_TAKEN: Any = object()
"""In place of one that was written where it has to be."""


def _as_value(x: Any) -> Leaf | None:
    return Leaf(x[0], False) if type(x) is tuple and len(x) == 2 and type(x[0]) is int else None


def seed(root: Tensor, gradient: TensorLike | None, *weights: float) -> Tensor:
    """Return what a backward pass starts from, times the weights that listeners have named."""
    weight = 1.0
    for w in weights:
        weight *= w
    return seed_of(root, gradient, weight)


def _nobody(leaf: Tensor) -> None:
    """Nobody waits for it."""


def _refused(what: str, instead: str) -> CaptureError:
    return CaptureError(f"{users_line()}: a captured step cannot have {what}; {instead}")
