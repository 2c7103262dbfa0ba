"""The canonical sum over nodes: in each through the memory its ranks share, between them messages.

Every rank sums a slice. What its node holds of a slice is added up where it lies, by the rank
whose slice it is or, for another node's, by its deputy here, who sends it on; the total comes back
the same way. So a node sends what one rank would in its place, and in one node nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from distgrad.comm.algorithms import board_sum
from distgrad.comm.board import LANES, PIECE
from distgrad.comm.canonical import Part, Plan, one_each
from distgrad.comm.group import CHUNK, Group, even_slices
from distgrad.comm.message import Array, Request, Steps
from distgrad.comm.node import address
from distgrad.comm.topology import Additions, cut_at_nodes

_BLOCK = 1 << 16  # bytes that are added up and handed out before the next: they stay in cache


def all_reduce(group: Group, array: Array) -> Steps:
    """Sum a flat array over all ranks, in place, each rank one summand."""
    return sum_parts(group, [(0, group.rank, array)], array, one_each(group.size))


def sum_parts(group: Group, parts: Sequence[Part], out: Array, plan: Plan) -> Steps:
    """Sum all ranks' parts, which are those of the plan, into ``out`` on every rank.

    The parts are overwritten; ``out`` may be one of them.
    """
    return _sum(group, parts, out, plan, None)


def reduce_parts(
    group: Group, parts: Sequence[Part], out: Array, plan: Plan, slices: Sequence[slice]
) -> Steps:
    """Leave in ``out[slices[rank]]`` its sum over all ranks' parts; the rest is overwritten."""
    return _sum(group, parts, out, plan, slices)


def _sum(
    group: Group, parts: Sequence[Part], out: Array, plan: Plan, slices: Sequence[slice] | None
) -> Steps:
    held = {(level, index): array for level, index, array in parts}
    own = [held[node] for node in plan.nodes[group.rank]]
    in_place = _in_place(group, own, out, plan)  # now: before this rank says that it has arrived
    if in_place is not None:
        cut = even_slices(out.size, group.size) if slices is None else slices
        return _whole(group, in_place, plan, cut, gather=slices is None)
    if slices is None and board_sum.fits(group, out, plan):
        return board_sum.sum_parts(group, own, out, plan)
    return _piecewise(group, own, out, plan, slices)


@dataclass
class _Window:
    """A stretch of the arrays, as this rank sees it, that is summed at once."""

    slots: dict[int, Array]
    """The parts of this node's ranks, by their number in the plan."""
    outs: list[Array]
    """Where this node's ranks find the total; the first is this rank's, or theirs together."""


# -- arrays that all ranks of the node can read ------------------------------------------------


def _in_place(group: Group, own: Sequence[Array], out: Array, plan: Plan) -> _Window | None:
    """Return the window on the whole of arrays the node shares; None if ``out`` is none of them.

    The last part of a rank lies in ``out``, others in its companions; they are copied there if not.
    """
    shared = group.node.find(out)
    if shared is None or max(map(len, plan.nodes)) > 1 + len(shared.companions):
        return None
    mine = [*shared.companions[: len(own) - 1], shared][-len(own) :] if own else []
    for part, place in zip(own, mine, strict=True):
        if address(part) != address(place.own):
            place.own[: out.size] = part
    slots, number = {}, 0
    for rank, nodes in enumerate(plan.nodes):
        if rank in shared.of:
            for k in range(len(nodes)):
                place = shared if k == len(nodes) - 1 else shared.companions[k]
                # The very ``out``, so that a total that is there already is known to be.
                slots[number + k] = out if place.of[rank] is shared.own else place.of[rank]
        number += len(nodes)
    others = [array for rank, array in shared.of.items() if rank != group.rank]
    return _Window(slots, [out, *others])


def _whole(
    group: Group, window: _Window, plan: Plan, cut: Sequence[slice], *, gather: bool
) -> Steps:
    board = group.board
    if board is not None:
        yield board.free(group.number)
    yield from _steps(group, window, plan, cut, gather=gather)
    if board is not None:  # until then the others read from, and write to, this rank's arrays
        board.reach(group.number, 1)
        yield board.reached(group.number, 1)


# -- ordinary arrays, through the staging room -------------------------------------------------


def _piecewise(
    group: Group, own: Sequence[Array], out: Array, plan: Plan, slices: Sequence[slice] | None
) -> Steps:
    board, number = group.board, group.number
    if board is not None:
        yield board.free(number)
        yield board.free(number, LANES)
    stage = 0
    for start, stop in _stretches(group, out, plan):
        stretch = [part[start:stop] for part in own]
        window = _staged(group, stretch, out[start:stop], plan)
        if slices is None:
            cut: Sequence[slice] = even_slices(stop - start, group.size)
        else:
            cut = [_inside(s, start, stop) for s in slices]
        if board is not None:
            stage += 1
            board.reach(number, stage)
            yield board.reached(number, stage)
        yield from _steps(group, window, plan, cut, gather=slices is None)
        if board is not None:
            stage += 1
            board.reach(number, stage)
            yield board.reached(number, stage)
            wanted = slice(None) if slices is None else cut[group.rank]
            out[start:stop][wanted] = window.outs[0][wanted]


