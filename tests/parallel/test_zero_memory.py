"""What a rank has in memory beside its part: buckets on their way, scratch, what was freed."""

import ctypes
import re
from pathlib import Path

import numpy as np
import pytest
from training import simulated

import distgrad as dg
from distgrad import nn
from distgrad.heap import give_back_freed
from distgrad.parallel.zero import at_once


def backward(zero, look=lambda ddp, when: None):
    """Run a backward pass of twelve layers, each a bucket, and show it at each gradient."""
    world = dg.init(shards=4)
    model = nn.Sequential(*(nn.Linear(32, 32, bias=False) for _ in range(12)))
    ddp = dg.DistributedDataParallel(model, zero=zero, bucket_mb=0.001)
    for step in range(2):
        for shard in dg.own_shards(world, step, 8):
            x = np.full((len(shard), 32), 1 + world.rank, np.float32)
            for p in model.parameters():
                p.register_hook(lambda g: look(ddp, "within"))
            ddp.backward(ddp(x).sum())
        look(ddp, "after")


def most_at_once(zero, size, nodes):
    def body():
        found = []

        def look(ddp, when):
            found.append(sum(b.gradients.work is not None for b in ddp.reducer.buckets))

        backward(zero, look)
        return max(found)

    return simulated(size, body, nodes=nodes)


@pytest.mark.parametrize("nodes", [[1, 1, 1], [2, 1], None])
def test_where_gradients_are_not_kept_eight_buckets_at_most_are_on_their_way(nodes):
    for zero in (2, 3):
        assert max(most_at_once(zero, 3, nodes)) <= at_once(3)


def test_where_they_are_kept_all_may_be():
    assert max(most_at_once(1, 3, [1, 1, 1])) > at_once(3)


@pytest.mark.parametrize(("zero", "kept"), [(1, True), (2, False), (3, False)])
def test_scratch_memory_of_sums_is_given_back_after_a_batch_if_little_is_kept(zero, kept):
    def body():
        found = []

        def look(ddp, when):
            if when == "after":
                found.append(bool(ddp.world.comm.transport.state.spare))

        backward(zero, look)
        return found

    assert simulated(3, body, nodes=[1, 1, 1]) == [[kept] * 2] * 3


def resident():
    text = Path("/proc/self/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) * 1024


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc")
def test_holes_between_arrays_that_stay_are_given_back_if_they_are_large():
    holes = [np.ones(25_000, np.float32) for _ in range(1000)]  # of 100 kB, below mmap's threshold
    stay = holes[::20]
    del holes
    before = resident()
    give_back_freed(1000)
    assert before - resident() < 10e6
    give_back_freed(100_000_000)
    assert before - resident() > 50e6
    assert len(stay) == 50
