"""What a backward pass is for: ``backward`` fills ``grad`` of the leaves, ``grad`` returns it.

Knows no op by name, and nothing of the wire: it tells a leaf's listener when its gradient is final.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType
from typing import Any, overload

import numpy as np

from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.hooks import apply_hooks, run_afterwards
from distgrad.autograd.methods.calls import METHODS
from distgrad.autograd.mode import recorder
from distgrad.autograd.tensor import GradListener, Tensor, TensorLike, output
from distgrad.autograd.types import Array
from distgrad.autograd.walk import (
    Gathered,
    Received,
    Walk,
    as_tensor,
    leading_to,
    reach,
    start,
    traced,
)
from distgrad.errors import GradError, ShapeError
from distgrad.tracing import tracer

_listening = tracer.get
_listener: Callable[[Tensor], GradListener | None] = Tensor.__dict__["_listener"].__get__
_ndarray, _add, _getrefcount = np.ndarray, np.add, sys.getrefcount


def backward(
    root: Tensor,
    gradient: TensorLike | None = None,
    *,
    retain_graph: bool = False,
    create_graph: bool = False,
) -> None:
    """Add the gradient of ``root`` to ``grad`` of its leaves (see ``Tensor.backward``)."""
    if (recording := recorder()) is not None:
        recording.backward(root, gradient, keep=retain_graph, create_graph=create_graph)
        return
    if root._node is None and root.requires_grad:
        root.accumulate_(_hooked(root, seed_of(root, gradient, 1.0)))
        run_afterwards(root)
        return
    nodes, consumers = reach([root])
    if len(nodes) > _DEEP:
        spare_collector(len(nodes))
    listeners = listeners_of(consumers)
    weight, early = 1.0, False
    for listener in listeners:
        if create_graph:
            raise GradError(
                "backward(create_graph=True) reaches parameters whose gradients are reduced over "
                "ranks; use distgrad.autograd.grad for the inner derivative and call a plain "
                "backward() on the outer loss"
            )
        weight *= listener.backward_started()
        early |= listener.early
    seed, node = seed_of(root, gradient, weight), root._node
    if node is not None and node.outputs == 1 and not create_graph:
        received: Received = {node: seed.array}  # what ``start`` does, without looking
    else:
        received = start([root], [seed], create_graph)
    leaves = _Leaves(consumers, listeners)
    timeline = _listening()
    followed = nodes if timeline is None else timeline.walking(nodes)
    keep = retain_graph or create_graph
    Walk(received, leaves, create_graph, keep, early=early).run(followed)
    if leaves.waiting is not None:
        leaves.finish()
    for listener in listeners:
        listener.backward_finished()


_DEEP = 2000  # nodes of a graph that the garbage collector's passes are felt in
_OBJECTS = 8  # that it looks at, of a recorded operation


def spare_collector(nodes: int) -> None:
    """Let Python's garbage collector begin later than in the middle of such a graph.

    It goes over all objects again and again while a graph grows, and finds nothing: with 100,000
    recorded operations that is half of the time. A collector that was turned off stays so.
    """
    youngest, *older = gc.get_threshold()
    if 0 < youngest < _OBJECTS * nodes:
        gc.set_threshold(_OBJECTS * nodes, *older)


METHODS["backward"] = backward  # what Tensor.backward calls; the Tensor knows no engine


class _Leaves:
    """Fills ``grad`` of the leaves and says when one is final."""

    def __init__(self, consumers: dict[Tensor, int], listeners: Sequence[GradListener]) -> None:
        self._consumers, self._listeners = consumers, listeners
        self.waiting: Gathered | None = None
        """What leaves with hooks have received: they are shown the whole gradient."""

    def pull(self, vjp: Any, g: Any, leaf: Tensor) -> Any:
        place = leaf._place
        if place is None or leaf.grad is not None or leaf._hooks or not takes_out(vjp):
            return vjp(g)
        # Written where it has to be: a copy of a large gradient costs as much as moving by it.
        return vjp(g, place.gradient)

    def add(self, leaf: Tensor, g: Array | Tensor) -> None:
        total = leaf.grad
        if leaf._hooks:
            if self.waiting is None:
                self.waiting = Gathered()
            self.waiting.add(leaf, g)
        elif total is not None and total._node is None and type(g) is _ndarray:
            _add(total.array, g, total.array)  # the short way of ``accumulate_``
        elif total is None and leaf._place is not None and g is leaf._place.gradient:
            leaf.grad = output(g, None, 0)
        elif (
            total is None
            and type(g) is _ndarray
            and leaf._place is None
            and _getrefcount(g) == _ALONE
            and _is_whole(g)
        ):
            leaf.grad = output(g, None, 0)  # nobody else has it: no copy
        else:
            leaf.accumulate_(as_tensor(g))

    def poll(self) -> None:
        for listener in self._listeners:
            listener.poll()

    def finish(self) -> None:
        """Hand over what waits for a consumer that received nothing itself."""
        for leaf in list(self.waiting or ()):
            self._hand_over(leaf)

    def references(self, _: Any, g: Array) -> int:
        """Count those to an array that the walk alone has, where ``add`` looks at them."""
        return _getrefcount(g)

    def done(self, leaf: Tensor) -> None:
        left = self._consumers[leaf] = self._consumers[leaf] - 1
        if left == 0:
            if self.waiting is not None and leaf in self.waiting:
                self._hand_over(leaf)
            if leaf._listener is not None:
                leaf._listener.grad_ready(leaf)

    def _hand_over(self, leaf: Tensor) -> None:
        assert self.waiting is not None
        leaf.accumulate_(_hooked(leaf, self.waiting.pop(leaf)))
        run_afterwards(leaf)


def takes_out(vjp: Any) -> bool:
    """Whether a closure is of the form ``lambda g, out=None``: ``out`` is an array to write to."""
    return type(vjp) is FunctionType and vjp.__defaults__ == _OUT


_OUT = (None,)


def _count() -> int:
    g = np.empty(1)
    return _Leaves({}, []).references(None, g)


_ALONE = _count()
"""The references to a gradient that only the walk and ``_Leaves.add`` hold (of CPython)."""


def _is_whole(g: Array) -> bool:
    """Whether the memory of ``g`` is all its own: nothing else can see it, nothing is wasted."""
    base = g.base
    if base is None:
        return g.flags.writeable
    # A reshaped or transposed array, the only view of it: g holds it, ``base`` and the call.
    return (
        type(base) is _ndarray
        and base.base is None
        and base.nbytes == g.nbytes
        and base.flags.owndata
        and g.flags.writeable
        and _getrefcount(base) == _OF_A_BASE
    )


def _count_of_base() -> int:
    base = np.empty((1, 1)).reshape(-1).base
    return _getrefcount(base)


_OF_A_BASE = _count_of_base() + 1  # there the view is gone already


@overload
def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor,
    *,
    gradient: Any = None,
    retain_graph: bool = False,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> list[Tensor]: ...


@overload
def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Sequence[Tensor],
    *,
    gradient: Any = None,
    retain_graph: bool = False,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> list[Any]: ...


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    *,
    gradient: Any = None,
    retain_graph: bool = False,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> list[Any]:
    """Return the gradients of ``outputs`` (their sum) to each of ``inputs``, leaving ``.grad`` be.

    ``gradient`` is one for a single output, a sequence for several. With ``create_graph`` the
    results are recorded and can be differentiated again. What does not lead to ``inputs`` is not
    computed, and keeps its graph. Errors: GradError if an input was not used, unless
    ``allow_unused`` (then None stands there).
    """
    roots = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    wanted = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    given = (
        [gradient]
        if isinstance(outputs, Tensor)
        else ([None] * len(roots) if gradient is None else list(gradient))
    )
    seeds = [seed_of(r, g, 1.0) for r, g in zip(roots, given, strict=True)]
    nodes, _ = reach(roots)
    watch = {(x._node, x._index): x for x in wanted if x._node is not None}
    leaves = {x for x in wanted if x._node is None}
    found = Gathered(leaves)
    for root, seed in zip(roots, seeds, strict=True):
        if root._node is None:
            found.add(root, seed)
    only = leading_to(nodes, {*leaves, *(node for node, _ in watch)})
    recording = None if create_graph else recorder()
    if recording is None:
        received = start(roots, seeds, create_graph)
        keep = retain_graph or create_graph
        walk = Walk(received, found, create_graph=create_graph, keep=keep, only=only, watch=watch)
        walk.run(traced(nodes))
        seen = walk.seen
    else:
        seen = recording.grad(nodes, roots, seeds, found, only, watch, keep=retain_graph)
    results: list[Tensor | None] = []
    for x in wanted:
        if x._node is not None:
            results.append(seen.get(watch[x._node, x._index]))
        else:
            results.append(_hooked(x, found[x]) if x in found else None)
    unused = [i for i, r in enumerate(results) if r is None]
    if unused and not allow_unused:
        raise GradError(
            f"inputs {unused} were not used to compute the output; pass allow_unused=True to get "
            f"None for them"
        )
    return results


def _hooked(leaf: Tensor, gradient: Tensor) -> Tensor:
    return apply_hooks(leaf._hooks, gradient) if leaf._hooks else gradient


def listeners_of(leaves: Iterable[Tensor]) -> list[GradListener]:
    """Return who listens to any of ``leaves``."""
    # Leaves are many, and as a rule one listens to all of them, or nobody: no loop of Python's.
    found = dict.fromkeys(map(_listener, leaves))
    found.pop(None, None)
    return list(found)  # type: ignore[arg-type]


@apart
@keeps_form
def seed_of(root: Tensor, gradient: TensorLike | None, weight: float) -> Tensor:
    """Return the gradient that a backward pass starts from, times ``weight``."""
    if isinstance(gradient, Tensor) and weight == 1.0:  # the common case
        a, b = root.array, gradient.array
        if a.shape == b.shape and a.dtype == b.dtype:
            return gradient
    if gradient is None:
        if root.size != 1:
            raise GradError(
                f"backward() without a gradient needs a single number; this tensor has shape "
                f"{root.shape}: reduce it (.mean(), .sum()) or pass gradient="
            )
        if root.dtype.kind == "c":
            raise GradError(
                "backward() without a gradient needs a real number; this one is complex: take "
                "np.real(…) or np.abs(…) of it, or pass gradient="
            )
        return Tensor(np.full(root.shape, weight, dtype=root.dtype))
    seed = gradient if isinstance(gradient, Tensor) else Tensor(np.asarray(gradient, root.dtype))
    if seed.shape != root.shape:
        raise ShapeError(f"gradient has shape {seed.shape}, the tensor {root.shape}; make it equal")
    if seed.dtype != root.dtype:
        seed = seed.astype(root.dtype)
    return seed if weight == 1.0 else Tensor((seed.array * weight).astype(root.dtype))
