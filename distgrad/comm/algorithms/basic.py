"""Broadcast, and the gathering of byte strings of unequal length."""

from __future__ import annotations

import numpy as np

from distgrad.comm.algorithms import ring
from distgrad.comm.group import Group, pieces
from distgrad.comm.message import Array, Request, Steps


def broadcast(group: Group, array: Array, root: int) -> Steps:
    """Copy the root's flat array to all ranks along a binomial tree, piece by piece."""
    size = group.size
    place = (group.rank - root) % size  # the root's place is 0
    reach = 1
    while reach < size and not place & reach:
        reach *= 2
    # A rank at place p is a child of p without its lowest bit and feeds p + b for smaller bits b.
    arrivals: list[Request] = []
    if place:
        arrivals = group.recv(array, (place - reach + root) % size)
    children = []
    while reach > 1:
        reach //= 2
        if place + reach < size:
            children.append((place + reach + root) % size)
    sends: list[Request] = []
    for number, piece in enumerate(pieces(array)):
        if place:
            yield (arrivals[number],)
        for child in children:
            sends += group.send(piece, child)
    yield sends


def all_gather_bytes(group: Group, data: bytes, result: list[bytes]) -> Steps:
    """Append every rank's ``data`` to ``result``, in rank order."""
    size = group.size
    lengths = np.zeros(size, np.int64)
    lengths[group.rank] = len(data)
    yield from ring.all_gather(group, lengths, [slice(r, r + 1) for r in range(size)])
    ends = np.cumsum(lengths).tolist()
    slices = [slice(end - int(n), end) for end, n in zip(ends, lengths, strict=True)]
    everything = np.zeros(ends[-1], np.uint8)
    everything[slices[group.rank]] = np.frombuffer(data, np.uint8)
    yield from ring.all_gather(group, everything, slices)
    result.extend(everything[s].tobytes() for s in slices)


def broadcast_bytes(group: Group, data: bytes, root: int, result: list[bytes]) -> Steps:
    """Append the root's ``data`` to ``result``; the others need not know its length."""
    length = np.array([len(data)], np.int64)
    yield from broadcast(group, length, root)
    content: Array = np.zeros(int(length[0]), np.uint8)
    if group.rank == root:
        content[:] = np.frombuffer(data, np.uint8)
    yield from broadcast(group, content, root)
    result.append(content.tobytes())
