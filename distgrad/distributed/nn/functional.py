"""Collectives that return new values, through which gradients flow: the loss is all ranks' sum.

They take arrays, Tensors, and lists, tuples and dicts of these. Where a rank's result is not
asked for, it is zeros. Every rank must take part in backward as it did in forward: one whose loss
leaves a result out is told so, by the ranks that wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad.arguments import explained
from distgrad.autograd.mode import grad_enabled
from distgrad.autograd.tensor import Tensor
from distgrad.distributed.groups import ProcessGroup, resolved
from distgrad.distributed.nn import ops
from distgrad.distributed.objects import check_length
from distgrad.distributed.tensors import ReduceOp, cut, op_name
from distgrad.distributed.work import array_of
from distgrad.errors import CommError

__all__ = [
    "all_gather",
    "all_reduce",
    "all_to_all",
    "all_to_all_single",
    "broadcast",
    "gather",
    "reduce",
    "reduce_scatter",
    "scatter",
]

Group = ProcessGroup | None


@explained
def all_reduce(tensor: Any, op: ReduceOp = ReduceOp.SUM, group: Group = None) -> Any:
    """Return what ``op`` makes of all ranks' tensors; the gradient of a sum is an all_reduce.

    Of a maximum or minimum, the ranks that share it share the gradient. Errors: CommError for an
    op that the dtype has not, or that has no gradient where one is asked for.
    """
    found, (tensor,) = _ready(group, "all_reduce", tensor)
    return _map(lambda t: _combined(found, t, op), tensor)


@explained
def reduce(tensor: Any, dst: int, op: ReduceOp = ReduceOp.SUM, group: Group = None) -> Any:
    """Return on rank ``dst`` what ``op`` makes of all ranks' tensors; its gradient is for all."""
    found, (tensor,) = _ready(group, "reduce", tensor)
    root = found.find("dst", dst)
    here = found.comm.rank == root

    def one(t: Any) -> Any:
        if op in (ReduceOp.SUM, ReduceOp.AVG):
            return _mean(found, op, _called(ops.reduce, t, root=root, group=found))
        return _called(ops.only, _combined(found, t, op), here=here)

    return _map(one, tensor)


@explained
def broadcast(tensor: Any, src: int, group: Group = None) -> Any:
    """Return rank ``src``'s tensor; the gradient is the sum of all ranks', there."""
    found, (tensor,) = _ready(group, "broadcast", tensor)
    root = found.find("src", src)
    return _map(lambda t: _called(ops.broadcast, t, root=root, group=found), tensor)


@explained
def all_gather(tensor: Any, group: Group = None) -> tuple[Any, ...]:
    """Return every rank's tensor, in rank order; the gradient is a reduce_scatter.

    They may differ in length along axis 0.
    """
    found, (tensor,) = _ready(group, "all_gather", tensor)
    gathered = _map(lambda t: _Several(_called(ops.all_gather, t, group=found)), tensor)
    return _apart(gathered, found.comm.size)


@explained
def gather(tensor: Any, dst: int = 0, group: Group = None) -> tuple[Any, ...]:
    """Return every rank's tensor on rank ``dst``; its gradients are scattered.

    They may differ in length along axis 0.
    """
    found, (tensor,) = _ready(group, "gather", tensor)
    root = found.find("dst", dst)
    gathered = _map(lambda t: _Several(_called(ops.gather, t, root=root, group=found)), tensor)
    return _apart(gathered, found.comm.size)


@explained
def scatter(tensors: Sequence[Any] | None, src: int = 0, group: Group = None) -> Any:
    """Return ``tensors[r]`` of rank ``src`` on each rank r; the gradients are gathered there.

    What the other ranks pass is ignored; if the tensors are lists or dicts of tensors, they pass
    such ones too.
    """
    joined = resolved(group)
    root = joined.find("src", src)
    if joined.comm.rank == root:
        check_length(joined.comm, "tensors", tensors)
    if tensors is None:
        tensors = [Tensor(np.zeros(0))] * joined.comm.size
    found, given = _ready(group, "scatter", *tensors)
    return _zipped(lambda *ts: _called(ops.scatter, *ts, root=root, group=found), given)


@explained
def reduce_scatter(
    output: Any, input_list: Sequence[Any], op: ReduceOp = ReduceOp.SUM, group: Group = None
) -> Any:
    """Return on each rank r what ``op`` makes of all ranks' ``input_list[r]``.

    The gradient is an all_gather. ``output``, if not None, must be like the result: as in PyTorch,
    which writes it there; here only the returned value has it.
    """
    joined = resolved(group)
    check_length(joined.comm, "input_list", input_list)
    found, given = _ready(group, "reduce_scatter", *input_list)

    def one(*ts: Any) -> Any:
        if op in (ReduceOp.SUM, ReduceOp.AVG):
            return _mean(found, op, _called(ops.reduce_scatter, *ts, group=found))
        flat = np.concatenate([t.reshape(-1) for t in ts])
        start = sum(t.size for t in ts[: found.comm.rank])
        own = ts[found.comm.rank]
        return _combined(found, flat, op)[start : start + own.size].reshape(own.shape)

    result = _zipped(one, given)
    _check_like("output", output, result)
    return result


