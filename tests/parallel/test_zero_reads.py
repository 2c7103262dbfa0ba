"""Parameters that are read outside of their modules, where ranks have unequal numbers of shards."""

import numpy as np
import pytest
from zero_training import WORLDS, everywhere, prepared

from distgrad import optim
from distgrad.nn import functional as F


def between_batches(t, batch):
    np.asarray(t.model.wide.array)
    for x, y in batch.shards:
        t.ddp.backward(F.mse_loss(t.model(x), y))


def before_each_shards_forward(t, batch):
    for x, y in batch.shards:
        decay = (t.model.wide * t.model.wide).sum()
        t.ddp.backward(F.mse_loss(t.model(x), y) + 0.01 * decay)


def after_each_shards_forward(t, batch):
    for x, y in batch.shards:
        loss = F.mse_loss(t.model(x), y)
        t.ddp.backward(loss + 0.01 * (t.model.wide * t.model.wide).sum())


def after_each_shards_backward(t, batch):
    for x, y in batch.shards:
        t.ddp.backward(F.mse_loss(t.model(x), y))
        np.asarray(t.model.wide.array)


READERS = [
    between_batches,
    before_each_shards_forward,
    after_each_shards_forward,
    after_each_shards_backward,
]


@pytest.mark.parametrize("read", READERS)
def test_parameters_may_be_read_outside_of_their_modules(read):
    def body(zero):
        t = prepared(zero, lambda model: optim.SGD(model.parameters(), lr=0.05))
        for batch in t.batches():
            t.optimizers[0].zero_grad()
            read(t, batch)
            t.step()
        return t.hashes()

    everywhere(body, WORLDS[2:])