def _stretches(group: Group, out: Array, plan: Plan) -> Iterator[tuple[int, int]]:
    """Cut the array so that every node's parts of a stretch fit its room; on all ranks the same."""
    room = PIECE
    for ranks in group.topology.nodes:
        held = sum(len(plan.nodes[r]) for r in ranks)
        if len(ranks) > 1 and held:
            room = min(room, len(ranks) * PIECE // held)
    step = max(1, room // out.itemsize)
    for start in range(0, out.size, step):
        yield start, min(start + step, out.size)


def _staged(group: Group, own: Sequence[Array], out: Array, plan: Plan) -> _Window:
    """Copy this rank's parts to the room, and return the window on it."""
    ranks = group.topology.nodes[group.topology.node_of[group.rank]]
    slots: dict[int, Array] = {}
    room = None if group.board is None else group.board.room(group.number).view(out.dtype)
    count, number, at = out.size, 0, 0
    for rank, nodes in enumerate(plan.nodes):
        for k in range(len(nodes) if rank in ranks else 0):
            if room is None:
                slots[number + k] = own[k]
            else:
                slots[number + k] = room[at : at + count]
                if rank == group.rank:
                    slots[number + k][...] = own[k]
            at += count
        number += len(nodes)
    total = out if room is None else room[room.size - PIECE // out.itemsize :][:count]
    return _Window(slots, [total])


def _inside(part: slice, start: int, stop: int) -> slice:
    """Return what of ``part`` lies in a stretch, counted from the stretch's start."""
    low = min(max(part.start, start), stop)
    return slice(low - start, max(min(part.stop, stop), low) - start)


# -- the sum of a window -----------------------------------------------------------------------


def _steps(
    group: Group, window: _Window, plan: Plan, cut: Sequence[slice], *, gather: bool
) -> Steps:
    """Sum the window, of which rank r takes ``cut[r]``; all that it needs has been written."""
    topology, me = group.topology, group.rank
    here = topology.node_of[me]
    nodes = cut_at_nodes(plan, topology)
    elsewhere = [i for i in range(len(topology.nodes)) if i != here]

    out, *others = [array[cut[me]] for array in window.outs]
    parts = {slot: array[cut[me]] for slot, array in window.slots.items()}
    own = [*_pieces(out)]
    arrivals: list[list[Request]] = [[] for _ in own]
    for i in elsewhere:
        landings = {slot: group.scratch(out.size, out.dtype) for slot in nodes.roots[i]}
        parts |= landings
        for expected, piece in zip(arrivals, own, strict=True):
            for landing in landings.values():
                expected.extend(group.recv(landing[piece], topology.deputy(i, me)))

    sends: list[Request] = []
    for q in topology.charges[me]:
        theirs = {slot: array[cut[q]] for slot, array in window.slots.items()}
        for piece in _pieces(window.outs[0][cut[q]]):
            _add_up(nodes.inside[here], theirs, piece)
            for slot in nodes.roots[here]:
                sends += group.send(theirs[slot][piece], q)

    for expected, piece in zip(arrivals, own, strict=True):
        additions = nodes.inside[here]
        if elsewhere:
            _add_up(additions, parts, piece)
            yield expected
            additions = nodes.across
        _total(additions, parts, plan.total, piece, out, others if gather else [])
        if gather:
            for i in elsewhere:
                sends += group.send(out[piece], topology.deputy(i, me))
    # The totals of others come to where MPI may still be reading.
    yield sends
    if gather:
        yield from _hand_out(group, window, cut)


def _hand_out(group: Group, window: _Window, cut: Sequence[slice]) -> Steps:
    """Receive the totals of the ranks in this one's charge, for all ranks of the node."""
    out, *others = window.outs
    charges = group.topology.charges[group.rank]
    arrivals = [
        (cut[q].start, piece, group.recv(out[cut[q]][piece], q))
        for q in charges
        for piece in _pieces(out[cut[q]])
    ]
    for start, piece, requests in arrivals:
        yield requests
        here = slice(start + piece.start, start + piece.stop)
        for other in others:
            other[here] = out[here]


def _pieces(array: Array, nbytes: int = CHUNK) -> Iterator[slice]:
    """Cut a flat array into slices of at most ``nbytes`` bytes."""
    step = nbytes // array.itemsize
    for start in range(0, array.size, step):
        yield slice(start, min(start + step, array.size))


def _blocks(piece: slice, itemsize: int) -> Iterator[slice]:
    step = _BLOCK // itemsize
    for start in range(piece.start, piece.stop, step):
        yield slice(start, min(start + step, piece.stop))


def _add_up(additions: Additions, parts: dict[int, Array], piece: slice) -> None:
    """Do the additions in place, in one piece of the slice."""
    if not additions:
        return
    for block in _blocks(piece, next(iter(parts.values())).itemsize):
        for a, b in additions:
            np.add(parts[a][block], parts[b][block], out=parts[a][block])


def _total(
    additions: Additions,
    parts: dict[int, Array],
    total: int,
    piece: slice,
    out: Array,
    others: Sequence[Array],
) -> None:
    """Do the additions in one piece of the slice, the last into ``out``; copy it to the others."""
    for block in _blocks(piece, out.itemsize):
        target = out[block]
        for a, b in additions[:-1]:
            np.add(parts[a][block], parts[b][block], out=parts[a][block])
        if additions:
            a, b = additions[-1]
            np.add(parts[a][block], parts[b][block], out=target)
        elif parts[total] is not out:
            target[...] = parts[total][block]
        for other in others:
            other[block] = target
