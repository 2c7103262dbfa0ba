"""DataLoader(batch_size=…): PyTorch's loop, with this rank's Tensors of each batch."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest
from training import alone, simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.errors import DataError, MismatchError
from distgrad.nn import functional as F
from distgrad.parallel import current_shard
from distgrad.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    TensorDataset,
)

N = 29


def data(n: int = N) -> TensorDataset:
    i = np.arange(n)
    x = np.sin(np.outer(i + 1, np.arange(1, 5))).astype(np.float32)
    return TensorDataset(dg.Tensor(x), dg.Tensor((i * i) % 3))


class Numbers(Dataset):
    def __init__(self, n: int = N) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> int:
        return i


def joined(lists: Any) -> list[Any]:
    return list(chain.from_iterable(lists))


def seen(loader: Any) -> list[list[int]]:
    return [batch.array.tolist() for batch in loader]


def test_a_loop_gives_tensors_of_stacked_samples():
    def body():
        batches = list(DataLoader(data(), 8))
        assert [type(b) for b in batches] == [list] * 4
        assert [x.shape for x, _ in batches] == [(8, 4), (8, 4), (8, 4), (5, 4)]
        x, y = batches[1]
        assert isinstance(x, dg.Tensor)
        assert (x.dtype, y.dtype) == (np.float32, np.int64)
        np.testing.assert_array_equal(x.array, data().arrays[0][8:16])

    alone(body)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("shuffle", [False, True])
def test_the_ranks_parts_together_are_the_batches_of_one_process(size, shuffle):
    def body():
        dg.manual_seed(5)
        loader = DataLoader(Numbers(), 9, shuffle=shuffle)
        assert len(loader) == 4
        return [seen(loader) for _ in range(2)]

    whole = simulated(1, body)[0]
    parts = simulated(size, body)
    for epoch in range(2):
        together = [joined(batch) for batch in zip(*[p[epoch] for p in parts], strict=True)]
        assert together == whole[epoch]
    assert (whole[0] == whole[1]) == (not shuffle)


def test_the_order_is_that_of_a_global_batch_size():
    def body():
        loader = dg.data.DataLoader(Numbers(), 9, shuffle=True, seed=3)
        plain = [x.tolist() for b in loader for (x,) in b.shards]
        assert seen(dg.data.DataLoader(Numbers(), batch_size=9, shuffle=True, seed=3)) == plain
        assert seen(DataLoader(Numbers(), 9, True, generator=3)) == plain
        dg.manual_seed(3)
        assert seen(DataLoader(Numbers(), 9, True)) == plain

    alone(body)


def test_every_iteration_is_an_epoch_also_after_a_break():
    def body():
        loader = DataLoader(Numbers(), 5, shuffle=True)
        epochs = [seen(loader) for _ in range(3)]
        again = DataLoader(Numbers(), 5, shuffle=True)
        for _ in again:
            break
        assert current_shard() is None
        assert next(iter(again)).array.tolist() == epochs[1][0]
        assert current_shard() is None
        assert seen(again) == epochs[2]

    alone(body)


def test_loops_over_one_loader_may_be_nested():
    def body():
        loader = DataLoader(Numbers(6), 2)
        pairs = [(a.array.tolist(), b.array.tolist()) for a in loader for b in loader]
        assert len(pairs) == 9
        assert current_shard() is None
        assert [a.array.tolist() for a, _ in zip(loader, loader, strict=True)] == [
            [0, 1],
            [2, 3],
            [4, 5],
        ]

    alone(body)


def test_a_state_taken_in_the_loop_continues_with_the_next_batch():
    def body():
        straight = DataLoader(Numbers(), 5, shuffle=True)
        whole = [seen(straight) for _ in range(2)]
        cut = DataLoader(Numbers(), 5, shuffle=True)
        seen(cut)
        for i, _ in enumerate(cut):
            if i == 2:
                state = cut.state_dict()
                break
        resumed = DataLoader(Numbers(), 5, shuffle=True)
        resumed.load_state_dict(state)
        assert seen(resumed) == whole[1][3:]
        assert seen(resumed) != whole[1][3:]

    alone(body)


def test_random_numbers_in_the_loop_are_the_shards():
    def body():
        found = [dg.random.normal((2,)).array.tolist() for _ in DataLoader(data(), 8)]
        plain = dg.data.DataLoader(data(), 8)
        shards = [dg.random.normal((2,)).array.tolist() for b in plain for _ in b.shards]
        assert found == shards

    simulated(3, body)


def trained(ranks: int, n: int, batch: int, **settings: Any) -> list[Any]:
    """Return the weights after two epochs of the loop that PyTorch's users write."""

    def body():
        dg.init()
        dg.manual_seed(1)
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
        ddp = dg.DistributedDataParallel(model)
        optimizer = optim.SGD(model.parameters(), lr=0.5)
        x = data(n).arrays[0].astype(np.float64)
        loader = DataLoader(TensorDataset(x, data(n).arrays[1]), batch, shuffle=True, **settings)
        for _ in range(2):
            for x, y in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
        del ddp
        return [p.array.copy() for p in model.parameters()]

    return simulated(ranks, body)


