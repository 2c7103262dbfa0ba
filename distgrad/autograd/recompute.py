"""Activation checkpointing: forget what a stretch of the forward pass made, and make it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.mode import (
    fused_enabled,
    grad_enabled,
    recomputing,
    switched,
    watching,
)
from distgrad.autograd.node import Edge, Joint, Node, Unfold, next_number
from distgrad.autograd.op import alias
from distgrad.autograd.record import edges_from
from distgrad.autograd.rerun import edges_of
from distgrad.autograd.saved_check import check_held, saved_tensors
from distgrad.autograd.stream import at_position, position
from distgrad.autograd.tensor import Tensor, output
from distgrad.autograd.types import Array
from distgrad.autograd.walk import Gathered, Walk, as_tensor, give, reach, start, traced
from distgrad.errors import GradError


def checkpoint(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return ``function(*args, **kwargs)``, keeping only its inputs for backward.

    Backward runs ``function`` again, with the same random numbers (dropout) and the same kernels,
    so that its gradients have the same bits as without; running statistics are observed once.
    ``function`` returns a Tensor or a tuple of Tensors, and may use parameters and tensors from
    outside its arguments. Memory for time: Chen et al. 2016, PyTorch's torch.utils.checkpoint.
    Errors: GradError if the second run computes other shapes.
    """
    if not grad_enabled.get():
        return function(*args, **kwargs)
    stretch = _Stretch(function, args, kwargs)
    values, node = stretch.first_run()
    outs = [output(v, node if i in stretch.recorded else None, i) for i, v in enumerate(values)]
    return tuple(outs) if stretch.several else outs[0]


