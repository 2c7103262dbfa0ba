"""The ranks of one collective, as its steps see them: messages of any length, cut and counted.

It knows nothing of what the messages mean.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

import numpy as np

from distgrad.comm.message import Array, Request
from distgrad.comm.transport import LANES, Transport

# Over TCP one large message each way runs at half speed; pieces of this size, all posted at once,
# do not (measured), and a piece can be summed while the next one is on its way.
CHUNK = 1 << 20


class Group:
    """The ranks of one collective, on a lane of its own; ``bytes_sent`` counts its payload.

    Making one takes the next number of the transport, so every rank makes them in the same order.
    """

    __slots__ = (
        "_scratch",
        "before_arrival",
        "begun",
        "board",
        "bytes_sent",
        "lane",
        "node",
        "number",
        "progress",
        "rank",
        "size",
        "topology",
        "transport",
    )

    def __init__(self, transport: Transport, begun: int | None = None) -> None:
        """``begun`` is the number of a collective in which this rank has said that it is."""
        self.transport = transport
        self.rank = transport.rank
        self.size = transport.size
        self.node = transport.node
        self.topology, self.board = self.node.topology, self.node.board
        self.progress = progress = transport.state.progress(transport.context)
        self.begun = begun is not None
        self.number = number = progress.started if begun is None else begun
        progress.started = max(progress.started, number + 1)
        progress.unfinished.add(number)
        self.lane = number % LANES
        self.bytes_sent = 0
        self._scratch: list[Array] = []
        self.before_arrival: Callable[[], None] | None = None
        """What is done once the board has a place for this collective, before others see it."""

    def send(self, array: Array, dest: int) -> list[Request]:
        """Start sending a flat array, one request per piece, in the order of ``pieces``."""
        self.bytes_sent += array.nbytes
        isend, lane = self.transport.isend, self.lane
        if array.nbytes <= CHUNK:
            return [isend(array, dest, lane)] if array.size else []
        return [isend(piece, dest, lane) for piece in pieces(array)]

    def recv(self, array: Array, source: int) -> list[Request]:
        """Start receiving a flat array that the source sends with ``send``, piece by piece."""
        irecv, lane = self.transport.irecv, self.lane
        if array.nbytes <= CHUNK:
            return [irecv(array, source, lane)] if array.size else []
        return [irecv(piece, source, lane) for piece in pieces(array)]

    def scratch(self, count: int, dtype: np.dtype[np.generic]) -> Array:
        """Return a flat uninitialised array that lives until the collective is complete."""
        memory = self.transport.state.take_scratch(count * dtype.itemsize)
        self._scratch.append(memory)
        return memory[: count * dtype.itemsize].view(dtype)

    def close(self) -> None:
        """Count the collective as complete; no message may be in flight any more."""
        self.progress.unfinished.discard(self.number)
        if self.board is not None:
            self.board.finish(self.number)
        self.progress.bytes_sent += self.bytes_sent
        if self._scratch:
            self.transport.state.keep_scratch(self._scratch)
            self._scratch.clear()


def pieces(array: Array) -> list[Array]:
    """Cut a flat array into views of at most CHUNK bytes; nothing for an empty one."""
    if array.nbytes <= CHUNK:
        return [array] if array.size else []
    step = CHUNK // array.itemsize
    return [array[start : start + step] for start in range(0, array.size, step)]


@lru_cache(maxsize=4096)
def even_slices(count: int, size: int) -> tuple[slice, ...]:
    """Cut ``count`` elements into ``size`` slices; the first ``count % size`` are one longer."""
    share, longer = divmod(count, size)
    bounds = [rank * share + min(rank, longer) for rank in range(size + 1)]
    return tuple(slice(start, stop) for start, stop in pairwise(bounds))
