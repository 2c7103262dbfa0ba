"""Messages between a rank and its worker processes: objects through pipes, arrays as they lie.

Both ends are this program's own, so that pickle is as safe as the program. NumPy allocates what
arrives, so that arrays are aligned as those of the rank's own.
"""

from __future__ import annotations

import mmap
import os
import pickle
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

_COUNT = struct.Struct("<Q")
_ALIGNED = 64


class Closed(Exception):  # noqa: N818 - no error: the other side has gone
    """The other end of a pipe was closed."""


def pickled(value: Any) -> list[Any]:
    """Return the parts of a message: the pickle, and the memory of the arrays in it."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return [head, *(buffer.raw() for buffer in buffers)]


def send(descriptor: int, parts: Sequence[Any]) -> None:
    """Write a message. Errors: Closed."""
    views = [memoryview(part).cast("B") for part in parts]
    head = b"".join(_COUNT.pack(n) for n in (len(views), *map(len, views)))
    try:
        for view in (memoryview(head), *views):
            done = 0
            while done < len(view):
                done += os.write(descriptor, view[done : done + (1 << 20)])
    except OSError as error:
        raise Closed(str(error)) from None


def receive(descriptor: int) -> list[Any]:
    """Read a message's parts. Errors: Closed."""
    count = _number(descriptor)
    sizes = [_number(descriptor) for _ in range(count)]
    return [_block(descriptor, size) for size in sizes]


def unpickled(parts: Sequence[Any]) -> Any:
    """Return the object in a message."""
    return pickle.loads(parts[0], buffers=parts[1:])


def in_shared_memory(parts: Sequence[Any]) -> tuple[int, list[tuple[int, int]]]:
    """Return a file in memory with a message's parts, and where each lies (start, length)."""
    places, end = [], 0
    for part in parts:
        places.append((end, memoryview(part).nbytes))
        end += -(-places[-1][1] // _ALIGNED) * _ALIGNED
    descriptor = os.memfd_create("distgrad data set")
    os.truncate(descriptor, max(end, 1))
    for part, (start, _) in zip(parts, places, strict=True):
        view, done = memoryview(part).cast("B"), 0
        while done < len(view):
            done += os.pwrite(descriptor, view[done : done + (1 << 30)], start + done)
    return descriptor, places


def from_shared_memory(path: str, places: Sequence[tuple[int, int]]) -> list[Any]:
    """Return the parts of a message in such a file; all who map it share its memory."""
    with open(path, "rb") as file:
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    view = memoryview(whole)
    return [view[start : start + length] for start, length in places]


def _number(descriptor: int) -> int:
    return int(_COUNT.unpack(bytes(_block(descriptor, _COUNT.size)))[0])


def _block(descriptor: int, size: int) -> Any:
    block = np.empty(size, np.uint8)
    view, done = block.data, 0
    while done < size:
        try:
            found = os.readv(descriptor, [view[done:]])
        except OSError as error:
            raise Closed(str(error)) from None
        if not found:
            raise Closed("the other process has ended")
        done += found
    return block
