"""Arrays that differ in length: gathered, scattered, exchanged, sent from one rank to another.

An array's length is sent before it, where the receiver cannot know it. These few bytes are not
counted as payload. Nothing is sent to a rank that does not need it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np

from distgrad.comm.algorithms import ring
from distgrad.comm.group import Group
from distgrad.comm.message import Array, Request, Steps
from distgrad.errors import CommError, MismatchError

_HEAD = 256  # bytes


def all_gather(group: Group, array: Array, result: list[Array]) -> Steps:
    """Append every rank's array, views of one; they may differ in length along axis 0."""
    size, row = group.size, math.prod(array.shape[1:])
    lengths = np.zeros(size, np.int64)
    lengths[group.rank] = array.shape[0]
    before = group.bytes_sent
    yield from ring.all_gather(group, lengths, [slice(r, r + 1) for r in range(size)])
    group.bytes_sent = before
    bounds = [*pairwise(accumulate(lengths.tolist(), initial=0))]
    everyones = np.empty((bounds[-1][1], *array.shape[1:]), array.dtype)
    slices = [slice(start * row, end * row) for start, end in bounds]
    flat = everyones.reshape(-1)
    flat[slices[group.rank]] = array.reshape(-1)
    yield from ring.all_gather(group, flat, slices)
    result.extend(everyones[start:end] for start, end in bounds)


def gather(group: Group, array: Array, root: int, result: list[Array]) -> Steps:
    """Append every rank's array on the root; they may differ in length along axis 0."""
    if group.rank == root:
        others = [r for r in range(group.size) if r != root]
        own = {root: array.copy()}
        yield from _receive_rows(group, others, array.shape[1:], array.dtype, own)
        result.extend(own[r] for r in range(group.size))
    else:
        yield _send_rows(group, array, root)


def all_to_all(group: Group, arrays: Sequence[Array], result: list[Array]) -> Steps:
    """Append what each rank holds for this one; ``arrays[r]`` goes to rank r."""
    rank, size = group.rank, group.size
    # Each rank starts with another destination, so that no rank is sent to by all at once.
    sends: list[Request] = []
    for shift in range(1, size):
        dest = (rank + shift) % size
        sends += _send_rows(group, arrays[dest], dest)
    own = arrays[rank]
    found = {rank: own.copy()}
    others = [(rank - shift) % size for shift in range(1, size)]
    yield from _receive_rows(group, others, own.shape[1:], own.dtype, found)
    result.extend(found[r] for r in range(size))
    yield sends


def scatter(group: Group, arrays: Sequence[Array], root: int, result: list[Array]) -> Steps:
    """Append the root's ``arrays[rank]``; the others know neither its shape nor its dtype."""
    if group.rank != root:
        yield from receive(group, root, None, "", result)
        return
    sends: list[Request] = []
    for shift in range(1, group.size):
        dest = (root + shift) % group.size
        sends += send(group, arrays[dest], dest)
    result.append(arrays[root].copy())
    yield sends


def send(group: Group, array: Array, dest: int) -> list[Request]:
    """Start sending an array that says what it is, for ``receive``."""
    head = np.frombuffer(head_of(array), np.uint8)
    return [group.transport.isend(head, dest, group.lane), *group.send(_bytes(array), dest)]


def receive(group: Group, source: int, into: Array | None, what: str, result: list[Array]) -> Steps:
    """Append the array that comes, in ``into`` if it is given.

    Raises MismatchError if that has another shape or dtype; ``what`` says who expects it.
    """
    head = np.empty(_HEAD, np.uint8)
    yield (group.transport.irecv(head, source, group.lane),)
    dtype, shape = _read_head(head)
    if into is None:
        into = np.empty(shape, np.dtype(dtype))
    elif (dtype, shape) != (into.dtype.str, into.shape):
        raise MismatchError(
            f"{what} expects {into.dtype} {into.shape}, but {np.dtype(dtype)} {shape} was sent; "
            "both ends of a message must agree on shape and dtype"
        )
    yield group.recv(_bytes(into), source)
    result.append(into)


def head_of(array: Array) -> bytes:
    """Return what is sent before an array; CommError for a dtype that has no short name."""
    text = f"{array.dtype.str} {' '.join(map(str, array.shape))}".encode()
    if np.dtype(array.dtype.str) != array.dtype or len(text) > _HEAD:
        raise CommError(
            f"{array.dtype} {array.shape} cannot say on the wire what it is; send array.view("
            "np.uint8), or each field by itself"
        )
    return text.ljust(_HEAD)


def _read_head(head: Array) -> tuple[str, tuple[int, ...]]:
    dtype, *shape = head.tobytes().decode().split()
    return dtype, tuple(map(int, shape))


def _send_rows(group: Group, array: Array, dest: int) -> list[Request]:
    length = np.array([array.shape[0]], np.int64)
    return [group.transport.isend(length, dest, group.lane), *group.send(_bytes(array), dest)]


def _receive_rows(
    group: Group,
    sources: Sequence[int],
    row: tuple[int, ...],
    dtype: np.dtype[np.generic],
    found: dict[int, Array],
) -> Steps:
    lengths = np.empty((len(sources), 1), np.int64)
    heads = [
        group.transport.irecv(length, source, group.lane)
        for length, source in zip(lengths, sources, strict=True)
    ]
    arrivals: list[Request] = []
    for source, head, length in zip(sources, heads, lengths, strict=True):
        yield (head,)
        found[source] = np.empty((int(length[0]), *row), dtype)
        arrivals += group.recv(_bytes(found[source]), source)
    yield arrivals


def _bytes(array: Array) -> Array:
    """Return a contiguous array's memory; not every dtype can be handed to MPI by itself."""
    return array.reshape(-1).view(np.uint8)
