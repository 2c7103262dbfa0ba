"""Every function of dg.distributed, given what it cannot take, on all ranks or on one of them.

No rank waits for ever, and every one that fails says which argument, or which rank, is to blame.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from training import alone, simulated

import distgrad as dg
from distgrad import distributed as dist
from distgrad.errors import DeadlockError, DistgradError, MismatchError

SIZE = 3  # 2 hides direction


def tensor(*shape: int) -> dg.Tensor:
    return dg.Tensor(np.ones(shape or (2, 3), np.float32))


def each(n: int) -> list[dg.Tensor]:
    return [tensor() for _ in range(n)]


def at_root(rank: int, value: Any) -> Any:
    return value if rank < 2 else None  # 1 is another root, below


RIGHT: dict[str, Callable[[int, int], dict[str, Any]]] = {
    "all_gather": lambda n, _: {"tensor_list": each(n), "tensor": tensor()},
    "all_gather_into_tensor": lambda n, _: {
        "output_tensor": tensor(2 * n, 3),
        "input_tensor": tensor(),
    },
    "all_gather_object": lambda n, _: {"object_list": [None] * n, "obj": {"a": 1}},
    "all_reduce": lambda *_: {"tensor": tensor(), "op": dist.ReduceOp.SUM, "async_op": False},
    "all_to_all": lambda n, _: {"output_tensor_list": each(n), "input_tensor_list": each(n)},
    "all_to_all_single": lambda n, _: {
        "output": tensor(n, 2),
        "input": tensor(n, 2),
        "output_split_sizes": [1] * n,
        "input_split_sizes": [1] * n,
    },
    "barrier": lambda *_: {"group": None},
    "batch_isend_irecv": lambda n, r: {
        "p2p_op_list": [
            dist.P2POp(dist.isend, tensor(), (r + 1) % n),
            dist.P2POp(dist.irecv, tensor(), (r - 1) % n),
        ]
    },
    "broadcast": lambda *_: {"tensor": tensor(), "src": 0},
    "broadcast_object_list": lambda *_: {"object_list": [1, "a"], "src": 0},
    "gather": lambda n, r: {"tensor": tensor(), "gather_list": at_root(r, each(n)), "dst": 0},
    "gather_object": lambda n, r: {
        "obj": 1,
        "object_gather_list": at_root(r, [None] * n),
        "dst": 0,
    },
    "get_global_rank": lambda *_: {"group": None, "group_rank": 0},
    "get_group_rank": lambda *_: {"group": None, "global_rank": 0},
    "isend": lambda n, r: {"tensor": tensor(), "dst": (r + 1) % n, "tag": 1},
    "irecv": lambda n, r: {"tensor": tensor(), "src": (r + 1) % n, "tag": 1},
    "monitored_barrier": lambda *_: {"group": None, "timeout": timedelta(seconds=30)},
    "new_group": lambda *_: {"ranks": [0, 2], "timeout": 30.0},
    "reduce": lambda *_: {"tensor": tensor(), "dst": 0, "op": dist.ReduceOp.SUM},
    "reduce_scatter": lambda n, _: {
        "output": tensor(),
        "input_list": each(n),
        "op": dist.ReduceOp.SUM,
    },
    "reduce_scatter_tensor": lambda n, _: {"output": tensor(), "input": tensor(2 * n, 3)},
    "scatter": lambda n, r: {"tensor": tensor(), "scatter_list": at_root(r, each(n)), "src": 0},
    "scatter_object_list": lambda n, r: {
        "scatter_object_output_list": [None],
        "scatter_object_input_list": at_root(r, [1] * n),
        "src": 0,
    },
}
# What only waits for the others, asks for no value, or is walked as its start (isend, irecv).
WITHOUT = {"destroy_process_group", "get_backend", "get_process_group_ranks", "get_rank"}
WITHOUT |= {"get_world_size", "init_process_group", "is_available", "is_initialized", "nn"}
WITHOUT |= {"recv", "recv_object_list", "send", "send_object_list"}

NONSENSE = ["x", 9, -1, None, object(), 1.5, [], [1, 2], {}, float("nan"), lambda: 0]
ARRAYS = [np.array(["a"]), np.array([object()]), tensor(7), np.ones((2, 3), np.int64)]


def test_no_function_is_missing_here() -> None:
    functions = {n for n in dist.__all__ if not inspect.isclass(getattr(dist, n))}
    assert functions == set(RIGHT) | WITHOUT


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_here_is_taken(name: str) -> None:
    assert called(name, lambda _, arguments: arguments) == [None] * SIZE


@pytest.mark.parametrize("everywhere", [True, False], ids=["all ranks", "rank 1"])
@pytest.mark.parametrize("name", RIGHT)
def test_nonsense_is_taken_or_names_the_argument_or_the_rank(name: str, everywhere: bool) -> None:
    for argument in RIGHT[name](SIZE, 0):
        for value in [*NONSENSE, *ARRAYS]:

            def changed(
                rank: int, right: dict[str, Any], argument: str = argument, value: Any = value
            ) -> dict[str, Any]:
                return {**right, argument: value} if everywhere or rank == 1 else right

            for error in called(name, changed):
                assert not isinstance(error, DeadlockError), (argument, value, error)
                if error is not None and not isinstance(error, DistgradError):
                    start = f"{name}: {argument} is "
                    assert isinstance(error, TypeError), (argument, value, error)
                    assert str(error).startswith(start), (argument, value, error)
                    assert "; got " in str(error)


def called(name: str, change: Callable[[int, dict[str, Any]], dict[str, Any]]) -> list[Any]:
    """Return what each rank's call raised: None where it went well."""
    return simulated(SIZE, lambda: raised(dg.init(), name, change))


