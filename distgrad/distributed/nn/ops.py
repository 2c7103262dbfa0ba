"""Collectives as operations: each one's gradient is the collective that goes the other way.

The loss is taken to be the sum of all ranks' losses. Arrays here are one rank's; ``group`` says
who takes part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.op import Op
from distgrad.autograd.types import Array
from distgrad.distributed.groups import ProcessGroup

Gradients = Callable[..., Any]


def _all_reduce(a: Array, *, group: ProcessGroup) -> tuple[Array, Gradients]:
    """The sum over all ranks; the gradient is the sum of all ranks' gradients."""
    return _summed(group, a, "all_reduce"), lambda g: _summed(group, g, _of("all_reduce"))


def _broadcast(a: Array, *, root: int, group: ProcessGroup) -> tuple[Array, Gradients]:
    """Rank ``root``'s array; the gradients of all ranks are added up there."""
    return _from_root(group, a, root, "broadcast"), lambda g: _to_root(
        group, g, root, _of("broadcast")
    )


def _reduce(a: Array, *, root: int, group: ProcessGroup) -> tuple[Array, Gradients]:
    """The sum over all ranks on rank ``root``, zeros elsewhere; its gradient is everyone's."""
    return _to_root(group, a, root, "reduce"), lambda g: _from_root(group, g, root, _of("reduce"))


def _all_gather(a: Array, *, group: ProcessGroup) -> tuple[tuple[Array, ...], Gradients]:
    """Every rank's array; each gets the sum of the gradients that all ranks have for it."""
    found = group.comm.all_gather_arrays(_rows(a), name="dist.nn all_gather")

    def vjp(*gs: Array | None) -> Array:
        return _sum_of_own(group, _filled(gs, found), _of("all_gather")).reshape(a.shape)

    return _like(a, found), vjp


def _gather(a: Array, *, root: int, group: ProcessGroup) -> tuple[tuple[Array, ...], Gradients]:
    """Every rank's array on rank ``root``, zeros elsewhere; its gradients go back to the ranks."""
    comm, rows = group.comm, _rows(a)
    found = comm.gather(rows, root, name="dist.nn gather")
    if found is None:
        found = [np.zeros_like(rows) for _ in range(comm.size)]

    def vjp(*gs: Array | None) -> Array:
        given = _filled(gs, found) if comm.rank == root else None
        return comm.scatter(given, root, name=_of("gather")).reshape(a.shape)

    return _like(a, found), vjp


def _scatter(*arrays: Array, root: int, group: ProcessGroup) -> tuple[Array, Joint]:
    """Array r of rank ``root``'s on each rank r; the root gets all ranks' gradients."""
    comm = group.comm
    given = arrays if comm.rank == root else None

    def vjp(wanted: tuple[bool, ...], g: Array) -> Sequence[Array]:
        found = comm.gather(g.reshape(-1), root, name=_of("scatter"))
        if found is None:
            return [np.zeros_like(a) for a in arrays]
        return [one.reshape(a.shape) for one, a in zip(found, arrays, strict=True)]

    return comm.scatter(given, root, name="dist.nn scatter"), Joint(vjp)


def _reduce_scatter(*arrays: Array, group: ProcessGroup) -> tuple[Array, Joint]:
    """The sum over all ranks of their array r on each rank r; its gradient is everyone's."""
    comm = group.comm

    def vjp(wanted: tuple[bool, ...], g: Array) -> Sequence[Array]:
        found = comm.all_gather_arrays(g.reshape(-1), name=_of("reduce_scatter"))
        return [one.reshape(a.shape) for one, a in zip(found, arrays, strict=True)]

    return _sum_of_own(group, arrays, "reduce_scatter"), Joint(vjp)


def _all_to_all(*arrays: Array, group: ProcessGroup) -> tuple[tuple[Array, ...], Joint]:
    """What each rank has for this one; its gradients go back to where it came from."""
    comm = group.comm
    found = comm.all_to_all([_rows(a) for a in arrays], name="dist.nn all_to_all")

    def vjp(wanted: tuple[bool, ...], *gs: Array | None) -> Sequence[Array]:
        back = comm.all_to_all(_filled(gs, found), name=_of("all_to_all"))
        return [one.reshape(a.shape) for one, a in zip(back, arrays, strict=True)]

    return _like(arrays[0], found), Joint(vjp)


