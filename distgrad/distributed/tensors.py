"""Collectives that change Tensors and arrays in place; nothing is recorded for gradients."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from distgrad.arguments import explained
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.distributed.groups import ProcessGroup, resolved
from distgrad.distributed.objects import check_length
from distgrad.distributed.work import Work, array_of, buffer_of, fill, run
from distgrad.errors import CommError

_NAME = "dg.distributed"


class ReduceOp(enum.Enum):
    """What ``all_reduce``, ``reduce`` and ``reduce_scatter`` do with the ranks' elements."""

    SUM = "sum"
    AVG = "mean"
    PRODUCT = "prod"
    MIN = "min"
    MAX = "max"
    BAND = "band"
    BOR = "bor"
    BXOR = "bxor"


def op_name(op: Any) -> str:
    """Return what the communicator calls it. Errors: CommError for what is no ReduceOp."""
    if isinstance(op, ReduceOp):
        return op.value
    raise CommError(f"op={op!r}: one of {', '.join(f'ReduceOp.{o.name}' for o in ReduceOp)}")


@explained
def all_reduce(
    tensor: Tensor | Array,
    op: ReduceOp = ReduceOp.SUM,
    group: ProcessGroup | None = None,
    async_op: bool = False,
) -> Work | None:
    """Replace ``tensor``, on every rank, by what ``op`` makes of all ranks'.

    A sum's order is that of the world's algorithm, that of all others the canonical one: the same
    bits on all ranks. With ``async_op`` it returns what is to be waited for with ``wait()``; the
    tensor is not touched until then. Errors: CommError for an op that the dtype has not.
    """
    found = resolved(group)
    buffer, finish = buffer_of(array_of(tensor))
    started = found.comm.start_all_reduce(
        buffer, op=op_name(op), canonical=found.canonical, name=_NAME
    )
    return run(async_op, started, finish)


@explained
def reduce(
    tensor: Tensor | Array,
    dst: int = 0,
    op: ReduceOp = ReduceOp.SUM,
    group: ProcessGroup | None = None,
    async_op: bool = False,
    group_dst: int | None = None,
) -> Work | None:
    """Replace rank ``dst``'s tensor by what ``op`` makes of all ranks'; the others keep theirs."""
    found = resolved(group)
    root = found.find("dst", dst, group_dst)
    buffer, finish = buffer_of(array_of(tensor), changes=found.comm.rank == root)
    started = found.comm.start_reduce(buffer, root, op=op_name(op), name=_NAME)
    return run(async_op, started, finish)


@explained
def broadcast(
    tensor: Tensor | Array,
    src: int = 0,
    group: ProcessGroup | None = None,
    async_op: bool = False,
    group_src: int | None = None,
) -> Work | None:
    """Copy rank ``src``'s tensor into everyone's."""
    found = resolved(group)
    root = found.find("src", src, group_src)
    buffer, finish = buffer_of(array_of(tensor), changes=found.comm.rank != root)
    return run(async_op, found.comm.start_broadcast(buffer, root, name=_NAME), finish)


@explained
def all_gather(
    tensor_list: list[Any],
    tensor: Tensor | Array,
    group: ProcessGroup | None = None,
    async_op: bool = False,
) -> Work | None:
    """Fill ``tensor_list`` with every rank's tensor, in rank order.

    They may differ in length along axis 0, as the places for them then do.
    """
    comm = resolved(group).comm
    check_length(comm, "tensor_list", tensor_list)
    started = comm.start_all_gather_arrays(_rows(tensor), name=_NAME)
    return run(async_op, started, lambda: _fill_list("tensor_list", tensor_list, started.result))


@explained
def all_gather_into_tensor(
    output_tensor: Tensor | Array,
    input_tensor: Tensor | Array,
    group: ProcessGroup | None = None,
    async_op: bool = False,
) -> Work | None:
    """Fill ``output_tensor`` with every rank's tensor, joined along axis 0 or stacked."""
    comm = resolved(group).comm
    out, own = array_of(output_tensor), array_of(input_tensor)
    _check_joined("output_tensor", out, own, comm.size)
    buffer, finish = buffer_of(out)
    buffer.reshape(comm.size, own.size)[comm.rank] = own.reshape(-1)
    return run(async_op, comm.start_all_gather(buffer, name=_NAME), finish)


@explained
def gather(
    tensor: Tensor | Array,
    gather_list: list[Any] | None = None,
    dst: int = 0,
    group: ProcessGroup | None = None,
    async_op: bool = False,
    group_dst: int | None = None,
) -> Work | None:
    """Fill rank ``dst``'s ``gather_list`` with every rank's tensor, in rank order.

    They may differ in length along axis 0, as the places for them then do.
    """
    found = resolved(group)
    comm, root = found.comm, found.find("dst", dst, group_dst)
    if comm.rank == root:
        check_length(comm, "gather_list", gather_list)
    started = comm.start_gather(_rows(tensor), root, name=_NAME)

    def finish() -> None:
        if (arrays := started.result) is not None:
            _fill_list("gather_list", gather_list or [], arrays)

    return run(async_op, started, finish)


