"""How the ranks of a node come to share memory: one makes it, the others open it, all or none.

Where it cannot be had (a small /dev/shm, say) every rank is told so, and messages take over.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Sequence

from distgrad.comm import shared_memory
from distgrad.comm.algorithms import basic
from distgrad.comm.board import Board, size_of
from distgrad.comm.group import Group
from distgrad.comm.message import Request, Steps
from distgrad.comm.node import Node, SharedArray, Spec, bytes_for, cut_arrays
from distgrad.comm.topology import Topology

Telling = Generator[Sequence[Request], None, list[str]]


def meet(group: Group, node: Node) -> Steps:
    """Find out which ranks share memory, and give each node of several its board."""
    transport = group.transport
    places = yield from _tell(group, transport.place)
    topology = Topology.of(places)
    if not topology.shares:
        return

    def use(memory: memoryview) -> None:
        node.topology = topology
        ranks = _own(topology, group.rank)
        if len(ranks) > 1:
            node.board = Board(memory, ranks, group.rank, transport.signal, spins=transport.spins)

    yield from _share(group, topology, size_of, use)


def make_arrays(
    group: Group, specs: Sequence[Spec], found: list[SharedArray], *, once: bool = False
) -> Steps:
    """Append the arrays of ``specs`` to ``found``; nothing where there is no memory for them.

    Every rank has arrays of its own, or (``once``) all of a node the same.
    """
    node = group.node
    ranks = _own(node.topology, group.rank)
    one = ranks[:1]

    def use(memory: memoryview) -> None:
        if once:
            found.extend(cut_arrays(memory, one, one[0], specs))
            return
        found.extend(cut_arrays(memory, ranks, group.rank, specs))
        for shared in found:
            node.keep(shared)

    nbytes: Callable[[int], int] = lambda n: bytes_for(1 if once else n, specs)  # noqa: E731
    yield from _share(group, node.topology, nbytes, use)


def _share(
    group: Group,
    topology: Topology,
    nbytes: Callable[[int], int],
    use: Callable[[memoryview], None],
) -> Steps:
    """Let ``use`` have memory of ``nbytes(ranks of the node)`` bytes if every node has it."""
    transport, ranks = group.transport, _own(topology, group.rank)
    size, alone = nbytes(len(ranks)), len(ranks) == 1
    leads = ranks[0] == group.rank and not alone
    memory, name, fault = shared_memory.alone(size) if alone else memoryview(b""), "", ""
    if leads:
        name = shared_memory.new_name()
        try:
            memory = transport.create_memory(name, size)
        except OSError as error:
            name, fault = "", _fault(group, size, error)
    told = yield from _tell(group, f"{name}\n{fault}")
    created = told[ranks[0]].partition("\n")[0]
    if created and not leads:
        try:
            memory = transport.attach_memory(created, size)
        except OSError as error:
            fault = _fault(group, size, error)
    opened = yield from _tell(group, f"\n{fault}")
    if leads and name:
        transport.unlink_memory(name)
    faults = [text.partition("\n")[2] for text in (*told, *opened)]
    wrong = next((text for text in faults if text), "")
    if not wrong:
        use(memory)
    elif group.rank == 0:
        warnings.warn(
            f"{wrong}; the ranks of a node exchange messages instead, which is slower. Give the "
            "container or the node a larger /dev/shm (docker run --shm-size=1g)",
            RuntimeWarning,
            stacklevel=2,
        )


def _fault(group: Group, nbytes: int, error: OSError) -> str:
    return (
        f"{group.transport.state.label} on {group.transport.host}: {nbytes / 2**20:.1f} MiB of "
        f"shared memory cannot be had ({error})"
    )


def _own(topology: Topology, rank: int) -> tuple[int, ...]:
    return topology.nodes[topology.node_of[rank]]


def _tell(group: Group, text: str) -> Telling:
    result: list[bytes] = []
    yield from basic.all_gather_bytes(group, text.encode(), result)
    return [data.decode() for data in result]
