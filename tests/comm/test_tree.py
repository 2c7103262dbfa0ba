"""The canonical order: the bits of a sum do not depend on who holds which summands."""

import numpy as np
import pytest
from algorithms import CANONICAL
from hypothesis import given, settings
from summands import assert_definition, definition, partitions, sum_of, summand

from distgrad.comm import Communicator, TreeSum, connect, nodes_of
from distgrad.comm.canonical import schedule
from distgrad.errors import CommError


@pytest.mark.parametrize("algorithm", CANONICAL)
@given(partition=partitions())
@settings(deadline=None, max_examples=150)
def test_every_partition_gives_the_bits_of_the_definition(partition, algorithm):
    assert_definition(partition, algorithm)


@given(partitions())
@settings(deadline=None, max_examples=300)
def test_tree_sum_holds_exactly_the_nodes_nodes_of_names(partition):
    _, runs, absent = partition
    for run in runs:
        parts = sum_of(run, absent).parts
        assert [(level, index) for level, index, _ in parts] == nodes_of(run, absent)
        for level, index, array in parts:
            assert array.tobytes() == definition(level, index, absent).tobytes()


@pytest.mark.mpi
@pytest.mark.parametrize("algorithm", CANONICAL)
def test_any_number_of_mpi_ranks_gives_the_bits_of_one(world_of_mpi, algorithm):
    def body(comm):
        for shards in (4, 8, 16):
            runs = [
                range(r * shards // comm.size, (r + 1) * shards // comm.size)
                for r in range(comm.size)
            ]
            for absent in ((), (shards - 1,), (0, 2, 3)):
                out = np.zeros(13, "float32")
                parts = sum_of(runs[comm.rank], absent).parts
                comm.start_sum(parts, out, runs, absent=absent, algorithm=algorithm).wait()
                expected = definition(shards.bit_length() - 1, 0, absent)
                assert out.tobytes() == expected.tobytes()

    world_of_mpi.run(body)


@pytest.mark.parametrize("algorithm", CANONICAL)
@pytest.mark.parametrize("seed", range(5))
def test_the_total_may_go_where_a_part_is(simulated, seed, algorithm):
    runs = [range(0, 3), range(3, 4), range(4, 8)]
    expected = definition(3, 0, ())

    def body(comm):
        parts = sum_of(runs[comm.rank], ()).parts
        out = parts[-1][2]
        comm.start_sum(parts, out, runs, algorithm=algorithm).wait()
        assert out.tobytes() == expected.tobytes()

    simulated(3).run(body, schedule=seed)


@pytest.mark.parametrize("algorithm", CANONICAL)
def test_a_canonical_all_reduce_takes_each_rank_as_one_summand(several_ranks, algorithm):
    def body(comm):
        array = summand(comm.rank)
        comm.all_reduce(array, algorithm=algorithm)
        levels = (comm.size - 1).bit_length()
        absent = range(comm.size, 1 << levels)
        assert array.tobytes() == definition(levels, 0, absent).tobytes()

    several_ranks.run(body)


def test_a_plain_sum_would_not_keep_these_bits():
    """The data of this file can tell an order of sums from another one."""
    plain = sum(summand(index) for index in range(8))
    assert plain.tobytes() != definition(3, 0, ()).tobytes()


def test_nodes_are_the_largest_inside_the_run():
    assert nodes_of(range(0, 8)) == [(3, 0)]
    assert nodes_of(range(3, 8)) == [(0, 3), (2, 1)]
    assert nodes_of(range(1, 7)) == [(0, 1), (1, 1), (1, 2), (0, 6)]
    assert nodes_of(range(4, 4)) == []


def test_a_node_with_an_absent_summand_is_whole_and_one_of_absent_only_is_left_out():
    assert nodes_of(range(0, 4), absent={1}) == [(2, 0)]
    assert nodes_of(range(1, 4), absent={1}) == [(1, 1)]
    assert nodes_of(range(1, 4), absent={2, 3}) == [(0, 1)]


def test_the_schedule_adds_left_to_right_child_low_levels_first():
    additions, total = schedule(((0, 0), (0, 1), (0, 2), (0, 3)))
    assert additions == ((0, 1), (2, 3), (0, 2))
    assert total == 0


def test_tree_sum_gives_back_the_arrays_it_no_longer_needs():
    tree = TreeSum(range(0, 4))
    arrays = [summand(i) for i in range(4)]
    for index, array in enumerate(arrays):
        tree.add(index, array)
    assert [id(a) for a in tree.spare] == [id(arrays[i]) for i in (1, 3, 2)]


@pytest.mark.parametrize("index", [1, 0, 4])
def test_tree_sum_refuses_a_summand_out_of_turn(index):
    tree = TreeSum(range(1, 4))
    tree.add(1, summand(1))
    with pytest.raises(ValueError, match=f"summand {index} is out of turn: .* at least 2"):
        tree.add(index, summand(index))


def test_a_sum_of_nothing_is_refused():
    comm = Communicator(connect())
    with pytest.raises(CommError, match=r"at least one summand present; absent are \[0\]"):
        comm.start_sum([], np.zeros(3), [range(0, 1)], absent=[0])


def test_a_run_for_each_rank_is_needed():
    comm = Communicator(connect())
    with pytest.raises(CommError, match=r"one run of summands for each of the 1 ranks; got 2"):
        comm.start_sum([], np.zeros(3), [range(0, 1), range(1, 2)])


def test_parts_that_do_not_fit_the_run_are_refused():
    comm = Communicator(connect())
    out = np.zeros(3)
    expected = r"over runs 0:2: .* nodes \[\(0, 0\)\], but .* to bring \[\(1, 0\)\]"
    with pytest.raises(CommError, match=expected):
        comm.start_sum([(0, 0, out)], out, [range(0, 2)])


def test_a_part_unlike_out_is_refused():
    comm = Communicator(connect())
    with pytest.raises(CommError, match="a part is float32 x 2, out is float64 x 3"):
        comm.start_sum([(0, 0, np.zeros(2, "f4"))], np.zeros(3), [range(0, 1)])