@explained
def scatter(
    tensor: Tensor | Array,
    scatter_list: Sequence[Any] | None = None,
    src: int = 0,
    group: ProcessGroup | None = None,
    async_op: bool = False,
    group_src: int | None = None,
) -> Work | None:
    """Fill each rank r's tensor with ``scatter_list[r]`` of rank ``src``."""
    found = resolved(group)
    comm, root = found.comm, found.find("src", src, group_src)
    into, given = array_of(tensor), None
    if comm.rank == root:
        check_length(comm, "scatter_list", scatter_list)
        given = [array_of(one) for one in scatter_list or ()]
    started = comm.start_scatter(given, root, name=_NAME)
    return run(async_op, started, lambda: fill("tensor", into, started.result))


@explained
def reduce_scatter(
    output: Tensor | Array,
    input_list: Sequence[Any],
    op: ReduceOp = ReduceOp.SUM,
    group: ProcessGroup | None = None,
    async_op: bool = False,
) -> Work | None:
    """Fill each rank r's ``output`` with what ``op`` makes of all ranks' ``input_list[r]``."""
    found = resolved(group)
    check_length(found.comm, "input_list", input_list)
    arrays = [array_of(one) for one in input_list]
    return _reduce_scatter(found, array_of(output), arrays, op, async_op)


@explained
def reduce_scatter_tensor(
    output: Tensor | Array,
    input: Tensor | Array,
    op: ReduceOp = ReduceOp.SUM,
    group: ProcessGroup | None = None,
    async_op: bool = False,
) -> Work | None:
    """Fill each rank r's ``output`` with part r of what ``op`` makes of all ranks' ``input``."""
    found = resolved(group)
    out, whole = array_of(output), array_of(input)
    _check_joined("input", whole, out, found.comm.size)
    arrays = [*whole.reshape(found.comm.size, *out.shape)]
    return _reduce_scatter(found, out, arrays, op, async_op)


@explained
def all_to_all(
    output_tensor_list: list[Any],
    input_tensor_list: Sequence[Any],
    group: ProcessGroup | None = None,
    async_op: bool = False,
) -> Work | None:
    """Fill place r of the output list with what rank r has for this one in its input list.

    The tensors may differ in length along axis 0.
    """
    comm = resolved(group).comm
    check_length(comm, "output_tensor_list", output_tensor_list)
    check_length(comm, "input_tensor_list", input_tensor_list)
    started = comm.start_all_to_all([_rows(one) for one in input_tensor_list], name=_NAME)
    return run(
        async_op,
        started,
        lambda: _fill_list("output_tensor_list", output_tensor_list, started.result),
    )


@explained
def all_to_all_single(
    output: Tensor | Array,
    input: Tensor | Array,
    output_split_sizes: Sequence[int] | None = None,
    input_split_sizes: Sequence[int] | None = None,
    group: ProcessGroup | None = None,
    async_op: bool = False,
) -> Work | None:
    """Send part r of ``input`` to rank r and fill part r of ``output`` with what comes from it.

    Parts are rows along axis 0, equal ones unless their numbers are given.
    """
    comm = resolved(group).comm
    out = array_of(output)
    places = cut(comm.size, "output", out, output_split_sizes)
    given = cut(comm.size, "input", array_of(input), input_split_sizes)
    started = comm.start_all_to_all(given, name=_NAME)
    return run(async_op, started, lambda: _fill_list("part of output", places, started.result))


def cut(size: int, name: str, array: Array, lengths: Sequence[int] | None) -> list[Array]:
    """Cut an array along axis 0 into one part for each rank; CommError if that cannot be."""
    rows = len(array) if array.ndim else 0
    given = lengths is not None and len(lengths) > 0
    parts = [*lengths] if lengths is not None and given else [rows // size] * size
    if len(parts) != size or sum(parts) != rows or min(parts) < 0:
        raise CommError(
            f"{name} of shape {array.shape} cannot be cut along axis 0 into {size} parts"
            f"{f' of {parts} rows' if given else ''}; give {name}_split_sizes, one number for each "
            f"rank, {rows} together"
        )
    return [array[a:b] for a, b in pairwise(accumulate(parts, initial=0))]


def _reduce_scatter(
    group: ProcessGroup, out: Array, arrays: Sequence[Array], op: ReduceOp, async_op: bool
) -> Work | None:
    comm = group.comm
    flat = np.concatenate([array.reshape(-1) for array in arrays])
    bounds = pairwise(accumulate((array.size for array in arrays), initial=0))
    alike = all(array.size == arrays[0].size for array in arrays)
    started, own = comm.start_reduce_scatter(
        flat,
        op=op_name(op),
        slices=None if alike else [slice(a, b) for a, b in bounds],
        canonical=group.canonical,
        name=_NAME,
    )
    shape = arrays[comm.rank].shape
    return run(async_op, started, lambda: fill("output", out, own.reshape(shape)))


def _rows(tensor: Any) -> Array:
    array = array_of(tensor)
    return array if array.ndim else array.reshape(1)


def _fill_list(name: str, places: Sequence[Any], found: Sequence[Array]) -> None:
    for r, (place, array) in enumerate(zip(places, found, strict=True)):
        into = array_of(place)
        fill(f"{name}[{r}]", into, array if into.ndim else array.reshape(array.shape[1:] or ()))


def _check_joined(name: str, whole: Array, part: Array, size: int) -> None:
    joined = (size * part.shape[0], *part.shape[1:]) if part.ndim else (size,)
    if whole.dtype != part.dtype or whole.shape not in (joined, (size, *part.shape)):
        raise CommError(
            f"{name} is {whole.dtype} {whole.shape}, but for {size} ranks with {part.dtype} "
            f"{part.shape} each it must be {joined} or {(size, *part.shape)} of that dtype"
        )
