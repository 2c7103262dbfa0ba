"""What crosses the wire, by counting."""

import numpy as np
import pytest

from distgrad.comm.group import CHUNK, even_slices, pieces
from distgrad.comm.transport import Transport


def slice_bytes(array, size):
    return [array[s].nbytes for s in even_slices(array.size, size)]


@pytest.mark.parametrize("algorithm", ["ring", "tree"])
def test_all_reduce_sends_exactly_its_share_of_a_divisible_buffer(ranks, algorithm):
    def body(comm):
        n = comm.size
        array = np.full(1200 * n, comm.rank, "float32")
        before = comm.bytes_sent
        comm.all_reduce(array, algorithm=algorithm)
        assert comm.bytes_sent - before == 2 * (n - 1) * array.nbytes // n

    ranks.run(body)


def test_ring_of_an_indivisible_buffer_sends_all_but_the_own_and_the_rights_slice(several_ranks):
    def body(comm):
        array = np.full(1201 * comm.size + comm.size - 1, comm.rank, "float64")
        parts = slice_bytes(array, comm.size)
        comm.all_reduce(array, algorithm="ring")
        own, right = parts[comm.rank], parts[(comm.rank + 1) % comm.size]
        assert comm.bytes_sent == 2 * array.nbytes - own - right

    several_ranks.run(body)


def test_tree_over_aligned_runs_sends_what_the_ring_sends(simulated):
    def body(comm):
        out = np.full(4096, comm.rank + 1.0)
        runs = [range(2 * rank, 2 * rank + 2) for rank in range(4)]
        comm.start_sum([(1, comm.rank, out)], out, runs, algorithm="tree").wait()
        assert comm.bytes_sent == 2 * 3 * out.nbytes // 4

    simulated(4).run(body)


def test_a_broadcast_sends_the_buffer_once_to_each_other_rank(ranks):
    def body(comm):
        array = np.full(CHUNK // 4 + 1, comm.rank, "float32")
        comm.broadcast(array, 0)
        sent = [int(data) for data in comm.all_gather_bytes(b"%d" % comm.bytes_sent)]
        assert sum(sent) == (comm.size - 1) * array.nbytes

    ranks.run(body)


def test_checks_and_barriers_do_not_count_as_payload(ranks):
    def body(comm):
        comm.barrier()
        comm.all_reduce(np.zeros(0))
        assert comm.bytes_sent == 0

    ranks.run(body)


def test_no_message_is_longer_than_a_chunk(several_ranks):
    def body(comm):
        lengths = []
        transport: Transport = comm.transport
        plain = transport.isend

        def isend(buffer, dest, tag):
            lengths.append(buffer.nbytes)
            return plain(buffer, dest, tag)

        transport.isend = isend
        comm.all_reduce(np.zeros(comm.size * (CHUNK // 4) + 7, "float32"), algorithm="ring")
        assert max(lengths) == CHUNK

    several_ranks.run(body)


def test_pieces_cover_an_array_without_overlap():
    array = np.arange(3 * CHUNK // 8 + 5, dtype="float64")
    np.testing.assert_array_equal(np.concatenate(pieces(array)), array)
    assert pieces(array[:0]) == []


def test_even_slices_differ_by_at_most_one_and_the_first_are_longer():
    assert even_slices(8, 3) == (slice(0, 3), slice(3, 6), slice(6, 8))
    assert even_slices(2, 3) == (slice(0, 1), slice(1, 2), slice(2, 2))