@pytest.mark.parametrize(("n", "batch"), [(24, 6), (29, 9), (25, 8), (10, 9), (7, 2)])
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_plain_backward_gives_the_gradient_of_the_global_batchs_mean(ranks, n, batch):
    """Uneven last batches, and ranks without a sample of one, included."""
    (one,) = trained(1, n, batch)
    for weights in trained(ranks, n, batch):
        for a, b in zip(one, weights, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-14)


def test_a_rank_without_samples_gets_empty_tensors():
    def body():
        rank = dg.init().rank
        batches = [(x.shape, y.shape, y.dtype) for x, y in DataLoader(data(9), 8)]
        assert batches[1] == (((1, 4), (1,), np.int64) if rank == 0 else ((0, 4), (0,), np.int64))

    simulated(3, body)


def test_more_shards_than_ranks_show_the_loop_over_shards():
    def body():
        dg.init(shards=4)
        for _ in DataLoader(data(), 8):
            pass

    message = r"4 logical shards for 2 ranks, 2 of them .*global_batch_size=8 .*`for x, y in batch"
    with pytest.raises(DataError, match=message):
        simulated(2, body)


def test_as_many_shards_as_ranks_give_the_bits_of_the_loop_over_shards():
    def body(torch_style):
        dg.init(shards=4)
        dg.manual_seed(2)
        model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.3))
        ddp = dg.DistributedDataParallel(model)
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def step(x, y):
            ddp.backward(F.cross_entropy(model(x), y))

        if torch_style:
            for x, y in DataLoader(data(), 8, shuffle=True, generator=7):
                optimizer.zero_grad()
                step(x, y)
                optimizer.step()
        else:
            for batch in dg.data.DataLoader(data(), 8, shuffle=True, seed=7):
                optimizer.zero_grad()
                for x, y in batch.shards:
                    step(x, y)
                optimizer.step()
        return nn.state_sha256(model.state_dict())

    assert simulated(4, lambda: body(True)) == simulated(4, lambda: body(False))


# -- samplers -------------------------------------------------------------------------------------


def test_a_distributed_sampler_counts_batches_per_rank():
    def body():
        world = dg.init()
        sampler = DistributedSampler(Numbers(), shuffle=False)
        loader = DataLoader(Numbers(), 4, sampler=sampler)
        assert (len(loader), loader.batch_size, loader.global_batch_size) == (3, 4, 12)
        for batch in loader:
            assert current_shard().count == len(batch)
            assert current_shard().weight == 1 / world.size
        return joined(seen(loader))

    # 29 samples, padded with the first to 30, every third.
    assert simulated(3, body) == [[i % N for i in range(r, 30, 3)] for r in range(3)]


