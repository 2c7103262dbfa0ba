"""Sums through memory that the ranks of a node share: same bits, whoever shares with whom."""

from itertools import pairwise

import numpy as np
import pytest
from algorithms import CANONICAL
from hypothesis import given, settings
from hypothesis import strategies as st
from summands import definition, partitions, sum_of, summand

from distgrad.comm import ALL_REDUCE, Communicator, connect, nodes_of, run_ranks
from distgrad.comm.board import LANES, PIECE, SLICED_PIECE, SLOTS
from distgrad.comm.canonical import plan
from distgrad.comm.group import even_slices
from distgrad.comm.topology import Topology, cut_at_nodes
from distgrad.errors import MismatchError

ACROSS = [name for name in CANONICAL if ALL_REDUCE[name].missing is None]


@st.composite
def worlds(draw):
    """A partition of summands, and how many ranks each node has."""
    levels, runs, absent = draw(partitions())
    size = len(runs)
    cuts = sorted(draw(st.sets(st.integers(1, size - 1)))) if size > 1 else []
    return levels, runs, absent, [b - a for a, b in pairwise([0, *cuts, size])]


def parts_in(comm, runs, absent, in_place):
    """This rank's parts and the array for the total: shared by the node, or its own."""
    parts = sum_of(runs[comm.rank], absent).parts
    most = max(len(nodes_of(run)) for run in runs)
    shared = comm.share([(13, np.dtype("f4"), max(most, 1))]) if in_place else None
    out = np.full(13, np.nan, "f4") if shared is None else shared[0].own
    return parts, out, shared


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("algorithm", ACROSS)
@given(world=worlds(), schedule=st.none() | st.integers(0, 9))
@settings(deadline=None, max_examples=80)
def test_any_nodes_give_the_bits_of_the_definition(world, schedule, algorithm, in_place):
    levels, runs, absent, nodes = world
    expected = definition(levels, 0, absent)

    def body():
        comm = Communicator(connect())
        totals = []
        for _ in range(2):
            parts, out, held = parts_in(comm, runs, absent, in_place)
            comm.start_sum(parts, out, runs, absent=absent, algorithm=algorithm).wait()
            totals.append(out.tobytes())
        return totals, held is not None

    for totals, held in run_ranks(len(runs), body, nodes=nodes, schedule=schedule):
        assert totals == [expected.tobytes()] * 2
        assert held == (in_place and max(nodes) > 1)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("algorithm", ACROSS)
@given(world=worlds(), schedule=st.none() | st.integers(0, 9), data=st.data())
@settings(deadline=None, max_examples=60)
def test_slices_of_a_sum_have_the_bits_of_the_whole(world, schedule, data, algorithm, in_place):
    levels, runs, absent, nodes = world
    expected = definition(levels, 0, absent)
    cuts = [data.draw(st.integers(0, 13)) for _ in runs[1:]]
    slices = [slice(a, b) for a, b in pairwise([0, *sorted(cuts), 13])]

    def body():
        comm = Communicator(connect())
        parts, out, held = parts_in(comm, runs, absent, in_place)
        settings = {"absent": absent, "algorithm": algorithm, "slices": slices}
        comm.start_sum(parts, out, runs, **settings).wait()
        comm.barrier()
        del held
        return out[slices[comm.rank]].tobytes()

    found = run_ranks(len(runs), body, nodes=nodes, schedule=schedule)
    assert b"".join(found) == expected.tobytes()


@given(worlds())
@settings(deadline=None, max_examples=200)
def test_a_plan_cut_at_nodes_makes_every_addition_once_and_in_order(world):
    _, runs, absent, nodes = world
    whole = plan(tuple(runs), tuple(sorted(absent)))
    bounds = np.cumsum([0, *nodes])
    topology = Topology(tuple(tuple(range(a, b)) for a, b in pairwise(bounds.tolist())))
    cut = cut_at_nodes(whole, topology)
    home = [topology.node_of[rank] for rank in cut.owner]
    done = [pair for inside in cut.inside for pair in inside]
    assert sorted([*done, *cut.across]) == sorted(whole.additions)
    assert all(home[a] == home[b] == i for i, pairs in enumerate(cut.inside) for a, b in pairs)
    values = [frozenset({slot}) for slot in range(len(cut.owner))]
    for a, b in [*done, *cut.across]:
        values[a] |= values[b]
    assert values[whole.total] == frozenset(range(len(cut.owner)))


def test_the_deputy_of_a_rank_at_home_is_itself_and_charges_cover_all_others():
    topology = Topology(((0, 1, 2), (3,), (4, 5)))
    for rank in range(6):
        assert topology.deputy(topology.node_of[rank], rank) == rank
    charged = [(q, topology.node_of[r]) for r in range(6) for q in topology.charges[r]]
    assert sorted(charged) == sorted(
        (q, node) for q in range(6) for node in range(3) if node != topology.node_of[q]
    )