@explained
def all_to_all(
    output_tensor_list: Sequence[Any] | None, input_tensor_list: Sequence[Any], group: Group = None
) -> tuple[Any, ...]:
    """Return what each rank has for this one in its input list; the gradients go back.

    The tensors may differ in length along axis 0. ``output_tensor_list``, if not None, must be
    like the result: as in PyTorch, which writes it there; here only the returned value has it.
    """
    joined = resolved(group)
    check_length(joined.comm, "input_tensor_list", input_tensor_list)
    found, given = _ready(group, "all_to_all", *input_tensor_list)
    exchanged = _zipped(lambda *ts: _Several(_called(ops.all_to_all, *ts, group=found)), given)
    result = _apart(exchanged, found.comm.size)
    if output_tensor_list is not None:
        check_length(found.comm, "output_tensor_list", output_tensor_list)
        for r, (into, one) in enumerate(zip(output_tensor_list, result, strict=True)):
            _check_like(f"output_tensor_list[{r}]", into, one)
    return result


@explained
def all_to_all_single(
    output: Any,
    input: Any,
    output_split_sizes: Sequence[int] | None = None,
    input_split_sizes: Sequence[int] | None = None,
    group: Group = None,
) -> Any:
    """Return, joined along axis 0, what each rank has for this one: its part of ``input``.

    Parts are rows, equal ones unless their numbers are given. ``output``, if not None, must be
    like the result, and so must ``output_split_sizes``.
    """
    found, (tensor,) = _ready(group, "all_to_all_single", input)
    parts = cut(found.comm.size, "input", tensor, input_split_sizes)
    exchanged = _called(ops.all_to_all, *parts, group=found)
    lengths = [len(one) for one in exchanged]
    if output_split_sizes is not None and [*output_split_sizes] not in ([], lengths):
        raise CommError(
            f"output_split_sizes={[*output_split_sizes]}, but the ranks have sent {lengths} rows"
        )
    result = np.concatenate(exchanged)
    _check_like("output", output, result)
    return result


# -- helpers --------------------------------------------------------------------------------------


class _Several(tuple[Any, ...]):
    """One value for each rank, in the place of a tensor."""

    __slots__ = ()


def _ready(group: Group, name: str, *tensors: Any) -> tuple[ProcessGroup, list[Any]]:
    """Return the group and the tensors, of which all ranks record the same.

    A rank whose input needs no gradient has a part in backward if another's does.
    """
    found = resolved(group)
    leaves: list[Any] = []
    for tensor in tensors:
        _map(leaves.append, tensor)
    if not any(isinstance(leaf, Tensor) for leaf in leaves):
        return found, [*tensors]
    recording = grad_enabled.get()
    flag = np.zeros(1, np.int64)
    flag[0] = recording and any(isinstance(t, Tensor) and t.requires_grad for t in leaves)
    found.comm.all_reduce(flag, name=f"whether {name} needs gradients")
    if not flag[0] or not recording:
        return found, [*tensors]
    return found, [_map(_recorded, tensor) for tensor in tensors]


def _recorded(leaf: Any) -> Any:
    array = array_of(leaf)
    if array.dtype.kind not in "fc" or (isinstance(leaf, Tensor) and leaf.requires_grad):
        return leaf
    return Tensor(array, requires_grad=True)


def _called(op: Callable[..., Any], *tensors: Any, **settings: Any) -> Any:
    """Call an op; of arrays it returns arrays."""
    result = op(*tensors, **settings)
    if any(isinstance(t, Tensor) for t in tensors):
        return result
    return tuple(map(array_of, result)) if isinstance(result, tuple | list) else array_of(result)


def _combined(group: ProcessGroup, tensor: Any, op: ReduceOp) -> Any:
    kind = op_name(op)
    if op in (ReduceOp.SUM, ReduceOp.AVG):
        return _mean(group, op, _called(ops.all_reduce, tensor, group=group))
    if op in (ReduceOp.MAX, ReduceOp.MIN):
        return _called(ops.extreme, tensor, kind=kind, group=group)
    if op is ReduceOp.PRODUCT:
        return _called(ops.product, tensor, group=group)
    array = np.array(array_of(tensor), order="C")
    group.comm.all_reduce(array, op=kind, name=f"dist.nn {kind}")
    return Tensor(array) if isinstance(tensor, Tensor) else array


def _mean(group: ProcessGroup, op: ReduceOp, total: Any) -> Any:
    if op is ReduceOp.SUM:
        return total
    if total.dtype.kind not in "fc":
        raise CommError(f"the mean of {total.dtype} would be cut: convert with .float()")
    return total / group.comm.size


def _map(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply a function to every tensor of nested lists, tuples and dicts."""
    return _zipped(function, [value])


def _zipped(function: Callable[..., Any], values: Sequence[Any]) -> Any:
    """Apply a function to the tensors that stand in the same place of each of the values."""
    first = values[0]
    if isinstance(first, dict):
        return {key: _zipped(function, [value[key] for value in values]) for key in first}
    if isinstance(first, list | tuple):
        made = [_zipped(function, items) for items in zip(*values, strict=True)]
        return type(first)(*made) if hasattr(first, "_fields") else type(first)(made)
    for value in values:
        array_of(value)
    return function(*values)


def _apart(value: Any, size: int) -> tuple[Any, ...]:
    """Turn a structure of values for each rank into a structure for each rank."""
    return tuple(_part_of(value, r) for r in range(size))


def _part_of(value: Any, rank: int) -> Any:
    if isinstance(value, _Several):
        return value[rank]
    if isinstance(value, dict):
        return {key: _part_of(one, rank) for key, one in value.items()}
    made = [_part_of(one, rank) for one in value]
    return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)


def _check_like(name: str, into: Any, result: Any) -> None:
    if into is None or not isinstance(result, Tensor | np.ndarray):
        return
    if array_of(into).shape != result.shape:
        raise CommError(f"{name} has shape {into.shape}, but the result has {result.shape}")
