"""Parameters that are read outside of their modules, where ranks have unequal numbers of shards."""

import numpy as np
import pytest
from zero_training import WORLDS, everywhere, prepared

from distgrad import nn, optim
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


# -- values that ranks have in common are written when all have read them -------------------------

MAKERS = {
    "AdamW": lambda m: optim.AdamW(m.parameters(), lr=0.03),
    "LAMB": lambda m: optim.LAMB(m.parameters(), lr=0.03),
    "Lookahead": lambda m: optim.Lookahead(optim.LAMB(m.parameters(), lr=0.03), k=2),
}


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_read_right_before_a_step_is_of_before_it(name):
    def body(zero):
        t = prepared(zero, MAKERS[name], complex_too=False)
        found = []
        for n, batch in enumerate(t.batches(2)):
            t.backward(batch)
            if n == 3:  # Lookahead meets the slow weights though nothing has a gradient
                t.optimizers[0].zero_grad()
            found.append(nn.state_sha256(t.model.state_dict()))
            t.step()
        return found, t.hashes()

    everywhere(body)


@pytest.mark.parametrize("write", ["copy_to", "load_state_dict", "writing", "data", "average"])
def test_what_is_read_right_before_a_write_is_of_before_it(write):
    def body(zero):
        t = prepared(zero, MAKERS["AdamW"])
        ema = optim.ExponentialMovingAverage(t.model, 0.6)
        first = {name: p.array.copy() for name, p in t.model.named_parameters()}
        ema.update()
        t.train()
        found = [nn.state_sha256(t.model.state_dict())]
        if write == "copy_to":
            ema.copy_to()
        elif write == "load_state_dict":
            t.model.load_state_dict(first)
        elif write == "writing":
            with t.ddp.writing():
                t.model.wide.array[...] = 2
        elif write == "data":
            t.model.wide.data = first["wide"] * 2
            ema.update()
        else:
            with ema.average_parameters():
                found.append(nn.state_sha256(t.model.state_dict()))
        found.append(nn.state_sha256(t.model.state_dict()))
        return found, t.train().hashes()

    everywhere(body)
