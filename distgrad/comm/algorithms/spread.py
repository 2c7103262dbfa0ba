"""Slices of an array that go from each rank to all others at once: one round, nothing in between.

Between nodes that have the array once, a slice goes to one rank of each node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from distgrad.comm.algorithms import hierarchical
from distgrad.comm.group import Group
from distgrad.comm.message import Array, Request, Steps


def all_gather(
    group: Group,
    array: Array,
    slices: Sequence[slice],
    *,
    once: bool,
    ready: Callable[[], None] | None = None,
) -> Steps:
    """Fill ``array`` with rank r's ``array[slices[r]]`` for all r.

    ``once`` says that the ranks of a node have the array in common, ``ready`` is called first.
    """
    rank, topology = group.rank, group.topology
    if ready is not None:
        ready()
    board = group.board if once else None
    if board is not None:
        yield board.free(group.number)
    if once:
        here = topology.node_of[rank]
        sources: Sequence[int] = topology.charges[rank]
        nodes = range(len(topology.nodes))
        targets = [topology.deputy(node, rank) for node in nodes if node != here]
    else:
        # Each rank starts with another one, so that no rank is sent to by all at once.
        sources = [(rank - shift) % group.size for shift in range(1, group.size)]
        targets = [(rank + shift) % group.size for shift in range(1, group.size)]
    requests: list[Request] = []
    for source in sources:
        requests += group.recv(array[slices[source]], source)
    for target in targets:
        requests += group.send(array[slices[rank]], target)
    yield requests
    if once:
        yield from hierarchical.finish_in_place(group)
