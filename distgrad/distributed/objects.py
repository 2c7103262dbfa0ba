"""Objects that are no arrays, as ``dg.save`` writes them: never a pickle."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import numpy as np

from distgrad.arguments import checked
from distgrad.autograd.types import Array
from distgrad.distributed.groups import ProcessGroup, resolved
from distgrad.errors import CheckpointError, CommError
from distgrad.kinds import Kind
from distgrad.serialization import load, save

Places: TypeAlias = Annotated[
    list[Any], Kind("a list, whose places are filled", lambda v: isinstance(v, list))
]


@checked
def all_gather_object(object_list: Places, obj: Any, group: ProcessGroup | None = None) -> None:
    """Fill ``object_list`` with every rank's object, in rank order.

    Objects are what ``dg.save`` takes: Tensors, arrays, numbers, strings, None, and lists, tuples
    and dicts of these, as a ``state_dict`` is; never a pickle. Errors: CommError for others.
    """
    comm = resolved(group).comm
    check_length(comm, "object_list", object_list)
    object_list[:] = map(_object, comm.all_gather_arrays(_bytes(obj), name="objects"))


@checked
def gather_object(
    obj: Any,
    object_gather_list: Places | None = None,
    dst: int = 0,
    group: ProcessGroup | None = None,
    group_dst: int | None = None,
) -> None:
    """Fill rank ``dst``'s list with every rank's object; see ``all_gather_object``."""
    found = resolved(group)
    comm, root = found.comm, found.find("dst", dst, group_dst)
    if comm.rank == root:
        check_length(comm, "object_gather_list", object_gather_list)
    gathered = comm.gather(_bytes(obj), root, name="objects")
    if gathered is not None and object_gather_list is not None:
        object_gather_list[:] = map(_object, gathered)


@checked
def scatter_object_list(
    scatter_object_output_list: Places,
    scatter_object_input_list: Sequence[Any] | None = None,
    src: int = 0,
    group: ProcessGroup | None = None,
    group_src: int | None = None,
) -> None:
    """Put rank ``src``'s object for this rank in place 0; see ``all_gather_object``."""
    found = resolved(group)
    comm, root = found.comm, found.find("src", src, group_src)
    if not scatter_object_output_list:
        raise CommError("scatter_object_output_list needs a place for the object: [None]")
    given = None
    if comm.rank == root:
        check_length(comm, "scatter_object_input_list", scatter_object_input_list)
        given = [_bytes(obj) for obj in scatter_object_input_list or ()]
    scatter_object_output_list[0] = _object(comm.scatter(given, root, name="objects"))


@checked
def broadcast_object_list(
    object_list: Places,
    src: int = 0,
    group: ProcessGroup | None = None,
    group_src: int | None = None,
) -> None:
    """Replace the objects in everyone's list by rank ``src``'s; see ``all_gather_object``."""
    found = resolved(group)
    comm, root = found.comm, found.find("src", src, group_src)
    data = _bytes(object_list).tobytes() if comm.rank == root else b""
    object_list[:] = _object(
        np.frombuffer(comm.broadcast_bytes(data, root, name="objects"), np.uint8)
    )


@checked
def send_object_list(
    object_list: Sequence[Any],
    dst: int,
    group: ProcessGroup | None = None,
    group_dst: int | None = None,
) -> None:
    """Send a list of objects to rank ``dst``; see ``all_gather_object``."""
    found = resolved(group)
    found.comm.send(_bytes([*object_list]), found.find("dst", dst, group_dst))


@checked
def recv_object_list(
    object_list: Places,
    src: int | None = None,
    group: ProcessGroup | None = None,
    group_src: int | None = None,
) -> int:
    """Replace the objects in the list by those that rank ``src`` sends; return ``src``."""
    found = resolved(group)
    source = source_of(found, src, group_src)
    object_list[:] = _object(found.comm.recv(None, source))
    return found.ranks[source]


def check_length(comm: Any, name: str, items: Sequence[Any] | None) -> None:
    """Raise CommError if there is not one item for each rank."""
    if items is None or len(items) != comm.size:
        found = "none" if items is None else str(len(items))
        raise CommError(
            f"[rank {comm.rank}/{comm.size}] {name} needs one place for each of the "
            f"{comm.size} ranks; got {found}"
        )


def source_of(group: ProcessGroup, src: int | None, group_src: int | None) -> int:
    """Return the number in the group of the rank to receive from, which must be named."""
    if src is None and group_src is None:
        raise CommError("src=None: there is no receiving from any rank; name the one that sends")
    return group.find("src", src, group_src)


def _bytes(obj: Any) -> Array:
    file = io.BytesIO()
    try:
        save(obj, file)
    except CheckpointError as error:
        raise CommError(f"an object crosses the ranks as dg.save saves it: {error}") from None
    return np.frombuffer(file.getvalue(), np.uint8)


def _object(data: Array) -> Any:
    return load(io.BytesIO(data.tobytes()))