def _extreme(a: Array, *, kind: str, group: ProcessGroup) -> tuple[Array, Gradients]:
    """The largest or smallest over all ranks; ranks that share it share its gradient."""
    comm, name = group.comm, f"all_reduce of {kind}"
    out = np.array(a, order="C")
    comm.all_reduce(out, op=kind, name=f"dist.nn {name}")
    mine = a == out

    def vjp(g: Array) -> Array:
        ties = _summed(group, mine.astype(g.dtype), _of(name))
        share: Array = _summed(group, g, _of(name)) * mine / np.maximum(ties, 1)
        return share

    return out, vjp


def _product(a: Array, *, group: ProcessGroup) -> tuple[Array, Gradients]:
    """The product over all ranks; the gradient is times the product of the others."""
    comm, name = group.comm, "all_reduce of prod"
    out = np.array(a, order="C")
    comm.all_reduce(out, op="prod", name=f"dist.nn {name}")

    def vjp(g: Array) -> Array:
        found = comm.all_gather_arrays(_rows(a), name=_of(name))
        others = [one.reshape(a.shape) for r, one in enumerate(found) if r != comm.rank]
        # Not out / a: one of them may be zero.
        return _summed(group, g, _of(name)) * math.prod(others)

    return out, vjp


def _only(a: Array, *, here: bool) -> tuple[Array, Gradients]:
    """The array where ``here``, zeros elsewhere."""
    return (a if here else np.zeros_like(a)), lambda g: g if here else np.zeros_like(g)


def _named(function: Callable[..., tuple[Any, Any]]) -> Op:
    function.__name__ = function.__name__.strip("_")
    return Op(function, ("... -> ...",), None, (-2.0, 2.0), second_order=False)


all_reduce = _named(_all_reduce)
broadcast = _named(_broadcast)
reduce = _named(_reduce)
all_gather = _named(_all_gather)
gather = _named(_gather)
scatter = _named(_scatter)
reduce_scatter = _named(_reduce_scatter)
all_to_all = _named(_all_to_all)
extreme = _named(_extreme)
product = _named(_product)
only = _named(_only)


# -- helpers --------------------------------------------------------------------------------------


def _of(name: str) -> str:
    return f"gradient of dist.nn {name}"


def _summed(group: ProcessGroup, a: Array, name: str) -> Array:
    out = np.array(a, order="C")
    group.comm.all_reduce(out, canonical=group.canonical, name=name)
    return out


def _from_root(group: ProcessGroup, a: Array, root: int, name: str) -> Array:
    out = np.array(a, order="C")
    group.comm.broadcast(out, root, name=name)
    return out


def _to_root(group: ProcessGroup, a: Array, root: int, name: str) -> Array:
    out = np.array(a, order="C")
    group.comm.reduce(out, root, name=name)
    return out if group.comm.rank == root else np.zeros_like(out)


def _sum_of_own(group: ProcessGroup, arrays: Sequence[Array], name: str) -> Array:
    """Return the sum over all ranks of their array for this one."""
    flat = np.concatenate([a.reshape(-1) for a in arrays])
    slices = [slice(*ends) for ends in pairwise(accumulate((a.size for a in arrays), initial=0))]
    own = group.comm.reduce_scatter(flat, slices=slices, canonical=group.canonical, name=name)
    return own.reshape(arrays[group.comm.rank].shape)


def _rows(a: Array) -> Array:
    return a if a.ndim else a.reshape(1)


def _like(a: Array, found: Sequence[Array]) -> tuple[Array, ...]:
    return tuple(found) if a.ndim else tuple(one.reshape(()) for one in found)


def _filled(gs: Sequence[Array | None], found: Sequence[Array]) -> list[Array]:
    """Return the gradients, zeros where there is none, in the shapes of what was found."""
    pairs = zip(gs, found, strict=True)
    return [
        np.zeros_like(f) if g is None else np.asarray(g, f.dtype).reshape(f.shape) for g, f in pairs
    ]
