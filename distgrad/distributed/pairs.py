"""Messages between two ranks. Those of one tag arrive in the order in which they were sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from distgrad.arguments import explained
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.distributed.groups import ProcessGroup, resolved
from distgrad.distributed.objects import source_of
from distgrad.distributed.work import Work, array_of, buffer_of
from distgrad.errors import CommError


@explained
def isend(
    tensor: Tensor | Array,
    dst: int | None = None,
    group: ProcessGroup | None = None,
    tag: int = 0,
    group_dst: int | None = None,
) -> Work:
    """Start sending a tensor to rank ``dst``, which calls ``recv`` or ``irecv``."""
    found = resolved(group)
    dest = found.find("dst", dst, group_dst)
    return Work([found.comm.start_send(array_of(tensor), dest, tag=tag)])


@explained
def irecv(
    tensor: Tensor | Array,
    src: int | None = None,
    group: ProcessGroup | None = None,
    tag: int = 0,
    group_src: int | None = None,
) -> Work:
    """Start receiving what rank ``src`` sends; its shape and dtype must be the tensor's."""
    found = resolved(group)
    source = source_of(found, src, group_src)
    buffer, finish = buffer_of(array_of(tensor))
    return Work([found.comm.start_recv(buffer, source, tag=tag)], finish)


@explained
def send(
    tensor: Tensor | Array,
    dst: int | None = None,
    group: ProcessGroup | None = None,
    tag: int = 0,
    group_dst: int | None = None,
) -> None:
    """Send a tensor to rank ``dst``; return when it may be changed."""
    isend(tensor, dst, group, tag, group_dst).wait()


@explained
def recv(
    tensor: Tensor | Array,
    src: int | None = None,
    group: ProcessGroup | None = None,
    tag: int = 0,
    group_src: int | None = None,
) -> int:
    """Fill the tensor with what rank ``src`` sends; return ``src``.

    Errors: MismatchError for another shape or dtype, CommError without ``src``.
    """
    irecv(tensor, src, group, tag, group_src).wait()
    found = resolved(group)
    return found.ranks[source_of(found, src, group_src)]


class P2POp:
    """One message of ``batch_isend_irecv``: ``op`` is ``dist.isend`` or ``dist.irecv``."""

    def __init__(
        self,
        op: Callable[..., Work],
        tensor: Tensor | Array,
        peer: int | None = None,
        group: ProcessGroup | None = None,
        tag: int = 0,
        group_peer: int | None = None,
    ) -> None:
        if op not in (isend, irecv):
            raise CommError(f"op={op!r}: dist.isend or dist.irecv, the function itself")
        self.op, self.tensor, self.peer = op, tensor, peer
        self.group, self.tag, self.group_peer = group, tag, group_peer


@explained
def batch_isend_irecv(p2p_op_list: Sequence[Any]) -> list[Work]:
    """Start all messages of the list; return a work for each."""
    given = p2p_op_list if isinstance(p2p_op_list, list | tuple) else ()
    if not given or not all(isinstance(p, P2POp) for p in given):
        raise CommError("batch_isend_irecv takes a list of dist.P2POp, one at least")
    return [p.op(p.tensor, p.peer, p.group, p.tag, p.group_peer) for p in p2p_op_list]
