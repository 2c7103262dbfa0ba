"""One suite for all worlds: whatever holds in one holds in every other."""

from itertools import cycle, pairwise

import numpy as np
import pytest
from algorithms import EVERYWHERE

from distgrad.comm import ALL_REDUCE, AUTO, TreeSum, connect
from distgrad.comm.worlds.local import LocalTransport

DTYPES = ["float32", "float64", "int64"]
COUNTS = [0, 1, 2, 3, 5, 64, 1001]


def data(rank, count, dtype="float64"):
    """Small integers that differ by rank and index: their sums are exact in every dtype."""
    return ((np.arange(count) * 7 + rank * rank * 31 + 3) % 97).astype(dtype)


def total(size, count, dtype="float64"):
    return sum(data(rank, count, dtype) for rank in range(size))


@pytest.fixture(params=ALL_REDUCE)
def algorithm(request, ranks):
    """Every all-reduce of the table, where the world has what it needs."""
    missing = ALL_REDUCE[request.param].missing
    if missing is not None and any(ranks.run(lambda comm: missing(comm.transport))):
        pytest.skip(f"{request.param} does not run in this world")
    return request.param


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_reduce_leaves_the_sum_on_every_rank(ranks, algorithm, dtype):
    def body(comm):
        for count in COUNTS:
            array = data(comm.rank, count, dtype)
            comm.all_reduce(array, algorithm=algorithm, name=f"x{count}")
            np.testing.assert_array_equal(array, total(comm.size, count, dtype))
            assert array.dtype == dtype

    ranks.run(body)


def test_all_reduce_of_many_pieces_sums_each_once(ranks, algorithm):
    def body(comm):
        count = 3 * (1 << 18) * comm.size + 11  # over 2 MiB a slice
        array = data(comm.rank, count, "float32")
        comm.all_reduce(array, algorithm=algorithm)
        np.testing.assert_array_equal(array, total(comm.size, count, "float32"))

    ranks.run(body)


def test_all_reduce_keeps_the_shape_of_a_matrix(ranks):
    def body(comm):
        array = data(comm.rank, 6).reshape(2, 3)
        comm.all_reduce(array)
        np.testing.assert_array_equal(array, total(comm.size, 6).reshape(2, 3))

    ranks.run(body)


def test_all_reduce_gives_the_same_bits_on_all_ranks(ranks, algorithm):
    def body(comm):
        array = np.random.default_rng(comm.rank).standard_normal(1001).astype("float32")
        comm.all_reduce(array, algorithm=algorithm)
        assert len(set(comm.all_gather_bytes(array.tobytes()))) == 1

    ranks.run(body)


@pytest.mark.mpi
def test_native_collectives_in_flight_begin_in_the_order_of_their_calls(world_of_mpi):
    def body(comm):
        arrays = [data(comm.rank + i, 50 + i) for i in range(6)]
        works = [comm.start_all_reduce(a, algorithm="native") for a in arrays]
        for i in np.random.default_rng(comm.rank).permutation(6):
            works[i].wait()
        for i, array in enumerate(arrays):
            expected = sum(data(rank + i, 50 + i) for rank in range(comm.size))
            np.testing.assert_array_equal(array, expected)

    world_of_mpi.run(body)


def shares(size):
    """Runs of 8 summands for each rank, of unequal lengths; the last rank has none."""
    bounds = [*np.linspace(0, 8, size, dtype=int), 8] if size > 1 else [0, 8]
    return [range(int(a), int(b)) for a, b in pairwise(bounds)]


def test_start_sum_adds_every_present_summand_once(ranks, algorithm):
    def body(comm):
        runs = shares(comm.size)
        for absent in ((), (1, 6, 7)):
            local = TreeSum(runs[comm.rank])
            for index in runs[comm.rank]:
                if index not in absent:
                    local.add(index, data(index, 50))
            out = np.full(50, -1.0)
            comm.start_sum(local.parts, out, runs, absent=absent, algorithm=algorithm).wait()
            present = [index for index in range(8) if index not in absent]
            np.testing.assert_array_equal(out, sum(data(index, 50) for index in present))

    ranks.run(body)


