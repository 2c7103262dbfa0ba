"""What an algorithm of ``comm.algorithms`` makes a rank do: rounds, their messages and their sums.

Counted for ranks that are all alike (equal nodes, one summand each), from the sizes alone. The
tests run the algorithms themselves and compare the bytes sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from distgrad.comm import ALL_REDUCE, AUTO, nodes_of
from distgrad.comm.algorithms import choose
from distgrad.comm.algorithms.tree import HALVING_BYTES, HALVING_RANKS
from distgrad.comm.topology import Topology
from distgrad.errors import CommError


@dataclass(frozen=True)
class Phase:
    """``rounds`` alike, one after another: a rank works, sends, waits for what comes, works."""

    rounds: int = 1
    messages: int = 0
    """That a rank sends in a round, and receives."""
    inside: float = 0.0
    """Bytes a rank sends to ranks of its node in a round."""
    outside: float = 0.0
    """Bytes the rank that sends most sends to other nodes in a round."""
    link: float = 0.0
    """Bytes that all ranks of a node send to other nodes in a round."""
    before: float = 0.0
    """Bytes a rank adds up before it sends; a copied byte is two thirds of an added one."""
    after: float = 0.0
    """Bytes it adds up when all has come."""
    each_as_it_comes: bool = False
    """Whether it does that message by message, while it waits for the others."""


Phases = tuple[Phase, ...]
_QUESTION = 256.0  # bytes of a fingerprint
COPY = 2 / 3  # a sum reads two bytes and writes one, a copy reads one


@dataclass(frozen=True)
class Layout:
    """``nodes`` of ``each`` ranks."""

    nodes: int
    each: int

    @property
    def ranks(self) -> int:
        """All ranks."""
        return self.nodes * self.each


@dataclass(frozen=True)
class Schedule:
    """How an algorithm sums gradients, as functions of bytes and layout."""

    all_reduce: Callable[[float, Layout], Phases]
    reduce_scatter: Callable[[float, Layout], Phases]


def check(layout: Layout, *, everyone: bool) -> Phases:
    """The question whether all are in the same collective, which comes before its steps."""
    p, each = layout.ranks, layout.each
    if p == 1:
        return ()
    if layout.nodes == 1:
        return (Phase(),)  # on the board
    far = Phase(1, 1, outside=_QUESTION, link=_QUESTION)
    if not everyone:
        return (far,)
    # At distances below a node's ranks, most neighbours are in it; but the last rank's are not.
    far = Phase((p - 1).bit_length(), 1, outside=_QUESTION, link=_QUESTION * each)
    return (far,)


# -- ring ---------------------------------------------------------------------------------------


def _ring(nbytes: float, layout: Layout, added: float) -> Phases:
    p = layout.ranks
    if p == 1:
        return ()
    share = nbytes / p
    outside = share if layout.nodes > 1 else 0.0  # of a node's ranks the last one sends away
    inside = share if layout.each > 1 else 0.0
    return (Phase(p - 1, 1, inside, outside, outside, after=added * share),)


def _ring_reduce(nbytes: float, layout: Layout) -> Phases:
    return _ring(nbytes, layout, 1.0)


def _ring_gather(nbytes: float, layout: Layout) -> Phases:
    return _ring(nbytes, layout, 0.0)


def _ring_sum(nbytes: float, layout: Layout) -> Phases:
    return _ring_reduce(nbytes, layout) + _ring_gather(nbytes, layout)


# -- tree ---------------------------------------------------------------------------------------


def _direct(nbytes: float, layout: Layout) -> Phases:
    return _directly(nbytes / layout.ranks, layout, added=1.0)


def _directly(share: float, layout: Layout, added: float) -> Phases:
    """Send ``share`` bytes to every other rank; of what comes a part is added up."""
    p, each = layout.ranks, layout.each
    if p == 1:
        return ()
    inside, outside = (each - 1) * share, (p - each) * share
    return (Phase(1, p - 1, inside, outside, each * outside, after=added * (p - 1) * share),)


def _tree_sum(nbytes: float, layout: Layout) -> Phases:
    if layout.ranks >= HALVING_RANKS and nbytes < HALVING_BYTES * layout.ranks:
        return _halving(nbytes, layout)
    return _direct(nbytes, layout) + _ring_gather(nbytes, layout)


def _halving(nbytes: float, layout: Layout) -> Phases:
    p = layout.ranks
    there, back = [], []
    if p & (p - 1):
        there.append(_pairwise(nbytes, layout, None, after=nbytes))
        back.append(_pairwise(nbytes, layout, None))
    for k, most in enumerate(_most_slots(p)):
        share = nbytes / (2 << k)
        there.append(_pairwise(share * most, layout, k, most, after=share * most))
        back.append(_pairwise(share, layout, k))
    return (*there, *reversed(back))


def _pairwise(
    nbytes: float, layout: Layout, k: int | None, messages: int = 1, after: float = 0.0
) -> Phase:
    """Exchange with the partner of round ``k``; None: half of the folded ranks send."""
    inside, crossing = _crossing(layout, k)
    return Phase(
        1,
        messages,
        inside=nbytes * inside,
        outside=nbytes * bool(crossing),
        link=nbytes * crossing,
        after=after,
    )


@lru_cache(maxsize=1024)
def _crossing(layout: Layout, k: int | None) -> tuple[bool, int]:
    """Return whether any rank's partner is on its node, and for how many of a node it is not."""
    p = layout.ranks
    places = _places(p)
    if k is None:
        pairs = [(2 * i + 1, 2 * i) for i in range(p - len(places))]
    else:
        pairs = [(rank, places[i ^ (1 << k)]) for i, rank in enumerate(places)]
    away = Counter(a // layout.each for a, b in pairs if a // layout.each != b // layout.each)
    return len(pairs) > away.total(), max(away.values(), default=0)


def _places(p: int) -> list[int]:
    """Return the rank at each place of the halving: the first of two that are folded."""
    extra = p - (1 << (p.bit_length() - 1))
    return [*range(0, 2 * extra, 2), *range(2 * extra, p)]


@lru_cache(maxsize=64)
def _most_slots(p: int) -> tuple[int, ...]:
    """Of each round, how many sums the group of ranks has that has most: one if it is aligned."""
    starts = [*_places(p), p]
    places = len(starts) - 1
    return tuple(
        max(_sums(starts[i], starts[i + (1 << k)], p) for i in range(0, places, 1 << k))
        for k in range(p.bit_length() - 1)
    )


def _sums(start: int, stop: int, p: int) -> int:
    """Return how many sums of the canonical tree of ``p`` ranks some neighbours have together."""
    top = 1 << (p - 1).bit_length()  # absent: what stands beside them is no sum of its own
    return len(nodes_of(range(start, top if stop == p else stop), range(p, top)))


# -- shared and hierarchical --------------------------------------------------------------------


def _hierarchical_reduce(nbytes: float, layout: Layout) -> Phases:
    return _over_nodes(nbytes, layout, gather=False)


def _hierarchical_sum(nbytes: float, layout: Layout) -> Phases:
    return _over_nodes(nbytes, layout, gather=True)


def _over_nodes(nbytes: float, layout: Layout, *, gather: bool) -> Phases:
    """Sum in place in every node, exchange between same-numbered ranks, write to all of the node.

    ``gather``: whether every rank gets everything, not its slice alone.
    """
    nodes, each, share = layout.nodes, layout.each, nbytes / layout.ranks
    if layout.ranks == 1:
        return ()
    others, handed = nodes - 1, (each - 1) * share * COPY / 2 if gather else 0.0
    leave = (Phase(),) if each > 1 else ()  # until no rank reads from another's array any more
    if others == 0:
        return (Phase(before=(each - 1) * share + handed), *leave)
    roots = _most_roots(layout)
    sent = others * roots * share
    there = Phase(
        1,
        others * roots,
        outside=sent,
        link=sent * each,
        before=(each - roots) * share * nodes,
        after=sent + handed,
    )
    if not gather:
        return (there, *leave)
    sent = others * share
    back = Phase(
        1,
        others,
        outside=sent,
        link=sent * each,
        after=others * handed,
        each_as_it_comes=True,
    )
    return (there, back, *leave)


@lru_cache(maxsize=64)
def _most_roots(layout: Layout) -> int:
    each, p = layout.each, layout.ranks
    return max(_sums(start, start + each, p) for start in range(0, p, each))


# -- parameters -----------------------------------------------------------------------------------


def exchange(nbytes: float, layout: Layout, *, once: bool) -> Phases:
    """Bring what each rank has moved of a bucket to all others, whichever algorithm summed it.

    ``once``: the ranks of a node have the parameters in common, so only other nodes' parts come.
    """
    others, share = layout.nodes - 1, nbytes / layout.ranks
    if not once:
        return _directly(share, layout, added=0.0)
    leave = (Phase(),) if layout.each > 1 else ()
    if others == 0:
        return leave
    sent = others * share
    return (Phase(1, others, outside=sent, link=sent * layout.each), *leave)


_IN_NODES = Schedule(_hierarchical_sum, _hierarchical_reduce)
SCHEDULES = {
    "ring": Schedule(_ring_sum, _ring_reduce),
    "tree": Schedule(_tree_sum, _direct),
    "shared": _IN_NODES,
    "hierarchical": _IN_NODES,
}
"""What is known of ``ALL_REDUCE``; MPI's own all-reduce is the library's secret."""


def chosen(algorithm: str, layout: Layout, *, canonical: bool = False) -> str:
    """Return the algorithm itself, or the one that "auto" takes there.

    Errors: CommError for one that no schedule is known of, or that cannot run there.
    """
    if algorithm == AUTO:
        return choose(_topology(layout), canonical)
    if algorithm == "shared" and layout.nodes > 1:
        raise CommError(
            f"algorithm='shared' needs ranks that share one node's memory, and these are "
            f"{layout.nodes} nodes; take 'hierarchical'"
        )
    if algorithm not in SCHEDULES:
        known = ", ".join(map(repr, (*SCHEDULES, AUTO)))
        why = "MPI's own, of which no schedule is known" if algorithm in ALL_REDUCE else "unknown"
        raise CommError(f"algorithm={algorithm!r} is {why}; a plan can be made for {known}")
    return algorithm


def _topology(layout: Layout) -> Topology:
    ranks = range(layout.ranks)
    starts = range(0, layout.ranks, layout.each)
    return Topology(tuple(tuple(ranks[start : start + layout.each]) for start in starts))