@pytest.mark.parametrize("nodes", [[3], [2, 1], [3, 1, 2], [1, 1, 1]])
@pytest.mark.parametrize("count", [0, 1, 1000, PIECE // 4 + 7, 3 * PIECE // 4 + 1])
def test_ordinary_arrays_of_every_length_pass_through_the_room(nodes, count):
    def body():
        comm = Communicator(connect())
        for algorithm in ACROSS:
            array = np.arange(count, dtype="f4") % 97 + comm.rank
            comm.all_reduce(array, algorithm=algorithm)
            expected = comm.size * (np.arange(count, dtype="f4") % 97) + sum(range(comm.size))
            np.testing.assert_array_equal(array, expected)

    run_ranks(sum(nodes), body, nodes=nodes)


def test_more_sums_than_the_board_has_places_may_be_in_flight(several_ranks):
    def body(comm):
        arrays = [np.full(7, comm.rank + i, "f4") for i in range(2 * SLOTS + 3)]
        works = [comm.start_all_reduce(a, name=str(i)) for i, a in enumerate(arrays)]
        for i in np.random.default_rng(comm.rank).permutation(len(works)):
            works[i].wait()
        for i, array in enumerate(arrays):
            np.testing.assert_array_equal(array, comm.size * i + sum(range(comm.size)))

    several_ranks.run(body)


def test_large_sums_in_flight_share_the_room_in_turns(several_ranks):
    def body(comm):
        arrays = [np.full(PIECE // 4 + i, comm.rank + i, "f4") for i in range(5)]
        works = [comm.start_all_reduce(a, name=str(i)) for i, a in enumerate(arrays)]
        for i in np.random.default_rng(comm.rank).permutation(len(works)):
            works[i].wait()
        for i, array in enumerate(arrays):
            np.testing.assert_array_equal(array, comm.size * i + sum(range(comm.size)))

    several_ranks.run(body)


def test_sums_by_slices_take_less_of_the_room():
    count = PIECE // 4 + 7
    start = np.arange(count, dtype="f4") % 97 + 1

    def body():
        comm = Communicator(connect())
        slices = even_slices(count, comm.size)
        own, runs = slices[comm.rank], [range(r, r + 1) for r in range(comm.size)]
        for i in range(LANES):
            array = start + comm.rank + i
            comm.start_sum([(0, comm.rank, array)], array, runs, slices=slices).wait()
            np.testing.assert_array_equal(array[own], (3 * (start + i) + 3)[own])
        board = comm.transport.node.board
        return [np.flatnonzero(board.room(lane))[-1] + 1 for lane in range(LANES)]

    for used in run_ranks(3, body, nodes=[3]):
        assert 2 * SLICED_PIECE < min(used) <= max(used) <= 3 * SLICED_PIECE


def test_what_a_neighbour_writes_is_read_without_a_message(several_ranks):
    def body(comm):
        found = comm.share([(5, np.dtype("f8"), 1), (3, np.dtype("i4"), 2)])
        if not comm.topology.shares:
            assert found is None
            return
        numbers, counts = found
        numbers.own[:] = comm.rank + 0.5
        counts.companions[0].own[:] = comm.rank
        sent = comm.bytes_sent
        comm.barrier()
        node = comm.topology.nodes[comm.topology.node_of[comm.rank]]
        for rank in node:
            np.testing.assert_array_equal(numbers.of[rank], np.full(5, rank + 0.5))
            np.testing.assert_array_equal(counts.companions[0].of[rank], np.full(3, rank))
        comm.barrier()
        comm.all_reduce(numbers.own)
        np.testing.assert_array_equal(
            numbers.own, np.full(5, sum(range(comm.size)) + comm.size / 2)
        )
        assert not comm.topology.one_node or comm.bytes_sent == sent

    several_ranks.run(body)


def test_an_array_that_only_one_rank_shares_is_a_mismatch_not_a_wait(simulated):
    def body(comm):
        found = comm.share([(2000, np.dtype("f4"), 1)])
        array = found[0].own if comm.rank else np.zeros(2000, "f4")
        comm.all_reduce(array, name="w")

    with pytest.raises(MismatchError, match=r"all_reduce 'w' float32 x 2000.* in shared memory"):
        simulated(2).run(body)


@pytest.mark.parametrize("fails", ["create_memory", "attach_memory"])
def test_where_there_is_no_shared_memory_messages_take_over_and_rank_0_says_so(fails):
    def body():
        transport = connect()

        def full(name, nbytes):
            raise OSError(28, "No space left on device")

        if transport.rank == (3 if fails == "attach_memory" else 2):
            setattr(transport, fails, full)
        if transport.rank:
            comm = Communicator(transport)
        else:
            with pytest.warns(RuntimeWarning, match=r"rank [23]/4\] on .*shared memory.*shm-size"):
                comm = Communicator(transport)
        assert not comm.topology.shares
        assert comm.share([(5, np.dtype("f4"), 1)]) is None
        array = summand(comm.rank)
        comm.all_reduce(array, canonical=True)
        assert array.tobytes() == definition(2, 0, ()).tobytes()

    run_ranks(4, body, nodes=[2, 2])


def test_even_slices_of_a_node_are_summed_by_every_rank(simulated):
    """A rank that summed nothing would leave the work to the others."""

    def body(comm):
        held = comm.share([(4096, np.dtype("f4"), 1)])
        held[0].own[:] = comm.rank
        comm.all_reduce(held[0].own)
        (calls,) = held[0].calls.values()
        return sum(
            out.size for function, _, *out_of in calls for out in out_of[-1:] if function is np.add
        )

    found = simulated(4).run(body)
    assert found == [3 * (s.stop - s.start) for s in even_slices(4096, 4)]