def test_a_distributed_sampler_trains_as_one_process_does_with_the_same_batches():
    def body():
        dg.init()
        dg.manual_seed(1)
        model = nn.Linear(4, 3).double()
        dg.DistributedDataParallel(model)
        optimizer = optim.SGD(model.parameters(), lr=0.5)
        x, y = data(24).arrays[0].astype(np.float64), data(24).arrays[1]
        dataset = TensorDataset(x, y)
        sampler = DistributedSampler(dataset, seed=4)
        for epoch in range(2):
            sampler.set_epoch(epoch)
            for a, b in DataLoader(dataset, 12 // dg.init().size, sampler=sampler):
                optimizer.zero_grad()
                F.cross_entropy(model(a), b).backward()
                optimizer.step()
        return model.weight.array.copy()

    (one,) = simulated(1, body)
    for ranks in (2, 3):
        for weight in simulated(ranks, body):
            np.testing.assert_allclose(weight, one, rtol=1e-12)


def test_the_sampler_of_another_rank_is_refused():
    def body():
        DataLoader(Numbers(), 4, sampler=DistributedSampler(Numbers(), 2, 1))

    with pytest.raises(DataError, match=r"that of rank 1 of 2, and this is rank \d of 3"):
        simulated(3, body)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_other_samplers_give_every_rank_the_same_numbers_of_which_it_takes_its_part(ranks):
    def body():
        dg.init()
        loader = DataLoader(Numbers(), 6, sampler=RandomSampler(Numbers(), generator=3))
        return seen(loader)

    parts = simulated(ranks, body)
    together = [joined(batch) for batch in zip(*parts, strict=True)]
    assert joined(together) == list(RandomSampler(Numbers(), generator=3))
    assert [len(b) for b in together] == [6, 6, 6, 6, 5]


def test_a_sampler_that_differs_between_ranks_is_found():
    def body():
        rank = dg.init().rank
        model = nn.Linear(4, 3)
        dg.DistributedDataParallel(model)
        for x, y in DataLoader(data(), 4, sampler=list(range(rank, N, 2))):
            F.cross_entropy(model(x), y).backward()

    message = r"ranks differ in DataLoader samples of .*; samplers and streams give every rank the"
    with pytest.raises(MismatchError, match=message):
        simulated(2, body)


def test_a_stream_that_is_cut_by_rank_is_found():
    class Own(IterableDataset):
        def __iter__(self):
            world = dg.init()
            for i in range(world.rank, 24, world.size):
                yield {"x": np.full(4, i, np.float32), "y": np.array(i % 3)}

    def body():
        model = nn.Linear(4, 3)
        dg.DistributedDataParallel(model)
        for batch in DataLoader(Own(), 4):
            F.cross_entropy(model(batch["x"]), batch["y"]).backward()

    with pytest.raises(MismatchError, match=r"DataLoader samples of the batch.*cut them by rank"):
        simulated(2, body)


def test_batches_of_a_batch_sampler_are_cut_over_the_ranks():
    def body():
        dg.init()
        loader = DataLoader(Numbers(), batch_sampler=BatchSampler(range(3, 14), 4, True))
        assert len(loader) == 2
        return seen(loader)

    assert simulated(2, body) == [[[3, 4], [7, 8]], [[5, 6], [9, 10]]]


def test_a_run_continues_inside_an_epoch_of_a_random_sampler():
    def body():
        def make():
            return DataLoader(Numbers(), 5, sampler=RandomSampler(Numbers(), generator=8))

        whole = [seen(loader := make()), seen(loader)]
        cut = make()
        seen(cut)
        for _, _ in zip(range(2), cut, strict=False):
            pass
        other = make()
        other.load_state_dict(cut.state_dict())
        assert seen(other) == whole[1][2:]

    alone(body)


@pytest.mark.mpi
def test_under_mpi_the_ranks_parts_are_the_batches_and_their_gradients_the_means():
    def body():
        world = dg.init()
        dg.manual_seed(1)
        model = nn.Linear(4, 3).double()
        ddp = dg.DistributedDataParallel(model)
        x = data().arrays[0].astype(np.float64)
        loader = DataLoader(TensorDataset(x, data().arrays[1]), 9, shuffle=True)
        alone_model = nn.Linear(4, 3).double()
        alone_model.load_state_dict(model.state_dict())
        order = dg.data.permutation(N, seed=1, epoch=0)
        count = np.zeros(1)
        for i, (a, b) in enumerate(loader):
            ddp.zero_grad()
            F.cross_entropy(ddp(a), b).backward()
            alone_model.zero_grad()
            rows = order[9 * i : 9 * (i + 1)]
            F.cross_entropy(alone_model(x[rows]), data().arrays[1][rows]).backward()
            np.testing.assert_allclose(
                model.weight.grad.array, alone_model.weight.grad.array, rtol=1e-11, atol=1e-15
            )
            count += len(b)
        world.comm.all_reduce(count)
        assert count[0] == N

    alone(body)
