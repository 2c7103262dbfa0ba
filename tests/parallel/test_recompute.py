"""Activation checkpointing under DistributedDataParallel: buckets and bits as without it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from training import alone, simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.autograd import checkpoint
from distgrad.nn import functional as F


class Net(nn.Module):
    def __init__(self, recompute: bool) -> None:
        super().__init__()
        self.first = nn.Linear(64, 16)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.GELU(), nn.Dropout(0.2))
            for _ in range(3)
        )
        self.head = nn.Linear(16, 10)
        self.recompute = recompute

    def forward(self, x: Any) -> Any:
        h = self.first(np.reshape(x, (len(x), -1)))
        for block in self.blocks:
            h = h + (checkpoint(block, h) if self.recompute else block(h))
        # Used by the last stretch and outside it: its gradient is final after both.
        return self.head(h) + np.sum(self.blocks[2][0].weight)


def trained(recompute: bool) -> str:
    dg.init(shards=4)
    dg.manual_seed(4)
    model = Net(recompute)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    ddp = dg.DistributedDataParallel(model, bucket_mb=0.001)
    data, _ = dg.data.digits()
    loader = dg.data.DataLoader(dg.data.Subset(data, np.arange(90)), 30)
    for batch in loader:
        optimizer.zero_grad()
        for x, y in batch.shards:
            ddp.backward(F.cross_entropy(model(x), y))
        optimizer.step()
    return nn.state_sha256(model.state_dict())


def test_the_bits_are_those_without_on_any_number_of_simulated_ranks() -> None:
    expected = alone(lambda: trained(False))
    assert alone(lambda: trained(True)) == expected
    for size in (2, 3, 4):
        assert set(simulated(size, lambda: trained(True))) == {expected}


@pytest.mark.mpi
def test_the_bits_are_those_without_under_mpi() -> None:
    assert alone(lambda: trained(True)) == alone(lambda: trained(False))
