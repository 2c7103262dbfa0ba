"""Which collective a rank is in, and the check that its peers are in the same one.

The check runs before any data moves. It knows nothing of the algorithms that follow it.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from time import perf_counter

import numpy as np

from distgrad.comm.board import Board
from distgrad.comm.group import Group
from distgrad.comm.message import Array, Steps
from distgrad.errors import MismatchError

_SIZE = 256
_HEAD = 16  # sequence number, then a digest of the whole description


@lru_cache(maxsize=4096)
def encode(what: str) -> bytes:
    """Return the digest (8 bytes) and the text of a collective's description."""
    text = what.encode()
    digest = blake2b(text, digest_size=8).digest()
    # The text is there to be read by a person; only the digest covers all of a long one.
    return digest + text[: _SIZE - _HEAD].ljust(_SIZE - _HEAD, b"\0")


def _decode(message: Array) -> tuple[int, str]:
    data = message.tobytes()
    text = data[_HEAD:].rstrip(b"\0").decode(errors="replace")
    return int.from_bytes(data[:8], "little"), text


def agree(group: Group, what: str, *, everyone: bool) -> Steps:
    """Check that the left neighbour (or everyone) is in the same collective.

    Asking the left neighbour is enough where data only ever comes from there: of ranks that
    disagree somewhere around the ring, at least one sees it, and it takes no further part. With
    ``everyone`` the check is a dissemination in log2(size) rounds (Hensgen, Finkel and Manber
    1988), after which every rank has arrived and agrees.

    Raises MismatchError naming both ranks and both collectives.
    """
    rank, size = group.rank, group.size
    if size == 1:
        return
    if group.board is not None and group.topology.one_node:
        yield from _agree_on_board(group, group.board, what)
        return
    transport, lane = group.transport, group.lane
    mine = group.number.to_bytes(8, "little") + encode(what)
    message = np.frombuffer(mine, np.uint8)
    sends = []
    distance = 1
    while distance < size:
        source = (rank - distance) % size
        theirs = np.empty(_SIZE, np.uint8)
        receive = transport.irecv(theirs, source, lane)
        sends.append(transport.isend(message, (rank + distance) % size, lane))
        yield (receive,)
        if theirs.tobytes() != mine:
            raise _mismatch(group, source, what, *_decode(theirs))
        peer = transport.members[source]
        transport.state.last_seen[peer] = (perf_counter(), group.number, what)
        if not everyone:
            break
        distance *= 2
    yield sends


def _agree_on_board(group: Group, board: Board, what: str) -> Steps:
    """Check that everyone is in the same collective, in the memory of the node they share."""
    number, encoded = group.number, encode(what)
    digest = int.from_bytes(encoded[:8], "little", signed=True)
    if not group.begun:
        yield board.free(number)
        if group.before_arrival is not None:
            group.before_arrival()
        board.post(number, digest, encoded[8:])
    yield board.arrivals(number)
    state = group.transport.state
    now = perf_counter()
    for r in board.others:
        if board.digest(r, number) != digest:
            text = board.text(r, number).rstrip(b"\0").decode(errors="replace")
            raise _mismatch(group, r, what, number, text)
        state.last_seen[group.transport.members[r]] = (now, number, what)


def _mismatch(
    group: Group, source: int, what: str, their_number: int, their_what: str
) -> MismatchError:
    number, transport = group.number, group.transport
    peer = transport.members[source]
    named = their_what if their_number == number else f"collective {their_number}, {their_what}"
    if what.startswith(their_what) and their_number == number:
        named += "... (they differ past what fits here)"
    return MismatchError(
        f"{transport.state.label} collective {number}: this rank is in {what}, rank {peer} is in "
        f"{named}; every rank must call the same collectives in the same order with the same "
        "shapes and dtypes (look for an `if rank == ...` or a branch on local data around one)"
    )
