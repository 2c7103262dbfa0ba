"""Examples of distgrad.parallel."""

import numpy as np

import distgrad as dg
from distgrad import nn, optim, parallel
from distgrad.comm import run_ranks
from distgrad.nn import functional as F

# Examples


# current_shard, ShardPosition: which part of which batch this rank computes
def where():
    found = []
    for _ in parallel.own_shards(parallel.init(shards=4), step=7, total=10):
        at = parallel.current_shard()
        assert isinstance(at, parallel.ShardPosition)
        found.append((at.step, at.shard, at.count))
    return found


run_ranks(3, where)


# DiLoCo: ranks train alone for 4 steps, then take one step together
def train():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    ddp = parallel.DistributedDataParallel(model)
    optimizer = parallel.DiLoCo(ddp, optim.AdamW(model.parameters(), lr=1e-3), every=4)
    images, _ = dg.data.digits()
    for batch in dg.data.DataLoader(images, global_batch_size=256, seed=0):
        optimizer.zero_grad()
        for x, y in batch.shards:
            ddp.backward(F.cross_entropy(model(x), y))
        optimizer.step()
    optimizer.outer_step()
    return nn.state_sha256(model.state_arrays())


len(set(run_ranks(2, train)))  # one model on both ranks


# PeriodicModelAverager: every second step
def average():
    world = dg.init()
    model = nn.Linear(1, 1, bias=False)
    averager = parallel.PeriodicModelAverager(period=2)
    found = []
    for _ in range(4):
        model.weight.data = dg.full((1, 1), float(world.rank))
        averager.average_parameters(model.parameters())
        found.append(model.weight.item())
    return found


run_ranks(3, average)


# PostLocalSGDOptimizer: a step, and an average every second one
def step_and_average():
    dg.manual_seed(0)
    model = nn.Linear(1, 1, bias=False)
    averager = parallel.PeriodicModelAverager(period=2)
    optimizer = parallel.PostLocalSGDOptimizer(optim.SGD(model.parameters(), lr=0.1), averager)
    for _ in range(4):
        optimizer.zero_grad()
        model(np.full((1, 1), dg.init().rank, "f4")).sum().backward()
        optimizer.step()
    return round(model.weight.item(), 4)


run_ranks(3, step_and_average)
