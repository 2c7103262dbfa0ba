"""dg.distributed: torch.distributed's names, in every kind of world, with data of each rank's."""

from __future__ import annotations

import json
import math
from datetime import timedelta

import numpy as np
import pytest
from training import alone, simulated

import distgrad as dg
from distgrad import distributed as dist
from distgrad import nn
from distgrad.distributed import ReduceOp
from distgrad.errors import CommError, LaunchError, MismatchError


def own(rank: int, dtype: str = "float64") -> np.ndarray:
    return (np.arange(6).reshape(2, 3) * (rank + 2) + rank + 1).astype(dtype)


EXPECTED = {
    ReduceOp.SUM: np.sum,
    ReduceOp.AVG: np.mean,
    ReduceOp.PRODUCT: np.prod,
    ReduceOp.MIN: np.min,
    ReduceOp.MAX: np.max,
}


def collectives() -> None:
    rank, size = dist.get_rank(), dist.get_world_size()
    everyones = np.stack([own(r) for r in range(size)])
    for op, function in EXPECTED.items():
        t = dg.Tensor(own(rank))
        assert dist.all_reduce(t, op=op) is None
        np.testing.assert_allclose(t.array, function(everyones, axis=0), rtol=1e-14)
    for op, function in ((ReduceOp.BAND, np.bitwise_and), (ReduceOp.BOR, np.bitwise_or)):
        a = own(rank, "int32")
        dist.all_reduce(a, op)
        np.testing.assert_array_equal(a, function.reduce(everyones.astype("int32"), axis=0))
    view = np.zeros((3, 4))[:, ::2].T  # neither contiguous nor whole
    view[...] = own(rank)
    work = dist.all_reduce(view, async_op=True)
    work.wait()
    np.testing.assert_array_equal(view, everyones.sum(axis=0))
    work = dist.all_reduce(t := dg.Tensor(own(rank)), async_op=True)
    work.wait()
    np.testing.assert_allclose(t.array, everyones.sum(axis=0))
    last = size - 1
    t = dg.Tensor(own(rank))
    dist.reduce(t, dst=last)
    np.testing.assert_allclose(t.array, everyones.sum(axis=0) if rank == last else own(rank))
    t = dg.Tensor(own(rank))
    dist.broadcast(t, src=last)
    np.testing.assert_array_equal(t.array, own(last))
    places = [dg.Tensor(np.zeros((2, 3))) for _ in range(size)]
    dist.all_gather(places, dg.Tensor(own(rank)))
    np.testing.assert_array_equal(np.stack([p.array for p in places]), everyones)
    for shape in ((2 * size, 3), (size, 2, 3)):
        out = dg.Tensor(np.zeros(shape))
        dist.all_gather_into_tensor(out, own(rank))
        np.testing.assert_array_equal(out.array.reshape(everyones.shape), everyones)
    places = [np.zeros((2, 3)) for _ in range(size)] if rank == last else None
    dist.gather(own(rank), places, dst=last)
    if rank == last:
        np.testing.assert_array_equal(places, everyones)
    t = dg.Tensor(np.zeros((2, 3)))
    dist.scatter(t, [own(10 + r) for r in range(size)] if rank == last else None, src=last)
    np.testing.assert_array_equal(t.array, own(10 + rank))
    dist.reduce_scatter(t, [own(rank) * (r + 1) for r in range(size)])
    np.testing.assert_allclose(t.array, everyones.sum(axis=0) * (rank + 1))
    found = [None] * size
    dist.all_gather_object(found, {"rank": rank, "none": None, "list": [rank, "x"]})
    assert found == [{"rank": r, "none": None, "list": [r, "x"]} for r in range(size)]
    found = [None] * size if rank == 0 else None
    dist.gather_object(f"from {rank}", found)
    assert rank > 0 or found == [f"from {r}" for r in range(size)]
    objects = [rank, {"a": (rank,), 1: own(rank)}]
    dist.broadcast_object_list(objects, src=last)
    assert objects[0] == last
    assert objects[1]["a"] == (last,)
    np.testing.assert_array_equal(objects[1][1], own(last))
    dist.barrier()


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("shards", [None, 4])
def test_collectives_give_what_their_names_say(ranks, shards):
    def body():
        dg.init(shards=shards)
        collectives()

    simulated(ranks, body)


@pytest.mark.mpi
def test_collectives_under_mpi():
    dist.init_process_group("mpi")
    assert dist.get_backend() == "mpi"
    collectives()
    dist.destroy_process_group()


