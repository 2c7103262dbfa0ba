"""The ring: each rank talks to its two neighbours only and sends 2(N-1)/N of the buffer.

Bandwidth-optimal (Patarasuk and Yuan 2009). The order of its sums depends on the number of
ranks: the same bits on all ranks and from run to run, but not at another size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distgrad.comm.group import Group, even_slices, pieces
from distgrad.comm.message import Array, Request, Steps


def all_reduce(group: Group, array: Array) -> Steps:
    """Sum a flat array over all ranks, in place."""
    slices = even_slices(array.size, group.size)
    yield from reduce_scatter(group, array, slices)
    yield from all_gather(group, array, slices)


def reduce_scatter(group: Group, array: Array, slices: Sequence[slice]) -> Steps:
    """Leave in ``array[slices[rank]]`` its sum over all ranks; the rest is overwritten.

    Sends every slice but the own one, once.
    """
    rank, size = group.rank, group.size
    if size == 1:
        return
    left, right = (rank - 1) % size, (rank + 1) % size
    longest = max(s.stop - s.start for s in slices)
    # Two landing places: the next slice arrives while this one is summed.
    landing = [group.scratch(longest, array.dtype) for _ in range(min(size - 1, 2))]

    def target(step: int) -> Array:
        return array[slices[(rank - 2 - step) % size]]

    def receive(step: int) -> tuple[list[Array], list[Request]]:
        place = landing[step % 2][: target(step).size]
        return pieces(place), group.recv(place, left)

    arriving = receive(0)
    sends = group.send(array[slices[(rank - 1) % size]], right)
    for step in range(size - 1):
        current = arriving
        if step + 1 < size - 1:
            arriving = receive(step + 1)
        for ours, theirs, request in zip(pieces(target(step)), *current, strict=True):
            yield (request,)
            np.add(theirs, ours, out=ours)  # left to right along the ring, on every rank
            if step + 1 < size - 1:
                sends += group.send(ours, right)
    yield sends


def all_gather(group: Group, array: Array, slices: Sequence[slice]) -> Steps:
    """Fill ``array`` from each rank's ``array[slices[rank]]``; sends all but the right's slice."""
    rank, size = group.rank, group.size
    if size == 1:
        return
    left, right = (rank - 1) % size, (rank + 1) % size

    def target(step: int) -> Array:
        return array[slices[(rank - 1 - step) % size]]

    arriving = group.recv(target(0), left)
    sends = group.send(array[slices[rank]], right)
    for step in range(size - 1):
        current = arriving
        if step + 1 < size - 1:
            arriving = group.recv(target(step + 1), left)
        for piece, request in zip(pieces(target(step)), current, strict=True):
            yield (request,)
            if step + 1 < size - 1:
                sends += group.send(piece, right)
    yield sends
