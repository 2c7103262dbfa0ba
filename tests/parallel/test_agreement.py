"""What the ranks must share is compared: a difference is named with its ranks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from training import alone, simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F

ROWS = 24


def arrays(shift: int = 0) -> tuple[Any, Any]:
    i = np.arange(ROWS) + shift
    return np.sin(np.outer(i + 1, np.arange(1, 5))).astype(np.float32), (i * i) % 3


def train(
    steps: int = 3,
    *,
    seed: int = 0,
    lr: float = 0.1,
    rows: int = ROWS,
    shift: int = 0,
    order: int = 3,
    look: bool = False,
    change: Callable[[int, nn.Module], None] | None = None,
    check_every: int = 64,
) -> None:
    dg.init(shards=4)
    dg.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    ddp = dg.DistributedDataParallel(model, check_every=check_every)
    optimizer = optim.SGD(model.parameters(), lr=lr)
    x, y = arrays(shift)
    data = dg.data.ArrayDataset(x[:rows], y[:rows])
    loader = dg.data.DataLoader(data, 8, shuffle=True, seed=order)
    if look:
        next(iter(loader))
    step = 0
    while step < steps:
        for batch in loader:
            optimizer.zero_grad()
            for a, b in batch.shards:
                ddp.backward(F.cross_entropy(model(a), b))
            optimizer.step()
            if change is not None:
                change(step, model)
            step += 1


def on_rank(rank: int, value: Any, otherwise: Any) -> Any:
    return value if dg.init(shards=4).rank == rank else otherwise


def nudge(step: int, model: Any) -> None:
    if dg.current_world().rank == 1 and step == 2:
        model[2].weight.array[0, 0] += 1e-6


def forget_train(step: int, model: Any) -> None:
    if dg.current_world().rank == 2:
        model.eval()


DIFFERENCES = {
    "seed": (
        lambda: train(seed=dg.init(shards=4).rank),
        r"differ in dg\.manual_seed: rank 0 has 0, rank 1 has 1, rank 2 has 2; .*the same seed",
    ),
    "learning rate": (
        lambda: train(lr=on_rank(1, 0.2, 0.1)),
        r"differ in optimizer 0 \(SGD\), group 0, lr: ranks 0, 2 have 0\.1, rank 1 has 0\.2; "
        r"build and change the optimizer alike",
    ),
    "length": (
        lambda: train(rows=on_rank(2, 16, ROWS)),
        r"differ in DataLoader samples: ranks 0, 1 have 24, rank 2 has 16",
    ),
    "contents": (
        lambda: train(shift=on_rank(1, 1, 0)),
        r"differ in contents of the data set: ranks 0, 2 have .*, rank 1 has ",
    ),
    "order": (
        lambda: train(order=on_rank(0, 4, 3)),
        r"differ in DataLoader seed: rank 0 has 4, ranks 1, 2 have 3",
    ),
    "position": (
        lambda: train(look=on_rank(0, True, False)),
        r"differ in step: rank 0 has 1, ranks 1, 2 have 0; every rank must iterate alike",
    ),
    "weights": (
        lambda: train(9, change=nudge),
        r"differ in parameter '2\.weight': ranks 0, 2 have .*, rank 1 has .*; the weights of one",
    ),
    "mode": (
        lambda: train(change=forget_train),
        r"differ in module\.training: ranks 0, 1 have true, rank 2 has false",
    ),
}


@pytest.mark.parametrize("what", DIFFERENCES)
def test_a_difference_is_named_with_its_ranks(what: str) -> None:
    body, message = DIFFERENCES[what]
    with pytest.raises(dg.MismatchError, match=message):
        simulated(3, body)


def test_nothing_is_compared_where_it_was_not_wanted() -> None:
    simulated(3, lambda: train(lr=on_rank(1, 0.2, 0.1), check_every=0))


def test_equal_ranks_agree_for_ever() -> None:
    simulated(3, lambda: train(12, check_every=1))


def test_numpy_numbers_are_settings_too() -> None:
    def body() -> None:
        dg.init(shards=4)
        model = nn.Linear(4, 3)
        optimizer = optim.SGD(model.parameters(), lr=np.float64(0.1))
        data = dg.data.ArrayDataset(*arrays())
        loader = dg.data.DataLoader(data, np.int64(8), seed=np.int64(3))
        trainer = dg.Trainer(
            model, optimizer, F.cross_entropy, clip_norm=np.float32(1), progress=False
        )
        trainer.fit(loader, max_steps=3)

    simulated(2, body)


def test_a_trainers_settings_are_compared_before_its_first_step() -> None:
    def body() -> None:
        model = nn.Linear(4, 3)
        optimizer = optim.SGD(model.parameters(), lr=on_rank(1, 0.2, 0.1))
        trainer = dg.Trainer(model, optimizer, F.cross_entropy, progress=False)
        loader = dg.data.DataLoader(dg.data.ArrayDataset(*arrays()), 8)
        trainer.fit(loader, max_steps=1)

    with pytest.raises(dg.MismatchError, match=r"optimizer 0 \(SGD\), group 0, lr: ranks 0, 2"):
        simulated(3, body)


def test_a_dropped_optimizer_may_live_longer_on_one_rank() -> None:
    def body() -> None:
        world = dg.init(shards=4)
        model = nn.Linear(4, 3)
        ddp = dg.DistributedDataParallel(model, check_every=1)
        loader = dg.data.DataLoader(dg.data.ArrayDataset(*arrays()), 8)
        kept: list[Any] = []
        for lr in (0.1, 0.2, 0.3):
            optimizer = optim.SGD(model.parameters(), lr=lr)
            kept += [optimizer] if world.rank == 1 else []  # the collector has not come by yet
            for batch in loader:
                optimizer.zero_grad()
                for x, y in batch.shards:
                    ddp.backward(F.cross_entropy(model(x), y))
                optimizer.step()

    simulated(3, body)


def test_settings_of_the_ranks_models_must_be_equal() -> None:
    def body() -> None:
        rank = dg.init().rank
        dg.DistributedDataParallel(nn.Linear(2, 2), nonfinite="skip" if rank else "raise")

    with pytest.raises(dg.MismatchError, match=r"DistributedDataParallel\(nonfinite=\): rank 0"):
        simulated(2, body)


def test_a_thread_that_a_rank_starts_sees_the_ranks_world() -> None:
    def body() -> tuple[bool, int]:
        world = dg.init(shards=4)
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(dg.init()))
        thread.start()
        thread.join()
        return found[0] is world, found[0].rank

    assert simulated(3, body) == [(True, 0), (True, 1), (True, 2)]


def test_a_thread_of_a_plain_process_sees_its_world(tmp_path: Any) -> None:
    found: list[Any] = []
    world = dg.current_world()
    thread = threading.Thread(target=lambda: found.append(dg.current_world()))
    thread.start()
    thread.join()
    assert found == [world]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_the_gradient_of_a_sum_loss_is_that_of_the_sum_over_the_global_batch(size: int) -> None:
    x, y = arrays()

    def network() -> nn.Module:
        dg.manual_seed(1)
        return nn.Linear(4, 3).to(np.float64)

    def body() -> list[Any]:
        dg.init(shards=4)
        model = network()
        ddp = dg.DistributedDataParallel(model, reduction="sum")
        data = dg.data.ArrayDataset(x[:18], y[:18])
        for batch in dg.data.DataLoader(data, 18):
            for a, b in batch.shards:
                ddp.backward(F.cross_entropy(model(a), b, reduction="sum"))
        return [p.grad.array.copy() for p in model.parameters()]

    model = network()
    F.cross_entropy(model(x[:18]), y[:18], reduction="sum").backward()
    for found in simulated(size, body):
        for a, p in zip(found, model.parameters(), strict=True):
            np.testing.assert_allclose(a, p.grad.array, rtol=1e-10)


def test_a_reduction_that_does_not_exist_is_refused() -> None:
    with pytest.raises(dg.DistgradError, match=r"reduction is 'mean' or 'sum' .*; got 'none'"):
        simulated(1, lambda: dg.DistributedDataParallel(nn.Linear(2, 2), reduction="none"))


@pytest.mark.parametrize("size", [2, 3])
def test_outside_of_shards_ranks_draw_different_numbers_and_initialise_alike(size: int) -> None:
    def body() -> tuple[bytes, bytes, bytes]:
        dg.init(shards=4)
        weight = nn.Linear(3, 3).weight.array.tobytes()
        noise = dg.random.normal(4).array.tobytes()
        mask = F.dropout(np.ones(64, np.float32)).array.tobytes()
        return weight, noise, mask

    weights, noises, masks = zip(*simulated(size, body), strict=True)
    assert len(set(weights)) == 1
    assert len(set(noises)) == len(set(masks)) == size


def test_a_second_walk_over_a_batch_draws_new_numbers() -> None:
    def body() -> list[float]:
        world = dg.init()
        loader = dg.data.DataLoader(dg.data.ArrayDataset(*arrays()), 24, world=world)
        batch = next(iter(loader))
        return [float(dg.random.normal()) for _ in range(2) for _ in batch.shards]

    [found] = simulated(1, body)
    assert len(set(found)) == 2


@pytest.mark.parametrize("size", [1, 3])
def test_two_loaders_of_a_loop_draw_different_numbers_and_the_same_ones_again(size: int) -> None:
    def body() -> list[tuple[int, bytes]]:
        world = dg.init(shards=4)
        first = dg.data.ArrayDataset(*arrays())
        loaders = [
            dg.data.DataLoader(first, 24, shuffle=True, world=world),
            dg.data.DataLoader(dg.data.ArrayDataset(*arrays(1)), 24, shuffle=True, world=world),
            dg.data.DataLoader(first, 24, shuffle=True, seed=1, world=world),
        ]
        return [
            (dg.parallel.current_shard().shard, dg.random.normal(4).array.tobytes())
            for batches in zip(*loaders, strict=True)
            for batch in batches
            for _ in batch.shards
        ]

    found = sorted(draw for rank in simulated(size, body) for draw in rank)
    assert len({numbers for _, numbers in found}) == 3 * 4
    assert found == sorted(simulated(1, body)[0])


@pytest.mark.parametrize("size", [1, 3])
def test_a_seed_that_is_set_in_a_shard_starts_its_numbers_again(size: int) -> None:
    def body() -> list[tuple[bytes, ...]]:
        world = dg.init(shards=4)
        found = []
        for _ in dg.own_shards(world, 3, 9):
            dg.random.normal(2)
            draws = []
            for seed in (5, 6, 5):
                dg.manual_seed(seed)
                draws.append(dg.random.normal(4).array.tobytes())
            found.append(tuple(draws))
        return found

    found = [draws for rank in simulated(size, body) for draws in rank]
    assert all(a == c != b for a, b, c in found)
    assert len(set(found)) == 4
    assert found == simulated(1, body)[0]


def test_walks_over_two_batches_may_take_turns() -> None:
    def body() -> None:
        world = dg.init(shards=4)
        for step in range(2):
            pairs = zip(dg.own_shards(world, step, 9), dg.own_shards(world, step, 9), strict=True)
            for a, b in pairs:
                assert a == b
            assert dg.parallel.current_shard() is None

    simulated(3, body)


def test_a_batch_itself_cannot_be_unpacked_as_samples() -> None:
    def body() -> None:
        dg.init(shards=2)
        for x, y in dg.data.DataLoader(dg.data.ArrayDataset(*arrays()), 8):
            print(x, y)

    with pytest.raises(dg.DataError, match=r"for batch in loader.*for x, y in batch\.shards"):
        simulated(1, body)


def test_random_numbers_lie_where_they_should() -> None:
    assert dg.random.uniform(1000, low=2, high=3).array.min() >= 2
    assert dg.random.uniform(1000, low=2, high=3).array.max() < 3
    assert sorted(dg.random.permutation(9).array) == list(range(9))
    assert set(dg.random.integers(3, shape=100).array) == {0, 1, 2}
    assert set(dg.random.bernoulli(0.5, 100).array) == {0.0, 1.0}
    assert dg.random.normal((2, 3)).shape == (2, 3)
    with pytest.raises(dg.ShapeError, match=r"no whole number in \[3, 3\)"):
        dg.random.integers(3, 3)
    with pytest.raises(dg.ShapeError, match="scale=-1 is a deviation"):
        dg.random.normal(2, scale=-1)
    with pytest.raises(dg.ShapeError, match="probability must lie"):
        dg.random.bernoulli(2.0)
    with pytest.raises(dg.ShapeError, match=r"shape \(3,\) do not broadcast to \(2, 1\)"):
        dg.random.bernoulli([0.1, 0.5, 0.9], (2, 1))
    with pytest.raises(dg.ShapeError, match="-1 numbers have no order"):
        dg.random.permutation(-1)


@pytest.mark.parametrize("function", [dg.random.normal, dg.random.uniform])
def test_the_order_of_numpys_arguments_is_refused(function: Any) -> None:
    with pytest.raises(TypeError, match="positional argument"):
        function(0, 1, 3)  # NumPy's (loc, scale, size): here it would be no number at all


@pytest.mark.parametrize("size", [1, 3])
def test_threads_of_a_rank_draw_different_numbers_and_the_same_ones_again(size: int) -> None:
    def body() -> list[bytes]:
        dg.init()
        dg.manual_seed(6)

        def draw() -> bytes:
            return bytes(dg.random.normal(4).array)

        found = [draw()]
        for _ in range(2):
            with ThreadPoolExecutor(1) as threads:
                found += [threads.submit(draw).result() for _ in range(2)]
        return [*found, draw()]

    first, again = simulated(size, body), simulated(size, body)
    assert len({numbers for rank in first for numbers in rank}) == 6 * size
    assert first == again


@pytest.mark.parametrize("seed", [np.int64(7), np.uint64(7), np.array(7), 7 + 2**64])
def test_a_seed_may_be_any_whole_number(seed: Any) -> None:
    def drawn(seed: Any) -> Any:
        dg.manual_seed(seed)
        return dg.random.normal(3).array

    np.testing.assert_array_equal(alone(lambda: drawn(seed)), alone(lambda: drawn(7)))