def test_a_group_is_joined_once_and_says_who_one_is():
    def body():
        assert dist.is_available()
        assert not dist.is_initialized()
        dist.init_process_group(backend="gloo", timeout=timedelta(seconds=30), world_size=3)
        assert dist.is_initialized()
        world = dg.init()
        assert world.comm.timeout == 30
        assert (dist.get_rank(), dist.get_world_size()) == (world.rank, 3)
        dist.destroy_process_group()

    simulated(3, body)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "nccl"}, r"that of GPUs, which are not used here: write 'mpi'"),
        ({"backend": "cpu:gloo,cuda:nccl"}, "that of GPUs"),
        ({"world_size": 4}, r"init_process_group\(world_size=4\), but .* started with 2: start it"),
        ({"rank": 5}, r"init_process_group\(rank=5\), but this job was started with \d"),
        ({"init_method": "tcp://host:1"}, "mpirun tells the ranks; leave it out"),
    ],
)
def test_what_contradicts_the_job_is_refused(settings, message):
    with pytest.raises(LaunchError, match=message):
        simulated(2, lambda: dist.init_process_group(**settings))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dist.all_reduce(3.0), "takes Tensors and arrays.*got a float: .*dg.Tensor"),
        (lambda: dist.all_reduce(np.ones(2), "sum"), r"op='sum': one of ReduceOp.SUM, ReduceOp"),
        (lambda: dist.all_reduce(np.ones(2, int), ReduceOp.AVG), "mean of int64 would be cut"),
        (lambda: dist.all_reduce(np.ones(2), ReduceOp.BAND), "no band of float64 in NumPy"),
        (lambda: dist.all_reduce(np.broadcast_to(1.0, 3)), "memory is read-only; pass a copy"),
        (lambda: dist.broadcast(np.ones(2), 2), "src=2: there are ranks 0 to 1"),
        (lambda: dist.reduce(np.ones(2), -1), "dst=-1: there are ranks 0 to 1"),
        (lambda: dist.all_gather([np.ones(2)], np.ones(2)), "one place for each of the 2 ranks; g"),
        (lambda: dist.all_gather_object([None] * 3, 1), "one place for each of the 2 ranks; got 3"),
        (lambda: dist.scatter(np.ones(2), None), "scatter_list needs one place .* got none"),
        (
            lambda: dist.barrier(group=object()),
            r"what dist.new_group\(ranks\) returns; leave it out",
        ),
        (
            lambda: dist.all_gather_object([0, 0], {1, 2}),
            "an object crosses the ranks as dg.save saves it: .* is a set, which cannot",
        ),
        (
            lambda: dist.broadcast_object_list([nn.Linear(2, 2)]),
            r"\[0\] is a Module \(Linear\), .* its state_dict\(\)",
        ),
    ],
)
def test_bad_arguments_name_the_cure(call, message):
    with pytest.raises(CommError, match=message):
        simulated(2, call)


def test_a_rank_whose_array_is_kept_may_send_a_read_only_one():
    def body():
        rank = dist.get_rank()
        mine = np.arange(3.0) + rank
        mine.flags.writeable = rank != 1
        dist.broadcast(mine, 1)
        mine.flags.writeable = rank == 1
        dist.reduce(mine, 1)
        np.testing.assert_array_equal(mine, np.arange(1, 4.0) * (3 if rank == 1 else 1))

    simulated(3, body)


def test_shapes_that_differ_are_told_at_once():
    def body():
        dist.all_reduce(np.ones(2 + dist.get_rank()))

    with pytest.raises(MismatchError, match=r"dg\.distributed"):
        simulated(2, body)


def test_nan_crosses_the_ranks():
    def body():
        found = [None]
        dist.all_gather_object(found, [math.nan])
        return json.dumps(found)

    assert alone(body) == "[[NaN]]"


@pytest.mark.parametrize("name", ["get_node_local_rank", "init_device_mesh"])
def test_missing_names_say_what_to_write(name):
    with pytest.raises(AttributeError, match=f"distgrad.distributed has no '{name}': "):
        getattr(dist, name)
    with pytest.raises(AttributeError, match="has no 'nonsense'"):
        dist.nonsense  # noqa: B018 - asking is the test


def test_all_names_exist_and_are_sorted():
    assert [n for n in dist.__all__ if not hasattr(dist, n)] == []
    assert dist.__all__ == sorted(dist.__all__, key=lambda n: (not n[0].isupper(), n))
