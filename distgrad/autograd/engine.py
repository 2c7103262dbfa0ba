"""What a backward pass is for: ``backward`` fills ``grad`` of the leaves, ``grad`` returns it.

Knows no op by name, and nothing of the wire: it tells a leaf's listener when its gradient is final.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, overload

import numpy as np

from distgrad.autograd.hooks import apply_hooks, run_afterwards
from distgrad.autograd.methods.calls import METHODS
from distgrad.autograd.tensor import GradListener, Tensor, TensorLike, output
from distgrad.autograd.types import Array
from distgrad.autograd.walk import Gathered, Received, Walk, as_tensor, leading_to, reach, start
from distgrad.errors import GradError, ShapeError

_ndarray, _add, _getrefcount = np.ndarray, np.add, sys.getrefcount


def backward(
    root: Tensor,
    gradient: TensorLike | None = None,
    *,
    retain_graph: bool = False,
    create_graph: bool = False,
) -> None:
    """Add the gradient of ``root`` to ``grad`` of its leaves (see ``Tensor.backward``)."""
    if root._node is None and root.requires_grad:
        root.accumulate_(_hooked(root, _seed(root, gradient, 1.0)))
        run_afterwards(root)
        return
    nodes, consumers = reach([root])
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
    seed, node = _seed(root, gradient, weight), root._node
    if node is not None and node.outputs == 1 and not create_graph:
        received: Received = {node: seed.array}  # what ``start`` does, without looking
    else:
        received = start([root], [seed], create_graph)
    leaves = _Leaves(consumers)
    Walk(received, leaves, create_graph, retain_graph or create_graph).run(nodes)
    if leaves.waiting is not None:
        leaves.finish()
    for listener in listeners:
        listener.backward_finished()


METHODS["backward"] = backward  # what Tensor.backward calls; the Tensor knows no engine


class _Leaves:
    """Fills ``grad`` of the leaves and says when one is final."""

    def __init__(self, consumers: dict[Tensor, int]) -> None:
        self._consumers = consumers
        self.waiting: Gathered | None = None
        """What leaves with hooks have received: they are shown the whole gradient."""

    def add(self, leaf: Tensor, g: Array | Tensor) -> None:
        total = leaf.grad
        if leaf._hooks:
            if self.waiting is None:
                self.waiting = Gathered()
            self.waiting.add(leaf, g)
        elif total is not None and total._node is None and type(g) is _ndarray:
            _add(total.array, g, total.array)  # the short way of ``accumulate_``
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


def _count() -> int:
    g = np.empty(1)
    return _Leaves({}).references(None, g)


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
    seeds = [_seed(r, g, 1.0) for r, g in zip(roots, given, strict=True)]
    nodes, _ = reach(roots)
    watch = {(x._node, x._index): x for x in wanted if x._node is not None}
    leaves = {x for x in wanted if x._node is None}
    found = Gathered(leaves)
    for root, seed in zip(roots, seeds, strict=True):
        if root._node is None:
            found.add(root, seed)
    walk = Walk(
        start(roots, seeds, create_graph),
        found,
        create_graph=create_graph,
        keep=retain_graph or create_graph,
        only=leading_to(nodes, {*leaves, *(node for node, _ in watch)}),
        watch=watch,
    )
    walk.run(nodes)
    results: list[Tensor | None] = []
    for x in wanted:
        if x._node is not None:
            results.append(walk.seen.get(watch[x._node, x._index]))
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


def _listeners(leaves: Iterable[Tensor]) -> list[GradListener]:
    found: dict[int, GradListener] = {}
    for leaf in leaves:  # a leaf that is listened to is rare: nothing else happens here
        if leaf._listener is not None:
            found[id(leaf._listener)] = leaf._listener
    return list(found.values())


def _seed(root: Tensor, gradient: TensorLike | None, weight: float) -> Tensor:
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
