"""Collectives as generators over a group; the table below is the only list of all-reduces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from distgrad.comm.algorithms import hierarchical, native, ring, shared, tree
from distgrad.comm.canonical import Part, Plan
from distgrad.comm.group import Group
from distgrad.comm.message import Array, Steps
from distgrad.comm.topology import Topology
from distgrad.comm.transport import Transport


@dataclass(frozen=True)
class Algorithm:
    """A way to sum arrays over all ranks, in place, with the same bits on every rank."""

    steps: Callable[[Group, Array], Steps]
    """Sums a flat array of every rank."""
    sum_parts: Callable[[Group, Sequence[Part], Array, Plan], Steps] | None = None
    """Sums all ranks' parts in the canonical order; None where the order is another one."""
    reduce_parts: Callable[[Group, Sequence[Part], Array, Plan, Sequence[slice]], Steps] | None = (
        None
    )
    """The same for one slice a rank, the rest of the array being overwritten."""
    reduce_scatter: Callable[[Group, Array, Sequence[slice]], Steps] | None = None
    """Sums one slice a rank of a flat array of every rank, where the order is another one."""
    left_only: bool = False
    """Whether a rank receives from its left neighbour alone, whose fingerprint is then enough."""
    quick: bool = False
    """Whether ``comm.quick`` is its short way inside a node."""
    missing: Callable[[Transport], str] | None = None
    """Says what it needs that a world lacks ("" if nothing); None: it runs in every world."""

    @property
    def canonical(self) -> bool:
        """Whether its sums have the same bits on any number of ranks."""
        return self.sum_parts is not None


ALL_REDUCE = {
    "ring": Algorithm(ring.all_reduce, reduce_scatter=ring.reduce_scatter, left_only=True),
    "tree": Algorithm(tree.all_reduce, tree.sum_parts, tree.reduce_parts),
    "shared": Algorithm(
        hierarchical.all_reduce,
        hierarchical.sum_parts,
        hierarchical.reduce_parts,
        quick=True,
        missing=shared.missing,
    ),
    "hierarchical": Algorithm(
        hierarchical.all_reduce, hierarchical.sum_parts, hierarchical.reduce_parts, quick=True
    ),
    "native": Algorithm(native.all_reduce, missing=native.missing),
}

AUTO = "auto"
"""Not one of them, but the choice among them: see ``choose``."""


def choose(topology: Topology, canonical: bool) -> str:
    """Return the all-reduce for ranks that share memory so, the same on every rank.

    ``canonical`` asks for the same bits on any number of ranks. Where it is not, ranks on nodes of
    their own take the ring, whose order of sums depends on their number.
    """
    if topology.shares:
        return "shared" if topology.one_node else "hierarchical"
    return "tree" if canonical else "ring"


__all__ = ["ALL_REDUCE", "AUTO", "Algorithm", "choose"]
