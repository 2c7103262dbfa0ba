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
from distgrad.comm.board import LANES, PIECE, SLICED_PIECE
from distgrad.comm.canonical import Part, Plan, one_each
from distgrad.comm.group import CHUNK, Group, even_slices
from distgrad.comm.message import Array, Request, Steps
from distgrad.comm.node import Call, SharedArray, address
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
    shared = group.node.find(out)
    if shared is not None and fits(shared, plan):
        put_in_place(own, shared)  # now: before this rank says that it has arrived
        if group.topology.one_node:
            return in_one_node(group, calls_in_one_node(shared, group.rank, plan, slices))
        return _in_place(group, shared, plan, slices)
    on_board = group.board is not None and group.topology.one_node and slices is None
    if on_board and board_sum.fits(out.nbytes, plan):
        return board_sum.sum_parts(group, own, out, plan)
    return _piecewise(group, own, out, plan, slices)


@dataclass
class _Window:
    """A stretch of the arrays, as this rank sees it, that is summed at once."""

    slots: dict[int, Array]
    """The parts of this node's ranks, by their number in the plan."""
    outs: list[Array]
    """Where this node's ranks find the total: this rank's own comes first."""


# -- arrays that all ranks of the node can read -----------------------------------------------


def fits(shared: SharedArray, plan: Plan) -> bool:
    """Whether the array has as many companions as any rank has parts."""
    return max(map(len, plan.nodes)) <= 1 + len(shared.companions)


def put_in_place(own: Sequence[Array], shared: SharedArray) -> None:
    """Copy this rank's parts to where the others look for them, unless they are there already.

    The last part of a rank lies in the array itself, earlier ones in its companions.
    """
    for k, part in enumerate(own, 1):
        place = shared if k == len(own) else shared.companions[k - 1]
        if part is not place.own and address(part) != address(place.own):
            np.copyto(place.own, part)


def _window_on(shared: SharedArray, rank: int, plan: Plan) -> _Window:
    slots, number = {}, 0
    for other, nodes in enumerate(plan.nodes):
        for k in range(1, len(nodes) + 1 if other in shared.of else 0):
            place = shared if k == len(nodes) else shared.companions[k - 1]
            slots[number + k - 1] = place.of[other]
        number += len(nodes)
    others = [array for other, array in shared.of.items() if other != rank]
    return _Window(slots, [shared.own, *others])


def calls_in_one_node(
    shared: SharedArray, rank: int, plan: Plan, slices: Sequence[slice] | None = None
) -> Sequence[Call]:
    """Return the calls that sum this rank's slice, once all have arrived; made once, kept there.

    Without ``slices`` they write the total to everyone's array. Then follows ``shared.after``.
    """
    key = (plan, None if slices is None else tuple((s.start, s.stop) for s in slices))
    found = shared.calls.get(key)
    if found is None:
        window = _window_on(shared, rank, plan)
        size = len(plan.nodes)
        cut = (even_slices(shared.own.size, size) if slices is None else slices)[rank]
        out, *others = [array[cut] for array in window.outs]
        parts = {slot: array[cut] for slot, array in window.slots.items()}
        targets = others if slices is None else []
        whole = slice(0, out.size)
        found = shared.calls[key] = [
            *_total(plan.additions, parts, plan.total, whole, out, targets),
            *(call for look in shared.after for call in look(out)),
        ]
    return found


def in_one_node(group: Group, calls: Sequence[Call], *, last: bool = False) -> Steps:
    """Make the calls once all have arrived; unless they are the ``last`` step, wait for all."""
    if group.board is None:  # alone
        return
    yield ()  # all have arrived
    for function, *arguments in calls:
        function(*arguments)
    if not last:
        yield from finish_in_place(group)


def finish_in_place(group: Group) -> Steps:
    """Wait until no other rank reads from this one's array, or writes to it, any more."""
    board = group.board
    if board is not None:
        board.reach(group.number, 1)
        yield board.reached(group.number, 1)


def _in_place(
    group: Group, shared: SharedArray, plan: Plan, slices: Sequence[slice] | None
) -> Steps:
    if group.board is not None:
        yield group.board.free(group.number)
    window = _window_on(shared, group.rank, plan)
    cut = even_slices(shared.own.size, group.size) if slices is None else slices
    yield from _steps(group, window, plan, cut, gather=slices is None)
    yield from finish_in_place(group)


# -- ordinary arrays, through the staging room --------------------------------------------------


def _piecewise(
    group: Group, own: Sequence[Array], out: Array, plan: Plan, slices: Sequence[slice] | None
) -> Steps:
    board, number, topology = group.board, group.number, group.topology
    if board is not None:
        yield board.free(number)
        yield board.free(number, LANES)
    # What this rank adds up itself it reads where it is; the rest others read in the room.
    mine = {group.rank, *topology.charges[group.rank]}
    theirs = [] if board is None else [r for r in range(group.size) if r not in mine]
    stage = 0
    for start, stop in _stretches(group, out, plan, sliced=slices is not None):
        stretch, parts = out[start:stop], [part[start:stop] for part in own]
        if slices is None:
            cut: Sequence[slice] = even_slices(stop - start, group.size)
        else:
            cut = [_inside(s, start, stop) for s in slices]
        window = _staged(group, parts, stretch, plan, [cut[r] for r in theirs])
        if board is not None:
            stage += 1
            board.reach(number, stage)
            yield board.reached(number, stage)
        yield from _steps(group, window, plan, cut, gather=slices is None)
        if board is not None:
            stage += 1
            board.reach(number, stage)
            yield board.reached(number, stage)
            for r in theirs if slices is None else ():
                np.copyto(stretch[cut[r]], window.outs[1][cut[r]])