def checkpoint_sequential(functions: Sequence[Callable[[Any], Any]], segments: int, x: Any) -> Any:
    """Apply ``functions`` one after the other, in ``segments`` checkpointed stretches.

    Errors: GradError for more segments than functions, or none.
    """
    count = len(functions)
    if not 1 <= segments <= count:
        raise GradError(f"segments={segments} must be from 1 to {count}, the number of functions")
    for s in range(segments):
        part = functions[s * count // segments : (s + 1) * count // segments]
        x = checkpoint(_chain, tuple(part), x)
    return x


def _chain(functions: Sequence[Callable[[Any], Any]], x: Any) -> Any:
    for function in functions:
        x = function(x)
    return x


class _Stretch:
    """One checkpointed call, which its node has for an op."""

    name = "checkpoint"
    second_order = True
    view = False
    home = None

    def __init__(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> None:
        self._call, self._args, self._kwargs = function, args, kwargs
        # Which arguments are differentiated.
        self._where = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
        self._position = position()
        self._fused = fused_enabled.get()
        self.inputs: list[str] = []
        self.node: Node | None = None
        self.several = False
        self.recorded: set[int] = set()
        self._outside: list[Tensor] = []
        self._shapes: list[tuple[int, ...]] = []

    def first_run(self) -> tuple[list[Array], Node | None]:
        """Run forward; return the values of the outputs, and the node if there is a way back."""
        given = [self._args[i] for i in self._where]
        fresh = [Tensor(x.array, requires_grad=True) for x in given]
        floor = next_number()
        outs = self._run(fresh)
        self.recorded = {i for i, o in enumerate(outs) if o.requires_grad}
        self._shapes = [o.shape for o in outs]
        values = [o.array for o in outs]
        if not self.recorded:
            return values, None
        # What the stretch uses besides its arguments: leaves, and tensors computed before it.
        nodes, consumers = reach([outs[i] for i in self.recorded], floor)
        leaves = [leaf for leaf in consumers if leaf not in set(fresh)]
        self._outside = [*leaves, *_computed_before(outs, nodes, floor)]
        self.inputs = [f"argument {i}" for i in self._where] + ["outside"] * len(self._outside)
        edges, _ = edges_from([*given, *self._outside], Joint(_never))
        read = [x for x in [*given, *leaves] if isinstance(x, Tensor)]
        watch = watching.get()
        saved = saved_tensors(read, entire=watch is not None and watch.entire)
        node = Node(self, edges, _Again(self), {}, len(outs), saved)
        self.node = node
        return values, node

    def again(self) -> tuple[list[Tensor], list[Tensor], int]:
        """Run forward once more: (fresh arguments, outputs, number before the first node)."""
        fresh = [Tensor(self._args[i].array, requires_grad=True) for i in self._where]
        floor = next_number()
        with (
            at_position(self._position),
            switched(grad_enabled, True),
            switched(fused_enabled, self._fused),
            switched(recomputing, True),
        ):
            return fresh, self._run(fresh), floor

    def function(self, *inputs: Any) -> tuple[Any, Any]:
        """Run on recorded Tensors, for gradients of gradients."""
        fresh = [alias(x) for x in inputs[: len(self._where)]]
        floor = next_number()  # the walk stops at the aliases
        with at_position(self._position), switched(recomputing, True):
            outs = self._run(fresh)

        def joint(wanted: Sequence[bool], *gs: Any) -> list[Any]:
            return self._pull(fresh, outs, gs, floor)

        return tuple(outs) if len(outs) > 1 else outs[0], Joint(joint)

    def _run(self, fresh: Sequence[Tensor]) -> list[Tensor]:
        args = list(self._args)
        for i, x in zip(self._where, fresh, strict=True):
            args[i] = x
        result = self._call(*args, **self._kwargs)
        self.several = isinstance(result, tuple)
        outs = list(result) if isinstance(result, tuple) else [result]
        wrong = next((o for o in outs if not isinstance(o, Tensor)), None)
        if wrong is not None or not outs:
            raise GradError(
                f"checkpoint: the function returned {type(wrong).__name__}; it must return a "
                f"Tensor or a tuple of Tensors"
            )
        if self._shapes and [o.shape for o in outs] != self._shapes:
            raise GradError(
                f"checkpoint: run again, the function computed shapes {[o.shape for o in outs]}, "
                f"at first {self._shapes}; it must depend on its inputs alone"
            )
        return outs

    def _pull(
        self,
        fresh: Sequence[Tensor],
        outs: Sequence[Tensor],
        gs: Sequence[Array | Tensor | None],
        floor: int,
    ) -> list[Tensor | None]:
        """Return recorded gradients to the arguments and to what lies outside."""
        roots, seeds = _paired(outs, gs)
        nodes, _ = reach(roots, floor)
        found = Gathered()
        walk = Walk(start(roots, seeds, True), found, create_graph=True, keep=True)
        walk.run(nodes)
        for x in [*fresh, *self._outside]:
            if x._node is not None and x._node in walk.received:
                arrived = walk.received[x._node]
                found[x] = arrived[x._index] if x._node.outputs > 1 else arrived
        return [found.get(x) for x in [*fresh, *self._outside]]


class _Again(Unfold):
    """The way back through a stretch: run it again, then walk it as if it had been kept.

    Gradients are added up in the same order as without the checkpoint, so they have the same bits.
    """

    def __init__(self, stretch: _Stretch) -> None:
        self._stretch = stretch

    def run(
        self, incoming: Sequence[Array | Tensor | None], edges: Sequence[Edge], into: Walk
    ) -> None:
        """Walk the stretch's nodes as a part of ``into``."""
        if self._stretch.node is not None:
            check_held(self._stretch.node)
        fresh, outs, floor = self._stretch.again()
        roots, seeds = _paired(outs, incoming)
        sink = _Through(dict(zip(fresh, edges, strict=False)), into)
        for root, seed in zip(roots, seeds, strict=True):
            if root._node is None:
                sink.add(root, seed.array)
        nodes, _ = reach(roots, floor)
        start(roots, seeds, False, into.received)
        inner = Walk(into.received, sink, early=into.early)
        inner.owned = into.owned
        inner.run(traced(nodes))
        for _, source, _, _, _ in edges:
            if isinstance(source, Tensor):
                into.sink.done(source)


class _Through:
    """Hands gradients to a stretch's arguments on to where these came from."""

    def __init__(self, edges: dict[Tensor, Edge], into: Walk) -> None:
        self._edges, self._into = edges, into

    def add(self, leaf: Tensor, g: Array | Tensor) -> None:
        """Pass a gradient on: to the argument's source, or to the leaf itself."""
        _, source, index, _, _ = self._edges.get(leaf, (None, leaf, 0, None, None))
        if isinstance(source, Tensor):
            self._into.sink.add(source, g)
        else:
            give(self._into.received, source, index, g, self._into.owned)

    def pull(self, vjp: Any, g: Any, leaf: Tensor) -> Any:
        """Return ``vjp(g)``, written where it has to be if ``leaf`` is none of the arguments."""
        return vjp(g) if leaf in self._edges else self._into.sink.pull(vjp, g, leaf)

    def done(self, leaf: Tensor) -> None:
        """The stretch says so itself, at its end."""

    def poll(self) -> None:
        """Pass it on."""
        self._into.sink.poll()


def _paired(
    outs: Sequence[Tensor], gs: Sequence[Array | Tensor | None]
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the outputs that have received a gradient, and these gradients."""
    pairs = [
        (o, as_tensor(g))
        for o, g in zip(outs, gs, strict=True)
        if g is not None and o.requires_grad
    ]
    return [o for o, _ in pairs], [g for _, g in pairs]


def _never(*_: Any) -> Any:
    raise AssertionError("the node's way back is _Again")


def _computed_before(outs: Sequence[Tensor], nodes: Sequence[Node], floor: int) -> Iterator[Tensor]:
    """Yield stand-ins for what a stretch took from nodes recorded before ``floor``, or returns."""
    seen = set()
    for out in outs:
        source, index = out._node, out._index
        if source is not None and source.sequence < floor and (source, index) not in seen:
            seen.add((source, index))
            yield output(out.array, source, index)
    for node in nodes:
        for vjp, source, index, shape, dtype in edges_of(node):
            if (
                vjp is not None
                and isinstance(source, Node)
                and source.sequence < floor
                and (source, index) not in seen
            ):
                seen.add((source, index))
                yield output(np.broadcast_to(np.zeros((), dtype), shape), source, index)