def test_start_sum_may_put_the_total_where_a_part_is(ranks, algorithm):
    def body(comm):
        runs = [range(3 * r, 3 * r + 3) for r in range(comm.size)]
        for place in (0, -1):
            local = TreeSum(runs[comm.rank])
            for index in runs[comm.rank]:
                local.add(index, data(index, 50))
            parts = local.parts
            out = parts[place][2]
            comm.start_sum(parts, out, runs, algorithm=algorithm).wait()
            np.testing.assert_array_equal(out, sum(data(i, 50) for i in range(3 * comm.size)))

    ranks.run(body)


def test_what_is_said_to_come_from_the_left_neighbour_alone_does(ranks, algorithm):
    def body(comm):
        sources = set()
        plain = comm.transport.irecv

        def irecv(buffer, source, tag):
            sources.add(source)
            return plain(buffer, source, tag)

        comm.transport.irecv = irecv
        comm.all_reduce(data(comm.rank, 100), algorithm=algorithm)
        if ALL_REDUCE[algorithm].left_only:
            assert sources <= {(comm.rank - 1) % comm.size}

    ranks.run(body)


def test_reduce_scatter_returns_the_own_slice_of_the_sum(ranks):
    def body(comm):
        for count in COUNTS:
            array = data(comm.rank, count)
            own = comm.reduce_scatter(array)
            expected = np.array_split(total(comm.size, count), comm.size)[comm.rank]
            np.testing.assert_array_equal(own, expected)
            assert np.shares_memory(own, array) or own.size == 0

    ranks.run(body)


def uneven(size):
    """Slices of lengths 0, 3, 6, ... in rank order, the last rank's first in memory."""
    lengths = [3 * rank for rank in range(size)]
    starts = [sum(lengths[rank + 1 :]) for rank in range(size)]
    return [slice(a, a + n) for a, n in zip(starts, lengths, strict=True)], sum(lengths)


def test_reduce_scatter_then_all_gather_of_uneven_slices_is_all_reduce(ranks):
    def body(comm):
        slices, count = uneven(comm.size)
        array = data(comm.rank, count)
        own = comm.reduce_scatter(array, slices=slices)
        np.testing.assert_array_equal(own, total(comm.size, count)[slices[comm.rank]])
        comm.all_gather(array, slices=slices)
        np.testing.assert_array_equal(array, total(comm.size, count))

    ranks.run(body)


def test_all_gather_puts_each_ranks_slice_in_its_place(ranks):
    def body(comm):
        array = np.full(3 * comm.size, -1.0)
        array[3 * comm.rank : 3 * comm.rank + 3] = data(comm.rank, 3)
        comm.all_gather(array)
        np.testing.assert_array_equal(
            array, np.concatenate([data(rank, 3) for rank in range(comm.size)])
        )

    ranks.run(body)


def test_broadcast_copies_any_roots_array(ranks):
    def body(comm):
        for root in range(comm.size):
            for count in [*COUNTS, 600_000]:
                array = data(comm.rank, count)
                comm.broadcast(array, root)
                np.testing.assert_array_equal(array, data(root, count))

    ranks.run(body)


@pytest.mark.parametrize("dtype", ["float16", "bool", "complex64", "U3", "datetime64[s]"])
def test_broadcast_carries_every_plain_dtype(ranks, dtype):
    def body(comm):
        array = np.array([comm.rank, 1, 2]).astype(dtype)
        comm.broadcast(array, comm.size - 1)
        np.testing.assert_array_equal(array, np.array([comm.size - 1, 1, 2]).astype(dtype))

    ranks.run(body)


def test_all_gather_bytes_returns_strings_of_unequal_length_in_rank_order(ranks):
    def body(comm):
        gathered = comm.all_gather_bytes(b"ab" * comm.rank)
        assert gathered == [b"ab" * rank for rank in range(comm.size)]

    ranks.run(body)


def test_broadcast_bytes_needs_no_length_from_the_others(ranks):
    def body(comm):
        root = comm.size - 1
        assert comm.broadcast_bytes(b"hello" if comm.rank == root else b"", root) == b"hello"
        assert comm.broadcast_bytes(b"") == b""

    ranks.run(body)


def test_nobody_leaves_a_barrier_before_all_have_come(ranks, tmp_path_factory):
    def body(comm):
        folder = comm.broadcast_bytes(str(tmp_path_factory.mktemp("barrier")).encode()).decode()
        for turn in range(3):
            with open(f"{folder}/{turn}-{comm.rank}", "w"):
                pass
            comm.barrier()
            for rank in range(comm.size):
                with open(f"{folder}/{turn}-{rank}"):
                    pass

    ranks.run(body)


