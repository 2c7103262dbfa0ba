"""``torch.distributed``'s names on the communicator that exists, for scripts that are about ranks.

Training needs none of them: DistributedDataParallel, the DataLoader and ShardSum communicate by
themselves. Tensors and arrays are changed in place; nothing is recorded for gradients.
"""

from __future__ import annotations

import enum
import io
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.comm import Started
from distgrad.errors import CheckpointError, CommError, LaunchError
from distgrad.missing import answers as _answers
from distgrad.parallel.world import World, current_world, init, joined_world
from distgrad.serialization import load, save

__all__ = [
    "ReduceOp",
    "all_gather",
    "all_gather_into_tensor",
    "all_gather_object",
    "all_reduce",
    "barrier",
    "broadcast",
    "broadcast_object_list",
    "destroy_process_group",
    "gather",
    "gather_object",
    "get_backend",
    "get_rank",
    "get_world_size",
    "init_process_group",
    "is_available",
    "is_initialized",
    "reduce",
    "reduce_scatter",
    "scatter",
]


class ReduceOp(enum.Enum):
    """What ``all_reduce`` and ``reduce`` do with the ranks' elements."""

    SUM = "sum"
    AVG = "avg"
    PRODUCT = "product"
    MIN = "min"
    MAX = "max"
    BAND = "band"
    BOR = "bor"
    BXOR = "bxor"


_IN_RANK_ORDER: dict[ReduceOp, Callable[..., Any]] = {
    ReduceOp.PRODUCT: np.multiply,
    ReduceOp.MIN: np.minimum,
    ReduceOp.MAX: np.maximum,
    ReduceOp.BAND: np.bitwise_and,
    ReduceOp.BOR: np.bitwise_or,
    ReduceOp.BXOR: np.bitwise_xor,
}


# -- the group of all ranks -----------------------------------------------------------------------


def init_process_group(
    backend: str | None = None,
    init_method: str | None = None,
    timeout: timedelta | float | None = None,
    world_size: int = -1,
    rank: int = -1,
) -> None:
    """Join the job's ranks, as ``dg.init`` does; whoever starts the job says how many there are.

    ``backend`` is MPI's whatever is asked for, but "nccl", which needs GPUs. ``timeout`` is a
    timedelta, or seconds. Errors: LaunchError for another number of ranks, or another rank.
    """
    if backend is not None and "nccl" in backend:
        raise LaunchError("backend='nccl' is that of GPUs, which are not used here: write 'mpi'")
    if init_method not in (None, "env://"):
        raise LaunchError(f"init_method={init_method!r}: mpirun tells the ranks; leave it out")
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    world = init(timeout=seconds)
    for name, asked, found in (
        ("world_size", world_size, world.size),
        ("rank", rank, world.rank),
    ):
        if asked not in (-1, found):
            raise LaunchError(
                f"init_process_group({name}={asked}), but this job was started with {found}: start "
                f"it with mpirun -n (or distgrad run -n) and leave {name}= out"
            )


def is_available() -> bool:
    """Return whether there are collectives; always."""
    return True


def is_initialized() -> bool:
    """Return whether this rank has joined the others."""
    return joined_world() is not None


def destroy_process_group(group: None = None) -> None:
    """Wait for all ranks; the world itself ends with the program."""
    barrier(group)


def get_rank(group: None = None) -> int:
    """Return this rank's number, from 0."""
    return _world(group).rank


def get_world_size(group: None = None) -> int:
    """Return the number of ranks."""
    return _world(group).size


def get_backend(group: None = None) -> str:
    """Return what carries the messages: "mpi", "local" or "simulated"."""
    return _world(group).comm.transport.name


def barrier(group: None = None) -> None:
    """Return when every rank has called it."""
    _world(group).comm.barrier()


# -- tensors --------------------------------------------------------------------------------------


class _Done:
    """What an operation returns that was complete when it did."""

    def wait(self) -> None:
        """Return at once."""


