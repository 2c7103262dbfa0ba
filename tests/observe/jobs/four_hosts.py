"""A short training with much to send; prints the hash of its weights and where the time went.

``four_hosts.py STEPS``.
"""

import sys

import numpy as np

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F
from distgrad.observe import TimeSplit


def train(steps):
    """Return the SHA-256 of the weights, and the split."""
    dg.init(shards=4)
    dg.manual_seed(3)
    model = nn.Sequential(nn.Linear(64, 500), nn.Tanh(), nn.Linear(500, 500), nn.Linear(500, 10))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    ddp = dg.DistributedDataParallel(model)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(64, 64)).astype(np.float32), rng.integers(0, 10, 64)
    loader = dg.data.DataLoader(dg.data.ArrayDataset(x, y), 64, shuffle=True, seed=2)
    with TimeSplit(ddp) as split:
        for _ in range(steps):
            for batch in loader:
                optimizer.zero_grad()
                for inputs, target in batch.shards:
                    ddp.backward(F.cross_entropy(model(inputs), target))
                optimizer.step()
    return nn.state_sha256(model.state_dict()), split


if __name__ == "__main__":
    sha256, found = train(int(sys.argv[1]))
    # On every rank, and in one write: what ranks print in pieces may come out mixed.
    print(f"weights {sha256}\n", end="")
    if found.world.rank == 0:
        print(found.summary())
        print(found.table())
        print(f"tested {len(found.rates)} networks")