def test_collectives_in_flight_may_be_waited_for_in_any_order(ranks):
    def body(comm):
        arrays = [data(comm.rank + i, 100 + i) for i in range(8)]
        works = [
            comm.start_all_reduce(a, algorithm=algorithm, name=f"bucket {i}")
            for i, (a, algorithm) in enumerate(zip(arrays, cycle(EVERYWHERE), strict=False))
        ]
        # Every rank waits in another order.
        for i in np.random.default_rng(comm.rank).permutation(8):
            works[i].wait()
        for i, array in enumerate(arrays):
            expected = sum(data(rank + i, 100 + i) for rank in range(comm.size))
            np.testing.assert_array_equal(array, expected)

    ranks.run(body)


def test_collectives_of_two_communicators_may_be_in_flight_together(ranks):
    def body(comm):
        other = type(comm)(comm.transport)
        a, b = data(comm.rank, 40), data(comm.rank + 1, 40)
        works = [comm.start_all_reduce(a), other.start_all_reduce(b)]
        for work in works if comm.rank % 2 else works[::-1]:
            work.wait()
        np.testing.assert_array_equal(a, total(comm.size, 40))
        np.testing.assert_array_equal(b, sum(data(r + 1, 40) for r in range(comm.size)))

    ranks.run(body)


@pytest.mark.mpi
def test_poll_alone_completes_a_collective_on_mpi(world_of_mpi):
    def body(comm):
        array = data(comm.rank, 1000)
        work = comm.start_all_reduce(array)
        while not work.poll():
            pass
        assert work.done
        np.testing.assert_array_equal(array, total(comm.size, 1000))
        comm.barrier()

    world_of_mpi.run(body)


def test_split_makes_worlds_of_the_same_color_ordered_by_key(ranks):
    def body(comm):
        part = type(comm)(comm.transport.split(comm.rank % 2, -comm.rank))
        mine = [rank for rank in range(comm.size) if rank % 2 == comm.rank % 2][::-1]
        assert part.size == len(mine)
        assert part.rank == mine.index(comm.rank)
        array = data(comm.rank, 10)
        part.all_reduce(array)
        np.testing.assert_array_equal(array, sum(data(rank, 10) for rank in mine))

    ranks.run(body)


def test_messages_of_one_lane_arrive_in_the_order_they_were_sent(ranks):
    def body(comm):
        transport = comm.transport.split(0, comm.rank)
        left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
        inbox = np.zeros((5, 2))
        requests = [transport.irecv(row, left, 7) for row in inbox]
        outbox = [np.array([comm.rank, i], float) for i in range(5)]
        requests += [transport.isend(array, right, 7) for array in outbox]
        idle = 0.0
        while not all(request.test() for request in requests):
            transport.back_off(idle)
            idle += 1e-6
        np.testing.assert_array_equal(inbox, [[left, i] for i in range(5)])

    ranks.run(body)


def test_a_world_knows_its_host_and_members(ranks):
    def body(comm):
        assert comm.transport.host
        assert comm.transport.members == tuple(range(comm.size))
        assert comm.transport.name == ranks.kind

    ranks.run(body)


@pytest.mark.parametrize("schedule", range(25))
@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_every_interleaving_gives_the_same_sums(simulated, size, schedule):
    def body(comm):
        algorithms = [*EVERYWHERE, AUTO]
        arrays = [data(comm.rank + i, 97) for i in range(len(algorithms))]
        works = [
            comm.start_all_reduce(array, algorithm=algorithm, name=algorithm)
            for array, algorithm in zip(arrays, algorithms, strict=True)
        ]
        comm.barrier()
        for i in np.random.default_rng(schedule + comm.rank).permutation(len(works)):
            works[i].wait()
        d = data(comm.rank, 11)
        comm.broadcast(d, size - 1)
        np.testing.assert_array_equal(d, data(size - 1, 11))
        for i, array in enumerate(arrays):
            np.testing.assert_array_equal(array, sum(data(r + i, 97) for r in range(size)))

    simulated(size).run(body, schedule=schedule)


def test_a_process_nobody_launched_is_a_world_of_one(monkeypatch):
    for variable in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(variable, raising=False)
    assert isinstance(connect(), LocalTransport)