def all_reduce(
    tensor: Tensor | Array,
    op: ReduceOp = ReduceOp.SUM,
    group: None = None,
    async_op: bool = False,
) -> Started | _Done | None:
    """Replace ``tensor``, on every rank, by what ``op`` makes of all ranks'.

    A sum's order is that of the world's algorithm: the same bits on all ranks. With ``async_op`` it
    returns what is to be waited for with ``wait()``; the tensor is not touched until then.
    Errors: CommError for an op that the dtype has not.
    """
    world, array = _world(group), _array(tensor)
    if op is not ReduceOp.SUM or not async_op or not array.flags.c_contiguous:
        _reduce(world, array, op)
        return _Done() if async_op else None
    return world.comm.start_all_reduce(array, canonical=world.canonical, name="dg.distributed")


def reduce(
    tensor: Tensor | Array, dst: int = 0, op: ReduceOp = ReduceOp.SUM, group: None = None
) -> None:
    """Replace rank ``dst``'s tensor by what ``op`` makes of all ranks'; the others keep theirs."""
    world, array = _world(group), _array(tensor)
    _check_rank(world, "dst", dst)
    found = array.copy()
    _reduce(world, found, op)
    if world.rank == dst:
        array[...] = found


def broadcast(tensor: Tensor | Array, src: int = 0, group: None = None) -> None:
    """Copy rank ``src``'s tensor into everyone's."""
    world, array = _world(group), _array(tensor)
    _check_rank(world, "src", src)
    sent = np.array(array, order="C")
    world.comm.broadcast(sent, src, name="dg.distributed")
    array[...] = sent


def all_gather(tensor_list: list[Any], tensor: Tensor | Array, group: None = None) -> None:
    """Fill ``tensor_list`` with every rank's tensor, in rank order; all are of one shape."""
    world = _world(group)
    _check_length(world, "tensor_list", tensor_list)
    found = _gathered(world, _array(tensor))
    for into, array in zip(tensor_list, found, strict=True):
        _array(into)[...] = array


def all_gather_into_tensor(
    output_tensor: Tensor | Array, input_tensor: Tensor | Array, group: None = None
) -> None:
    """Fill ``output_tensor`` with every rank's tensor, joined along axis 0 or stacked."""
    out = _array(output_tensor)
    out[...] = _gathered(_world(group), _array(input_tensor)).reshape(out.shape)


def gather(
    tensor: Tensor | Array, gather_list: list[Any] | None = None, dst: int = 0, group: None = None
) -> None:
    """Fill rank ``dst``'s ``gather_list`` with every rank's tensor, in rank order."""
    world = _world(group)
    _check_rank(world, "dst", dst)
    if world.rank == dst:
        _check_length(world, "gather_list", gather_list)
    found = _gathered(world, _array(tensor))
    if world.rank == dst and gather_list is not None:
        for into, array in zip(gather_list, found, strict=True):
            _array(into)[...] = array


def scatter(
    tensor: Tensor | Array,
    scatter_list: Sequence[Any] | None = None,
    src: int = 0,
    group: None = None,
) -> None:
    """Fill each rank r's tensor with ``scatter_list[r]`` of rank ``src``."""
    world, array = _world(group), _array(tensor)
    _check_rank(world, "src", src)
    everyones = np.empty((world.size, *array.shape), array.dtype)
    if world.rank == src:
        _check_length(world, "scatter_list", scatter_list)
        for r, one in enumerate(scatter_list or ()):
            everyones[r] = _array(one)
    world.comm.broadcast(everyones, src, name="dg.distributed")
    array[...] = everyones[world.rank]


def reduce_scatter(
    output: Tensor | Array,
    input_list: Sequence[Any],
    op: ReduceOp = ReduceOp.SUM,
    group: None = None,
) -> None:
    """Fill each rank r's ``output`` with what ``op`` makes of all ranks' ``input_list[r]``."""
    world, array = _world(group), _array(output)
    _check_length(world, "input_list", input_list)
    everyones = np.stack([_array(one) for one in input_list])
    _reduce(world, everyones, op)
    array[...] = everyones[world.rank]


# -- objects --------------------------------------------------------------------------------------


