"""Which ranks share a node's memory: data that algorithms read, so that none asks where it runs.

Ranks that cannot share (other hosts, containers, users) are nodes of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from distgrad.comm.canonical import Plan


@dataclass(frozen=True, eq=False)  # a key by identity: it may have thousands of ranks
class Topology:
    """The nodes of a group of ranks: ``nodes[i]`` are the ranks of node i, ascending."""

    nodes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, places: Sequence[str]) -> Topology:
        """Group ranks by the name of the memory they can share; an empty name shares nothing."""
        members: dict[object, list[int]] = {}
        for rank, place in enumerate(places):
            members.setdefault(place or rank, []).append(rank)
        return cls(tuple(tuple(ranks) for ranks in members.values()))

    @cached_property
    def node_of(self) -> tuple[int, ...]:
        """The number of each rank's node."""
        found = {rank: i for i, ranks in enumerate(self.nodes) for rank in ranks}
        return tuple(found[rank] for rank in range(len(found)))

    @property
    def one_node(self) -> bool:
        """Whether all ranks share one memory."""
        return len(self.nodes) == 1

    @property
    def shares(self) -> bool:
        """Whether any two ranks share memory."""
        return any(len(ranks) > 1 for ranks in self.nodes)

    def deputy(self, node: int, rank: int) -> int:
        """Return the rank of ``node`` that handles what belongs to ``rank``: itself on its own.

        The ranks of a node divide another node's among them in order: the first takes the first.
        """
        home = self.nodes[self.node_of[rank]]
        ranks = self.nodes[node]
        return ranks[home.index(rank) * len(ranks) // len(home)]

    @cached_property
    def charges(self) -> tuple[tuple[int, ...], ...]:
        """For each rank, the ranks of other nodes whose deputy it is, the next ones first.

        Each rank starts with another one, so that no rank is sent to by all at once.
        """
        size = len(self.node_of)
        turns = [[(r + shift) % size for shift in range(1, size)] for r in range(size)]
        return tuple(
            tuple(
                q
                for q in turns[r]
                if self.node_of[q] != self.node_of[r] and self.deputy(self.node_of[r], q) == r
            )
            for r in range(size)
        )


Additions = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class NodePlan:
    """A plan of a sum, cut at the borders of nodes: what each can add up by itself."""

    owner: tuple[int, ...]  # the rank of each slot
    inside: tuple[Additions, ...]  # of each node
    roots: tuple[tuple[int, ...], ...]  # the slots of each node that its own additions leave
    across: Additions  # the rest, in order


@lru_cache(maxsize=256)
def cut_at_nodes(plan: Plan, topology: Topology) -> NodePlan:
    """Return which additions of ``plan`` happen inside a node, which between nodes.

    The tree is the same, so the bits are. A slot that has taken up another node's is not its own
    node's any more.
    """
    owner = tuple(rank for rank, nodes in enumerate(plan.nodes) for _ in nodes)
    home = [topology.node_of[rank] for rank in owner]
    inside: list[list[tuple[int, int]]] = [[] for _ in topology.nodes]
    across: list[tuple[int, int]] = []
    mixed: set[int] = set()
    taken: set[int] = set()
    for a, b in plan.additions:
        if home[a] == home[b] and not {a, b} & mixed:
            inside[home[a]].append((a, b))
            taken.add(b)
        else:
            across.append((a, b))
            mixed.add(a)
    left = [slot for slot in range(len(owner)) if slot not in taken]
    roots = [tuple(s for s in left if home[s] == i) for i in range(len(topology.nodes))]
    return NodePlan(owner, tuple(map(tuple, inside)), tuple(roots), tuple(across))
