"""Shards, sums over shards, layouts and overlap."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from training import simulated

import distgrad as dg
from distgrad import Tensor, nn
from distgrad.comm import Work, run_ranks
from distgrad.nn import functional as F
from distgrad.parallel.bucket import cut
from distgrad.parallel.shards import absent, runs, split


@pytest.mark.parametrize("size", range(1, 9))
def test_every_rank_owns_a_contiguous_run_and_all_shards_are_owned(size: int) -> None:
    owned = runs(8, size)
    assert [s for run in owned for s in run] == list(range(8))
    assert all(len(run) >= 1 for run in owned)


def test_a_batch_is_cut_into_nearly_equal_shards() -> None:
    assert [len(r) for r in split(10, 4)] == [3, 3, 2, 2]
    assert [len(r) for r in split(2, 4)] == [1, 1, 0, 0]
    assert absent(2, 4) == range(2, 4)
    assert list(absent(9, 4)) == []


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_a_shard_sum_has_the_same_bits_on_any_number_of_ranks(size: int) -> None:
    def body() -> bytes:
        world = dg.init(shards=8)
        total = dg.ShardSum(world, "a", "b", "n")
        for step, n in enumerate((17, 8, 5)):
            for rows in dg.own_shards(world, step, n):
                total.add(a=np.sin(rows.start + step) * 1e10, b=1 / (1 + rows.start), n=len(rows))
        return np.array([*total.result().values()]).tobytes()

    one = run_ranks(1, body)[0]
    assert np.frombuffer(one)[2] == 30
    assert simulated(size, body) == [one] * size


def test_a_shard_sum_outside_a_batch_counts_each_rank_once() -> None:
    def body() -> list[float]:
        world = dg.init(shards=8)
        total = dg.ShardSum(world, "a", "b")
        total.add(a=1.0, b=world.rank)
        return list(total.result().values())

    assert simulated(3, body) == [[3.0, 3.0]] * 3


def test_buckets_are_filled_from_the_last_parameter() -> None:
    arrays = {
        "a": np.empty((), "f4"),
        "b": np.empty((4, 3), "f4"),  # 48 bytes, larger than a bucket: one of its own
        "c": np.empty(2, "f4"),
        "d": np.empty((), "f8"),  # another dtype
        "e": np.empty(3, "f8"),
    }
    parts = cut([(name, Tensor(array)) for name, array in arrays.items()], 40)
    assert [[name for name, _ in part] for part in parts] == [["e", "d"], ["c"], ["b"], ["a"]]


def test_the_last_buckets_have_half_of_what_is_left_but_a_quarter_bucket() -> None:
    named = [(str(i), Tensor(np.empty(10, "f4"))) for i in range(9)]
    assert [len(part) for part in cut(named, 160)] == [4, 2, 1, 1, 1]
    # A bucket or less: what comes last waits for little there, too.
    assert [len(part) for part in cut(named[:4], 160)] == [2, 1, 1]
    assert [len(part) for part in cut(named[:4], 640)] == [4]


@pytest.mark.parametrize(("before", "expected"), [(2, [["w", "b"]]), (3, [["w"], ["b"]])])
def test_what_little_comes_before_a_large_parameter_is_summed_with_it(
    before: int, expected: list[list[str]]
) -> None:
    named = [("b", Tensor(np.empty(160, "f4"))), ("w", Tensor(np.empty(before, "f4")))]
    assert [[name for name, _ in part] for part in cut(named, 64 * 8)] == expected


def test_buckets_are_reduced_while_backward_still_runs() -> None:
    log: list[str] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))

        def forward(self, x: Any) -> Any:
            for layer in self.layers:
                x = np.tanh(layer(x))
            return x

    def body() -> list[str]:
        world = dg.init(shards=2)
        model = Watched()
        ddp = dg.DistributedDataParallel(model, bucket_mb=1e-4)
        reducer = ddp.reducer
        launch, ready = reducer._launch, reducer.grad_ready
        reducer._launch = lambda b: (log.append("start"), launch(b))[1]  # type: ignore[method-assign]
        reducer.grad_ready = lambda p: (log.append("ready"), ready(p))[1]  # type: ignore[method-assign]
        for rows in dg.own_shards(world, 0, 8):
            ddp.backward(np.mean(np.square(model(np.ones((len(rows), 8), np.float32)))))
        return log

    found = run_ranks(1, body)[0]
    assert found.index("start") < len(found) - 1 - found[::-1].index("ready")


def test_parameters_and_gradients_are_views_of_the_buckets() -> None:
    def body() -> None:
        dg.init()
        model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
        ddp = dg.DistributedDataParallel(model)
        F.cross_entropy(model(np.ones((5, 3), np.float32)), np.zeros(5, np.int64)).backward()
        bucket = ddp.reducer.buckets[0]
        for p in model.parameters():
            assert np.may_share_memory(p.array, bucket.values)
            assert p.grad is not None
            assert np.may_share_memory(p.grad.array, bucket.gradients.local)

    run_ranks(2, body)


def test_state_dict_keys_are_the_same_with_and_without() -> None:
    def body() -> None:
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        before = list(model.state_dict())
        dg.DistributedDataParallel(model)
        assert list(model.state_dict()) == before

    run_ranks(1, body)


def test_work_is_the_only_thing_in_flight_after_a_step() -> None:
    def body() -> list[Work | None]:
        world = dg.init(shards=4)
        model = nn.Linear(3, 2)
        ddp = dg.DistributedDataParallel(model)
        for rows in dg.own_shards(world, 0, 7):
            ddp.backward(np.mean(model(np.ones((len(rows), 3), np.float32))))
        return [b.gradients.work for b in ddp.reducer.buckets]

    assert simulated(3, body) == [[None]] * 3


def test_world_print_prints_once_for_all_ranks(capsys: Any) -> None:
    def body() -> None:
        dg.init().print("size", dg.current_world().size)

    simulated(3, body)
    assert capsys.readouterr().out == "size 3\n"


def test_a_copy_of_a_distributed_model_is_a_model_of_its_own() -> None:
    def body() -> bool:
        dg.init()
        model = nn.Sequential(nn.Linear(3, 4), nn.SyncBatchNorm(4), nn.Linear(4, 2))
        dg.DistributedDataParallel(model)
        best = copy.deepcopy(model)
        x = np.ones((4, 3), np.float32) * np.arange(4, dtype=np.float32)[:, None]
        best(x).sum().backward()  # talks to no other rank
        model[0].weight.array[...] = 7
        dg.DistributedDataParallel(best.double())
        return bool((best[0].weight.array != 7).all()) and model[0].weight.grad is None

    assert simulated(3, body) == [True] * 3


def test_accumulating_gives_a_parameter_that_nobody_used_no_gradient() -> None:
    def body() -> list[bool]:
        dg.init()
        model = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)])
        ddp = dg.DistributedDataParallel(model)
        for _ in range(2):
            ddp.backward((model[0](np.ones((2, 3), np.float32)) ** 2).mean())
        return [p.grad is None for p in model.parameters()]

    assert simulated(2, body) == [[False, False, True, True]] * 2