def _stretches(group: Group, out: Array, plan: Plan, *, sliced: bool) -> Iterator[tuple[int, int]]:
    """Cut the array so that every node's parts of a stretch fit its room; on all ranks the same."""
    room = each = SLICED_PIECE if sliced and group.topology.one_node else PIECE
    for ranks in group.topology.nodes:
        held = sum(len(plan.nodes[r]) for r in ranks)
        if len(ranks) > 1 and held:
            room = min(room, len(ranks) * each // held)
    step = max(1, room // out.itemsize)
    for start in range(0, out.size, step):
        yield start, min(start + step, out.size)


def _staged(
    group: Group, own: Sequence[Array], out: Array, plan: Plan, theirs: Sequence[slice]
) -> _Window:
    """Copy to the room what others add up of this rank's parts, and return the window."""
    if group.board is None:
        first = sum(map(len, plan.nodes[: group.rank]))
        return _Window({first + k: part for k, part in enumerate(own)}, [out])
    slots: dict[int, Array] = {}
    room = group.board.room(group.number).view(out.dtype)
    count, number, at = out.size, 0, 0
    for rank, nodes in enumerate(plan.nodes):
        for k in range(len(nodes) if rank in group.board.ranks else 0):
            place = room[at : at + count]
            if rank == group.rank:
                for cut in theirs:
                    np.copyto(place[cut], own[k][cut])
            slots[number + k] = own[k] if rank == group.rank else place
            at += count
        number += len(nodes)
    return _Window(slots, [out, room[room.size - PIECE // out.itemsize :][:count]])


def _inside(part: slice, start: int, stop: int) -> slice:
    """Return what of ``part`` lies in a stretch, counted from the stretch's start."""
    low = min(max(part.start, start), stop)
    return slice(low - start, max(min(part.stop, stop), low) - start)


# -- the sum of a window ------------------------------------------------------------------------


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
    own = [*_pieces(slice(0, out.size), out.itemsize, CHUNK)]
    arrivals: list[list[Request]] = [[] for _ in own]
    for i in elsewhere:
        landings = {slot: group.scratch(out.size, out.dtype) for slot in nodes.roots[i]}
        parts |= landings
        for expected, piece in zip(arrivals, own, strict=True):
            for landing in landings.values():
                expected.extend(group.recv(landing[piece], topology.deputy(i, me)))

    sends: list[Request] = []
    totals: list[Request] = []
    for q in topology.charges[me]:
        theirs = {slot: array[cut[q]] for slot, array in window.slots.items()}
        for piece in _pieces(slice(0, cut[q].stop - cut[q].start), out.itemsize, CHUNK):
            _make(_add_up(nodes.inside[here], theirs, piece, out.itemsize))
            for slot in nodes.roots[here]:
                sends += group.send(theirs[slot][piece], q)

    for expected, piece in zip(arrivals, own, strict=True):
        additions = nodes.inside[here]
        if elsewhere:
            _make(_add_up(additions, parts, piece, out.itemsize))
            yield expected
            additions = nodes.across
        _make(_total(additions, parts, plan.total, piece, out, others if gather else []))
        if gather:
            for i in elsewhere:
                totals += group.send(out[piece], topology.deputy(i, me))
    # The totals of others come to where MPI may still be reading.
    yield sends
    if gather:
        yield from _hand_out(group, window, cut)
    yield totals


def _hand_out(group: Group, window: _Window, cut: Sequence[slice]) -> Steps:
    """Receive the totals of the ranks in this one's charge, for all ranks of the node."""
    out, *others = window.outs
    arrivals = [
        (piece, group.recv(out[piece], q))
        for q in group.topology.charges[group.rank]
        for piece in _pieces(cut[q], out.itemsize, CHUNK)
    ]
    for piece, requests in arrivals:
        yield requests
        for other in others:
            other[piece] = out[piece]


def _pieces(stretch: slice, itemsize: int, nbytes: int) -> Iterator[slice]:
    """Cut a slice into slices of at most ``nbytes`` bytes."""
    step = nbytes // itemsize
    for start in range(stretch.start, stretch.stop, step):
        yield slice(start, min(start + step, stretch.stop))


def _add_up(
    additions: Additions, parts: dict[int, Array], piece: slice, itemsize: int
) -> Iterator[Call]:
    """Yield the calls that do the additions in place, in one piece of the slice."""
    for block in _pieces(piece, itemsize, _BLOCK):
        for a, b in additions:
            yield np.add, parts[a][block], parts[b][block], parts[a][block]


def _total(
    additions: Additions,
    parts: dict[int, Array],
    total: int,
    piece: slice,
    out: Array,
    others: Sequence[Array],
) -> Iterator[Call]:
    """Yield the calls that do them, the last one into ``out``, and copy it to the others."""
    for block in _pieces(piece, out.itemsize, _BLOCK):
        yield from _add_up(additions[:-1], parts, block, out.itemsize)
        if additions:
            a, b = additions[-1]
            yield np.add, parts[a][block], parts[b][block], out[block]
        elif address(parts[total]) != address(out):
            yield np.copyto, out[block], parts[total][block]
        for other in others:
            yield np.copyto, other[block], out[block]


def _make(calls: Iterator[Call]) -> None:
    for function, *arguments in calls:
        function(*arguments)
