"""Bad input: every error names the culprit and the cure."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from training import simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.comm import run_ranks
from distgrad.comm.worlds.simulate import current
from distgrad.nn import functional as F


@pytest.mark.parametrize("bucket_mb", [-1, "4", float("nan"), float("inf")])
def test_a_bucket_size_is_a_number(bucket_mb: object) -> None:
    for name in ("bucket_mb", "bucket_cap_mb"):
        refused = rf"{name} is a number of MiB, 0 for a bucket for each .*; got {bucket_mb!r}"
        with pytest.raises((TypeError, dg.ShapeError), match=refused):
            dg.DistributedDataParallel(nn.Linear(2, 3), **{name: bucket_mb})


def test_a_bucket_size_of_0_is_a_bucket_for_each_parameter() -> None:
    def body() -> int:
        ddp = dg.DistributedDataParallel(nn.Linear(2, 3), bucket_mb=0)
        return len(ddp.reducer.buckets)

    assert simulated(1, body) == [2]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, "takes an nn.Module, got a NoneType"),
        (lambda x: x, "takes an nn.Module, got a function"),
        (nn.Sequential(nn.ReLU()), r"Sequential has no parameters.*nn\.ModuleList"),
    ],
)
def test_what_has_nothing_to_train_is_no_model(model: object, message: str) -> None:
    with pytest.raises(dg.DistgradError, match=message):
        simulated(1, lambda: dg.DistributedDataParallel(model))


def test_more_ranks_than_shards() -> None:
    with pytest.raises(dg.LaunchError, match=r"3 ranks .* only 2 logical shards.*shards=4"):
        simulated(3, lambda: dg.init(shards=2))


@pytest.mark.parametrize("shards", [0, 3, -4])
def test_shards_that_are_no_power_of_two(shards: int) -> None:
    with pytest.raises(dg.LaunchError, match=f"shards={shards}: .* power of two"):
        run_ranks(1, lambda: dg.init(shards=shards))


def test_ranks_that_ask_for_different_shards() -> None:
    with pytest.raises(dg.MismatchError, match=r"rank 0 .*shards=4.*rank 2 .*shards=8"):
        simulated(3, lambda: dg.init(shards=8 if current().rank == 2 else 4))


def test_a_second_init_with_other_shards() -> None:
    def body() -> None:
        dg.init(shards=2)
        dg.init(shards=4)

    with pytest.raises(dg.LaunchError, match=r"dg.init\(shards=4\) after .*shards=2"):
        run_ranks(1, body)


def test_asking_for_the_contract_after_a_world_was_made_without_it() -> None:
    def body() -> None:
        dg.DistributedDataParallel(nn.Linear(2, 2))  # makes a world of as many shards as ranks
        dg.init(shards=2)

    with pytest.raises(dg.LaunchError, match=r"dg.init\(shards=2\) after a world without shards"):
        run_ranks(2, body)


def test_a_second_init_returns_the_same_world() -> None:
    def body() -> bool:
        world = dg.init(shards=2)
        return dg.init() is world and dg.current_world() is world

    assert run_ranks(1, body) == [True]


@pytest.mark.parametrize(
    ("first", "second", "made"),
    [
        ({}, {"threads": 2}, "without threads"),
        ({"threads": 1}, {"threads": 3}, "with threads=1"),
        ({}, {"timeout": 20.0}, "with timeout=300.0"),
        ({"timeout": 20.0}, {"timeout": 300.0}, "with timeout=20.0"),
    ],
)
def test_a_second_init_with_other_settings(
    first: dict[str, float], second: dict[str, float], made: str
) -> None:
    def body() -> None:
        dg.init(**first)
        dg.init(**first)  # the same again is fine
        dg.init(**second)

    name, value = next(iter(second.items()))
    message = rf"dg.init\({name}={value}\) after a world {made} was made .*; call dg.init once"
    with pytest.raises(dg.LaunchError, match=message):
        simulated(3, body)


@pytest.mark.parametrize(
    ("width", "dtype", "message"),
    [
        (5, np.float32, r"rank 0 has '0.weight' \[4, 3\] float32, rank 2 has '0.weight' \[5, 3\]"),
        (4, np.float64, r"'0.weight' \[4, 3\] float32, rank 2 has '0.weight' \[4, 3\] float64"),
    ],
)
def test_models_that_differ_name_the_first_parameter_and_the_ranks(
    width: int, dtype: type, message: str
) -> None:
    def body() -> None:
        odd = dg.init().rank == 2
        model = nn.Sequential(nn.Linear(3, width if odd else 4), nn.ReLU())
        dg.DistributedDataParallel(model.to(dtype) if odd else model)

    with pytest.raises(dg.MismatchError, match=message):
        simulated(3, body)


def test_a_model_with_a_parameter_more() -> None:
    def body() -> None:
        layers = [nn.Linear(3, 3) for _ in range(1 + (dg.init().rank == 1))]
        dg.DistributedDataParallel(nn.Sequential(*layers))

    with pytest.raises(dg.MismatchError, match=r"rank 0 has no such parameter, rank 1 has '1.we"):
        simulated(3, body)


def test_a_model_attached_twice() -> None:
    def body() -> None:
        model = nn.Linear(2, 2)
        dg.DistributedDataParallel(model)
        dg.DistributedDataParallel(model)

    with pytest.raises(dg.CommError, match="'weight' belongs to a DistributedDataParallel already"):
        run_ranks(1, body)


def test_backward_outside_a_shard_when_the_contract_was_asked_for() -> None:
    def body() -> None:
        dg.init(shards=4)
        model = nn.Linear(2, 2)
        ddp = dg.DistributedDataParallel(model)
        ddp.backward(np.sum(model(np.ones((3, 2), np.float32))))

    with pytest.raises(dg.GradError, match=r"shards=4 was asked for.*for x, y in batch.shards"):
        run_ranks(2, body)


def test_two_backward_passes_in_one_shard() -> None:
    def body() -> None:
        world = dg.init(shards=4)
        model = nn.Linear(2, 2)
        ddp = dg.DistributedDataParallel(model)
        for rows in dg.own_shards(world, 3, 8):
            for _ in range(2):
                ddp.backward(np.sum(model(np.ones((len(rows), 2), np.float32))))

    with pytest.raises(dg.GradError, match=r"second backward pass in shard 0 of step 3.*no_sync"):
        run_ranks(1, body)


def test_a_thawed_parameter() -> None:
    def body() -> None:
        model = nn.Linear(2, 2)
        model.bias.requires_grad_(False)
        ddp = dg.DistributedDataParallel(model)
        model.bias.requires_grad_()
        ddp.backward(np.sum(model(np.ones((3, 2), np.float32))))

    with pytest.raises(dg.GradError, match=r"'bias' was frozen when .* copy\.deepcopy\(model\)"):
        run_ranks(1, body)


def test_a_copy_trains_on_with_what_was_frozen() -> None:
    def body() -> tuple[bool, str]:
        dg.init(shards=4)
        dg.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2))
        model[0].requires_grad_(False)
        frozen = model[0].weight.array.copy()
        x = np.sin(np.arange(24, dtype=np.float32)).reshape(12, 2)
        for _ in range(2):
            optimizer = optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
            trainer = dg.Trainer(model, optimizer, nn.CrossEntropyLoss(), progress=False)
            data = dg.data.ArrayDataset(x, np.arange(12) % 2)
            trainer.fit(dg.data.DataLoader(data, 6), max_steps=2)
            kept = model
            model = copy.deepcopy(model).requires_grad_()
        same = bool((kept[0].weight.array == frozen).all())
        return same, nn.state_sha256(kept.state_dict())

    found = run_ranks(3, body)
    assert not found[0][0]
    assert found == run_ranks(1, body) * 3


def test_a_nan_loss_names_rank_step_and_shard() -> None:
    def body() -> None:
        dg.init(shards=4)
        model = nn.Linear(2, 3)
        ddp = dg.DistributedDataParallel(model)
        x = np.ones((16, 2), np.float32)
        x[13] = np.nan  # batch 1, shard 2 of 4, on rank 1 of 2
        data = dg.data.ArrayDataset(x, np.zeros(16, np.int64))
        for batch in dg.data.DataLoader(data, 8):
            for a, b in batch.shards:
                ddp.backward(F.cross_entropy(model(a), b))

    with pytest.raises(dg.NonFiniteError, match=r"\[rank 1/2\] the loss is nan at step 1, shard 2"):
        simulated(2, body)


def test_an_unknown_algorithm() -> None:
    with pytest.raises(dg.CommError, match=r"no all_reduce algorithm 'star'; use .*'ring'"):
        run_ranks(1, lambda: dg.DistributedDataParallel(nn.Linear(1, 1), algorithm="star"))


@pytest.mark.parametrize("size", [1, 3])
def test_an_algorithm_that_cannot_run_here_is_refused_before_any_backward(size: int) -> None:
    with pytest.raises(dg.CommError, match=r"'native' needs MPI.*these run everywhere: 'ring'"):
        run_ranks(size, lambda: dg.DistributedDataParallel(nn.Linear(1, 1), algorithm="native"))


def test_ranks_start_from_rank_zeros_parameters_and_buffers() -> None:
    def body() -> tuple[float, float]:
        world = dg.init()
        dg.manual_seed(world.rank)
        model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
        norm = model[1]
        norm.running_mean.array[...] = world.rank + 1  # type: ignore[union-attr]
        dg.DistributedDataParallel(model)
        return float(model[0].weight.array.sum()), float(norm.running_mean.array.sum())

    found = simulated(3, body)
    assert len(set(found)) == 1
    assert found[0][1] == 3.0
