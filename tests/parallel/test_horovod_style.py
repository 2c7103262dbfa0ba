"""A script as Horovod's users write it, on distgrad's names: broadcast, average, sampler per rank.

Horovod's script counts batches per rank, broadcasts weights and optimizer state from rank 0, and
averages metrics over the ranks. The same training in one process has the same weights.
"""

from __future__ import annotations

import numpy as np
import pytest
from training import simulated

import distgrad as dg
from distgrad import distributed as dist
from distgrad import nn, optim
from distgrad.nn import functional as F
from distgrad.utils.data import DataLoader, DistributedSampler, TensorDataset

N, PER_STEP = 48, 12


def data() -> TensorDataset:
    i = np.arange(N)
    x = np.sin(np.outer(i + 1, np.arange(1, 5)))
    return TensorDataset(x, (i * i) % 3)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def script(seed_of_rank: int = 0) -> tuple[float, float, str]:
    dist.init_process_group()  # hvd.init()
    rank, size = dist.get_rank(), dist.get_world_size()
    dg.manual_seed(0)
    model = network()
    for p in model.parameters():  # ranks that begin differently
        p.array[...] += seed_of_rank * rank
    # hvd.DistributedOptimizer and hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    ddp = dg.DistributedDataParallel(model)
    optimizer = optim.SGD(ddp.parameters(), lr=0.1 * 2, momentum=0.9)
    dataset = data()
    sampler = DistributedSampler(dataset, num_replicas=size, rank=rank, shuffle=True)
    loader = DataLoader(dataset, batch_size=PER_STEP // size, sampler=sampler)
    for epoch in range(3):
        ddp.train()
        sampler.set_epoch(epoch)
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(ddp(x), y)
            loss.backward()
            optimizer.step()
    ddp.eval()
    test = DistributedSampler(dataset, shuffle=False)
    total, correct, seen = 0.0, 0.0, 0
    with dg.no_grad():
        for x, y in DataLoader(dataset, batch_size=4, sampler=test):
            output = ddp(x)
            total += F.cross_entropy(output, y, reduction="sum").item()
            correct += float(np.sum(np.argmax(output.array, axis=1) == y.array))
            seen += len(y)
    metrics = dg.Tensor(np.array([total / seen, correct / seen]))
    dist.all_reduce(metrics, op=dist.ReduceOp.AVG)  # hvd.allreduce(metric, op=hvd.Average)
    loss, accuracy = metrics.array.tolist()
    return loss, accuracy, nn.state_sha256(ddp.state_dict())


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_it_trains_as_one_process_with_the_batches_of_all_ranks_does(ranks):
    ((loss, accuracy, _),) = simulated(1, script)
    found = simulated(ranks, lambda: script(seed_of_rank=1))
    assert len(set(found)) == 1  # every rank has the same weights and metrics
    assert found[0][0] == pytest.approx(loss, rel=1e-11)
    assert found[0][1] == accuracy


@pytest.mark.mpi
def test_it_runs_under_mpi():
    loss, _, digest = script(seed_of_rank=1)
    everyones = [None] * dist.get_world_size()
    dist.all_gather_object(everyones, [loss, digest])
    assert everyones == [everyones[0]] * len(everyones)


@pytest.mark.parametrize("ranks", [1, 3])
def test_an_optimizers_state_is_broadcast_as_a_state_dict(ranks):
    """hvd.broadcast_optimizer_state(optimizer, root_rank=0), where a rank has loaded another's."""

    def body():
        rank = dist.get_rank()
        dg.manual_seed(0)
        model = network()
        optimizer = optim.Adam(model.parameters(), lr=0.01)
        F.cross_entropy(model(data().arrays[0] * (rank + 1)), data().arrays[1]).backward()
        optimizer.step()
        state = optimizer.state_dict()
        for entry in state["state"].values():
            for value in entry.values():
                if isinstance(value, np.ndarray | dg.Tensor):
                    dist.broadcast(value, src=0)
        optimizer.load_state_dict(state)
        found = optimizer.state_dict()["state"]
        return [[float(np.sum(np.asarray(v))) for v in entry.values()] for entry in found.values()]

    results = simulated(ranks, body)
    assert results == [results[0]] * ranks
    assert len(results[0]) == 4