def raised(world: Any, name: str, change: Callable[[int, dict[str, Any]], dict[str, Any]]) -> Any:
    try:
        getattr(dist, name)(**change(world.rank, RIGHT[name](world.size, world.rank)))
    except (DistgradError, TypeError, ValueError, AttributeError, LookupError) as error:
        return error
    return None


def with_another_dtype(rank: int, right: Any) -> Any:
    if isinstance(right, dict):
        return {k: with_another_dtype(rank, v) for k, v in right.items()}
    if isinstance(right, list):
        return [with_another_dtype(rank, one) for one in right]
    other = isinstance(right, dg.Tensor) and rank == 1
    return dg.Tensor(right.array.astype("f8")) if other else right


def with_another_op(rank: int, right: dict[str, Any]) -> dict[str, Any]:
    return {**right, "op": dist.ReduceOp.MAX if rank == 1 else dist.ReduceOp.SUM}


def with_another_root(rank: int, right: dict[str, Any]) -> dict[str, Any]:
    return {**right, "dst" if "dst" in right else "src": 1 if rank == 1 else 0}


def signature(name: str) -> set[str]:
    return {*inspect.signature(getattr(dist, name)).parameters}


COLLECTIVES = [n for n in RIGHT if n not in {"isend", "irecv"}]
DIFFERENT = [(n, with_another_op) for n in COLLECTIVES if "op" in signature(n)]
DIFFERENT += [(n, with_another_root) for n in COLLECTIVES if signature(n) & {"src", "dst"}]
DIFFERENT += [
    (n, with_another_dtype)
    for n in COLLECTIVES
    if n.startswith(("all_", "reduce", "gather", "broadcast")) and "object" not in n
]


@pytest.mark.parametrize(("name", "change"), DIFFERENT)
def test_ranks_that_differ_name_each_other(name: str, change: Any) -> None:
    for rank, error in enumerate(called(name, change)):
        assert isinstance(error, MismatchError), (rank, error)
        there = 0 if rank == 1 else 1
        assert re.match(
            rf"\[rank {rank}/3\] .* this rank is in .*, rank {there} is in ", str(error)
        )


@pytest.mark.mpi
def test_ranks_of_a_job_that_differ_name_each_other() -> None:
    def differ(name: str, change: Any) -> None:
        world = dg.init()
        error = raised(world, name, change)
        assert isinstance(error, MismatchError), (name, change, error)
        assert str(error).startswith(f"[rank {world.rank}/{world.size}] "), error

    for name, change in DIFFERENT:
        alone(lambda n=name, c=change: differ(n, c))  # it ends the world that it happens in


@pytest.mark.mpi
def test_nonsense_on_every_rank_of_a_job_is_named_on_every_rank() -> None:
    alone(_nonsense_is_named)


def _nonsense_is_named() -> None:
    world = dg.init()
    for name in set(COLLECTIVES) - {"barrier", "batch_isend_irecv"}:
        for argument in {"op", "src", "dst", "tensor", "output", "input"} & signature(name):
            error = raised(world, name, lambda _, right, a=argument: {**right, a: "x"})
            assert isinstance(error, DistgradError | TypeError), (name, argument, error)
