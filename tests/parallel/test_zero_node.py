"""zero=3 between nodes: a node fetches a bucket once, and has it once, while any of it uses it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from training import simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.comm import run_ranks
from distgrad.errors import DistgradError
from distgrad.optim.norms import BLOCK
from distgrad.parallel import zero_memory
from distgrad.parallel.zero_memory import NodePages, OwnPages, allocate_pages

NODES = [[2, 1], [3, 1], [2, 2], [1, 3, 4]]


def made() -> tuple[Any, Any]:
    """Return a model of two buckets after a step: each rank has its own parts alone."""
    world = dg.init(shards=8)
    dg.manual_seed(4)
    model = nn.Sequential(nn.Linear(64, 700, bias=False), nn.Linear(700, 90, bias=False))
    ddp = dg.DistributedDataParallel(model, zero=3, bucket_mb=0.1)
    optimizer = optim.SGD(ddp.parameters(), lr=0.1)
    for shard in dg.own_shards(world, 0, 16):
        x = np.sin(np.outer(np.arange(shard.start, shard.stop) + 1, np.arange(64)))
        ddp.backward((ddp(x.astype(np.float32)) ** 2).mean())
    optimizer.step()
    return ddp, optimizer


def length(part: slice) -> int:
    return part.stop - part.start


# -- over the wire --------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [*NODES, [1, 1, 1]])
def test_each_part_comes_to_a_node_once(nodes: Sequence[int]) -> None:
    def body() -> tuple[list[int], int, int]:
        ddp, _ = made()
        buckets, comm = ddp.reducer.buckets, ddp.world.comm
        here = comm.topology.nodes[comm.topology.node_of[comm.rank]]
        kept = [sum(length(bucket.share.slices[r]) for r in here) for bucket in buckets]
        missing = [4 * (b.values.size - k) for b, k in zip(buckets, kept, strict=True)]
        before = comm.bytes_sent
        with ddp.summon_full_parameters():
            sent = comm.bytes_sent - before
        comm.barrier()
        return missing, sent, here[0]

    found = simulated(sum(nodes), body, nodes=nodes)
    needed = {first: sum(missing) for missing, _, first in found}  # of each node
    assert len(needed) == len(nodes)
    assert sum(sent for _, sent, _ in found) == sum(needed.values())


@pytest.mark.parametrize("nodes", NODES)
def test_the_ranks_of_a_node_share_out_what_comes_to_it(nodes: Sequence[int]) -> None:
    def body() -> int:
        ddp, _ = made()
        shares = [bucket.share for bucket in ddp.reducer.buckets]
        return sum(length(s) for one in shares for s in ddp.shares.memory.received(one.slices))

    found, at = simulated(sum(nodes), body, nodes=nodes), 0
    for count in nodes:
        here = found[at : at + count]
        # A part is another rank's, of which none is much longer than the mean.
        parts = -(-(sum(nodes) - count) // count)
        assert max(here) <= parts * (sum(here) / (sum(nodes) - count) + 2 * BLOCK)
        at += count


# -- in memory ------------------------------------------------------------------------------------


@contextmanager
def pages(kept: slice) -> Iterator[tuple[Any, Any]]:
    """Have 100,000 numbers that all ranks see, and meet when all are through."""
    world = dg.init()
    _, (found,) = allocate_pages(world.comm, [(100_000, np.dtype(np.float32))])
    assert isinstance(found, NodePages)
    if world.comm.topology.nodes[world.comm.topology.node_of[world.rank]][0] == world.rank:
        found.array[...] = 1
    world.comm.barrier()
    found.come()
    yield world, found
    world.comm.barrier()


@pytest.mark.parametrize("nodes", [[3, 1], [1, 3]])
@pytest.mark.parametrize("times", [1, 3])
def test_memory_is_given_back_when_the_last_of_a_node_has_left(
    nodes: Sequence[int], times: int
) -> None:
    kept = slice(30_000, 40_000)

    def body() -> list[float]:
        found = []
        with pages(kept) as (world, memory):
            for n in range(times):
                if n:
                    memory.reserve(slice(0, 100_000))
                    world.comm.barrier()
                    memory.array[...] = 1
                    world.comm.barrier()
                    memory.come()
                for rank in (2, 0, 3, 1):
                    if world.rank == rank:
                        memory.leave(kept)
                    world.comm.barrier()
                    found.append(float(memory.array.sum()))
                    world.comm.barrier()
                assert (memory.array[kept] == 1).all()
        return found

    left = simulated(4, body, nodes=nodes)
    whole, part = 100_000, pytest.approx(10_000, abs=2 * 1024)  # pages of 1024 numbers
    for rank, found in enumerate(left):
        alone = nodes[0 if rank < nodes[0] else 1] == 1
        last = (2, 0, 3, 1).index(rank) if alone else 3
        assert found == [*([whole] * last), *([part] * (4 - last))] * times


@pytest.mark.parametrize("nodes", [[2, 1], [3, 1]])
def test_the_ranks_of_a_node_have_the_same_memory(nodes: Sequence[int]) -> None:
    def body() -> list[int]:
        ddp, _ = made()
        dg.distributed.barrier()
        return [b.values.__array_interface__["data"][0] for b in ddp.reducer.buckets]

    found = simulated(sum(nodes), body, nodes=nodes)
    assert len({tuple(f) for f in found[: nodes[0]]}) == 1
    assert not set(found[0]) & set(found[-1])


@pytest.mark.parametrize("nodes", [[2, 1], [3, 1], [2, 2]])
def test_outside_of_its_use_a_node_has_the_parts_of_its_ranks_alone(nodes: Sequence[int]) -> None:
    def body() -> tuple[int, int]:
        ddp, _ = made()
        dg.distributed.barrier()
        present = sum(int(np.count_nonzero(b.values)) for b in ddp.reducer.buckets)
        own = sum(length(s) for b in ddp.reducer.buckets for s in b.share._kept)
        dg.distributed.barrier()
        return present, own

    for present, own in simulated(sum(nodes), body, nodes=nodes):
        assert own <= present + 100  # a parameter may be 0
        assert present <= own + 2 * 2 * 1024 * max(nodes)  # pages at the ends of parts


# -- where it cannot be ---------------------------------------------------------------------------


def test_memory_that_others_have_taken_is_an_error_with_the_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def body() -> None:
        ddp, _ = made()
        dg.distributed.barrier()
        if ddp.world.rank == 1:
            monkeypatch.setattr(zero_memory, "_POPULATE_WRITE", 9999)
        dg.distributed.barrier()
        with ddp.summon_full_parameters():
            pass

    with pytest.raises(DistgradError, match=r"MiB of shared memory .*\n?.*docker run --shm-size"):
        simulated(3, body, nodes=[2, 1])


@pytest.mark.parametrize("able", [{0, 1}, {2}, set()])
def test_where_one_system_cannot_give_memory_back_each_rank_has_its_own(
    able: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zero_memory, "_goes_back", lambda _: dg.init().rank in able)

    def body() -> tuple[bool, str]:
        ddp, _ = made()
        own = all(isinstance(bucket.share._pages, OwnPages) for bucket in ddp.reducer.buckets)
        return own, nn.state_sha256(ddp.state_dict())

    one = run_ranks(1, lambda: body()[1])
    assert simulated(3, body, nodes=[2, 1]) == [(True, one[0])] * 3
