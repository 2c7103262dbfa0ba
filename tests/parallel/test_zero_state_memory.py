"""How much of the state of optimizers and averages each rank has: about a part in their number."""

import numpy as np
import pytest
from training import simulated
from zero_training import STAGES, Odd, prepared

import distgrad as dg
from distgrad import nn, optim
from distgrad.optim.flat import FlatParameters
from distgrad.optim.norms import BLOCK

KINDS = {  # and the arrays of the state that have the form of a parameter
    "AdamW": (lambda m: optim.AdamW(m.parameters(), lr=0.03), 2),
    "Rprop": (lambda m: optim.Rprop(m.parameters(), lr=0.03), 2),
    "SGD": (lambda m: optim.SGD(m.parameters(), lr=0.03, momentum=0.9), 1),
    "Lookahead": (lambda m: optim.Lookahead(optim.AdamW(m.parameters(), lr=0.03)), 3),
    "LAMB": (lambda m: optim.LAMB(m.parameters(), lr=0.03), 2),
    "Average": (optim.ExponentialMovingAverage, 1),
}
WORLDS = [(2, None), (3, None), (3, [2, 1]), (3, [1, 1, 1]), (8, [3, 5])]


def stores_of(owner):
    if isinstance(owner, optim.ExponentialMovingAverage):
        return [owner._flat]
    if isinstance(owner, optim.Lookahead):
        return [owner._slow, *owner.optimizer._stores]
    return owner._stores


def elements(owner):
    """Return how many elements of state arrays this rank has, and nothing besides them."""
    found = 0
    for store in stores_of(owner):
        flat = isinstance(store, FlatParameters)
        states = [run.state for run in store.runs()] if flat else store._state
        for array in (a for state in states for a in state.values()):
            assert array.base is None, "a part of a larger array keeps all of it"
            found += array.size
    return found


def counted(make, zero, shards=8):
    def body():
        made = []

        def of(model):
            made.append(make(model))
            return made if isinstance(made[0], optim.Optimizer) else []

        t = prepared(zero, of, complex_too=False, bucket_mb=4.0, shards=shards)
        if not t.optimizers:
            made[0].update()
        t.train(2)
        return elements(made[0])

    return body


def trained_sizes():
    sizes = {}
    for p in Odd(complex_too=False).parameters():
        if p.requires_grad:
            sizes.setdefault(p.dtype, []).append(p.size)
    return [*sizes.values()]  # of two buckets


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("zero", STAGES)
def test_each_rank_has_its_share_of_the_state_alone(name, zero):
    make, arrays = KINDS[name]
    largest = max(map(max, trained_sizes())) if name == "LAMB" else BLOCK
    each = arrays * sum(map(sum, trained_sizes()))
    # A frozen parameter is not shared out; whole parameters' state is made when they move.
    frozen = 0 if name == "LAMB" else arrays * 5
    unused = arrays * 33 if name == "LAMB" else 0
    for size, nodes in WORLDS:
        found = simulated(size, counted(make, zero), nodes=nodes)
        assert sum(found) == each - unused + size * frozen
        for own in found:
            # Of each bucket the part in its number, give or take a block at one end or both.
            assert abs(own - frozen - each / size) <= arrays * (largest + 33)


def test_with_zero_0_every_rank_has_all_of_it():
    make, arrays = KINDS["AdamW"]
    whole = arrays * (sum(map(sum, trained_sizes())) + 5)
    assert simulated(3, counted(make, 0)) == [whole] * 3


def test_the_ranks_with_the_least_get_the_longest_parts():
    # Buckets of two blocks and a bit: by their order alone rank 1 would have nothing of any.
    shapes = [(2 * BLOCK + 7,)] * 3

    def body():
        world = dg.init(shards=4)
        model = nn.ParameterList([nn.Parameter(np.zeros(s, np.float32)) for s in shapes])
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        ddp = dg.DistributedDataParallel(model, zero=1, bucket_mb=0.01)
        for _ in dg.own_shards(world, 0, 8):
            ddp.backward(sum((p * p).sum() for p in model))
        optimizer.step()
        return elements(optimizer)

    found = simulated(3, body)
    assert sum(found) == 3 * shapes[0][0]
    assert max(found) - min(found) <= BLOCK