def all_gather_object(object_list: list[Any], obj: Any, group: None = None) -> None:
    """Fill ``object_list`` with every rank's object, in rank order.

    Objects are what ``dg.save`` takes: Tensors, arrays, numbers, strings, None, and lists, tuples
    and dicts of these, as a ``state_dict`` is; never a pickle. Errors: CommError for others.
    """
    world = _world(group)
    _check_length(world, "object_list", object_list)
    object_list[:] = map(_object, world.comm.all_gather_bytes(_bytes(obj)))


def gather_object(
    obj: Any, object_gather_list: list[Any] | None = None, dst: int = 0, group: None = None
) -> None:
    """Fill rank ``dst``'s list with every rank's object; see ``all_gather_object``."""
    world = _world(group)
    _check_rank(world, "dst", dst)
    if world.rank == dst:
        _check_length(world, "object_gather_list", object_gather_list)
    found = world.comm.all_gather_bytes(_bytes(obj))
    if world.rank == dst and object_gather_list is not None:
        object_gather_list[:] = map(_object, found)


def broadcast_object_list(object_list: list[Any], src: int = 0, group: None = None) -> None:
    """Replace the objects in everyone's list by rank ``src``'s; see ``all_gather_object``."""
    world = _world(group)
    _check_rank(world, "src", src)
    data = _bytes(object_list) if world.rank == src else b""
    object_list[:] = _object(world.comm.broadcast_bytes(data, src))


# -- helpers --------------------------------------------------------------------------------------


def _world(group: Any) -> World:
    if group is not None:
        raise CommError(
            f"group={group!r}: collectives are over all ranks of the world; leave it out (parts "
            f"of the ranks cannot be groups)"
        )
    return current_world()


def _array(tensor: Any) -> Array:
    if not isinstance(tensor, Tensor | np.ndarray):
        raise CommError(
            f"a collective takes Tensors and arrays, which it changes in place; got a "
            f"{type(tensor).__name__}: objects go by all_gather_object, numbers as dg.Tensor([x])"
        )
    return tensor.array if isinstance(tensor, Tensor) else tensor


def _reduce(world: World, array: Array, op: ReduceOp) -> None:
    """Replace the array by what ``op`` makes of all ranks'."""
    if op in (ReduceOp.SUM, ReduceOp.AVG):
        if op is ReduceOp.AVG and array.dtype.kind not in "fc":
            raise CommError(f"the average of {array.dtype} would be cut: convert with .float()")
        summed = np.array(array, order="C")
        world.comm.all_reduce(summed, canonical=world.canonical, name="dg.distributed")
        array[...] = summed / world.size if op is ReduceOp.AVG else summed
        return
    if op not in _IN_RANK_ORDER:
        raise CommError(f"op={op!r}: one of {', '.join(f'ReduceOp.{o.name}' for o in ReduceOp)}")
    try:
        array[...] = _IN_RANK_ORDER[op].reduce(_gathered(world, array), axis=0, dtype=array.dtype)  # type: ignore[attr-defined]
    except TypeError as error:
        raise CommError(f"{op} of {array.dtype}: {error}") from None


def _gathered(world: World, array: Array) -> Array:
    """Return every rank's array, stacked."""
    everyones = np.empty((world.size, *array.shape), array.dtype)
    everyones[world.rank] = array
    step = array.size
    slices = [slice(r * step, (r + 1) * step) for r in range(world.size)]
    world.comm.all_gather(everyones.reshape(-1), slices=slices, name="dg.distributed")
    return everyones


def _bytes(obj: Any) -> bytes:
    file = io.BytesIO()
    try:
        save(obj, file)
    except CheckpointError as error:
        raise CommError(f"an object crosses the ranks as dg.save saves it: {error}") from None
    return file.getvalue()


def _object(data: bytes) -> Any:
    return load(io.BytesIO(data))


def _check_rank(world: World, name: str, rank: int) -> None:
    if not 0 <= rank < world.size:
        raise CommError(f"{name}={rank}: there are ranks 0 to {world.size - 1}")


def _check_length(world: World, name: str, items: Sequence[Any] | None) -> None:
    if items is None or len(items) != world.size:
        found = "none" if items is None else str(len(items))
        raise CommError(
            f"[rank {world.rank}/{world.size}] {name} needs one place for each of the "
            f"{world.size} ranks; got {found}"
        )


__getattr__ = _answers("distgrad.distributed", globals())
