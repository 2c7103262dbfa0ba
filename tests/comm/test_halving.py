"""The tree at scale: recursive halving and doubling, with the bits of the direct exchange."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from summands import assert_definition, partitions, summand

from distgrad.comm import Communicator, connect, run_ranks
from distgrad.comm.algorithms import halving, tree


@pytest.fixture
def at_any_scale(monkeypatch):
    monkeypatch.setattr(tree, "HALVING_RANKS", 2)


@given(partition=partitions(), schedule=st.none() | st.integers(0, 9))
@settings(deadline=None, max_examples=200)
def test_every_partition_gives_the_bits_of_the_definition(partition, schedule):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree, "HALVING_RANKS", 2)
        assert_definition(partition, "tree", schedule)


@pytest.mark.parametrize("size", range(1, 18))
@pytest.mark.parametrize("count", [0, 1, 5, 1000])
def test_any_number_of_ranks_has_the_bits_of_the_direct_exchange(size, count, monkeypatch):
    def body():
        comm = Communicator(connect())
        found = []
        for ranks in (math.inf, 2):
            monkeypatch.setattr(tree, "HALVING_RANKS", ranks)
            array = np.resize(summand(comm.rank, 101), count)
            comm.all_reduce(array, algorithm="tree", name=str(ranks))
            found.append(array.tobytes())
            comm.barrier()
        return found

    assert len({bits for found in run_ranks(size, body) for bits in found}) == 1


@pytest.mark.parametrize("size", [2, 4, 8, 16])
def test_powers_of_two_send_what_the_ring_sends_in_log_rounds(size, at_any_scale):
    def body():
        comm = Communicator(connect())
        sends = []
        transport = comm.transport
        plain = transport.isend

        def isend(buffer, dest, tag):
            sends.append(buffer.nbytes)
            return plain(buffer, dest, tag)

        comm.barrier()
        transport.isend = isend
        before = comm.bytes_sent
        array = np.ones(64 * size, "f4")
        comm.all_reduce(array, algorithm="tree")
        assert comm.bytes_sent - before == 2 * (size - 1) * array.nbytes // size
        rounds = int(math.log2(size))
        assert len(sends) == rounds + 2 * rounds  # the check of the fingerprints, then both ways

    run_ranks(size, body, nodes=[1] * size)


def test_it_is_taken_by_many_ranks_for_short_slices(monkeypatch):
    taken = []
    plain = halving.sum_parts
    monkeypatch.setattr(halving, "sum_parts", lambda *a: taken.append(a[2].size) or plain(*a))

    def body():
        comm = Communicator(connect())
        for count in (3, tree.HALVING_BYTES // 4 * comm.size):
            comm.all_reduce(np.ones(count, "f4"), algorithm="tree")

    run_ranks(tree.HALVING_RANKS - 1, body)
    assert not taken
    run_ranks(tree.HALVING_RANKS, body)
    assert set(taken) == {3}
