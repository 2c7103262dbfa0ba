"""The rounds a plan counts are those the algorithms go through."""

import math

import numpy as np
import pytest

from distgrad.comm import ALL_REDUCE, Communicator, connect, run_ranks
from distgrad.comm.algorithms import choose
from distgrad.comm.algorithms.halving import rounds_of
from distgrad.comm.algorithms.tree import HALVING_BYTES
from distgrad.comm.canonical import one_each
from distgrad.errors import CommError
from distgrad.plan import schedule
from distgrad.plan.schedule import SCHEDULES, Layout, check, chosen, exchange

LAYOUTS = [(1, 1), (1, 2), (1, 3), (2, 1), (3, 1), (8, 1), (12, 1), (2, 2), (3, 2), (2, 4), (4, 3)]
ELEMENTS = 4 * 3 * 8 * 5


def real_messages(nodes, each, body):
    """Run ``body(comm)`` on simulated ranks; return what each sent: (to another node, array)."""
    size = nodes * each

    def run():
        comm = Communicator(connect())
        sent = []
        array = None if each == 1 else comm.share([(ELEMENTS, np.dtype("float32"), 1)])
        array = np.zeros(ELEMENTS, "float32") if array is None else array[0].own
        array[:] = comm.rank + np.arange(ELEMENTS)
        comm.barrier()
        transport, plain = comm.transport, comm.transport.isend

        def isend(buffer, dest, tag):
            sent.append((dest // each != comm.rank // each, buffer.nbytes, buffer.dtype))
            return plain(buffer, dest, tag)

        transport.isend = isend
        try:
            body(comm, array)
        finally:
            transport.isend = plain
        return sent

    return run_ranks(size, run, nodes=[each] * nodes)


def by_node(ranks, each, *, outside):
    """Return the payload bytes each node sends, to other nodes or inside itself."""
    sums = [sum(n for out, n, t in sent if out is outside and t == np.float32) for sent in ranks]
    return [sum(sums[i : i + each]) for i in range(0, len(sums), each)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("algorithm", list(SCHEDULES))
def test_a_nodes_link_carries_what_the_algorithm_sends(layout, algorithm):
    nodes, each = layout
    if algorithm == "shared" and nodes > 1:
        pytest.skip("runs in one node")
    ranks = real_messages(
        nodes, each, lambda comm, array: comm.all_reduce(array, algorithm=algorithm)
    )
    phases = SCHEDULES[algorithm].all_reduce(4.0 * ELEMENTS, Layout(nodes, each))
    expected = max(by_node(ranks, each, outside=True))
    planned = sum(phase.rounds * phase.link for phase in phases)
    # Where a rank has several sums to send, the plan takes the one that has most in every round.
    uneven = {("tree", 12): 2.0, ("hierarchical", 12): 4 / 3}
    assert expected <= planned * 1.0001
    assert planned <= expected * 1.0001 * uneven.get((algorithm, nodes * each), 1.0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("algorithm", ["ring", "tree", "hierarchical"])
def test_a_reduce_scatter_sends_what_the_plan_says(layout, algorithm):
    nodes, each = layout
    cut = ELEMENTS // (nodes * each)
    slices = [slice(r * cut, (r + 1) * cut) for r in range(nodes * each)]
    ranks = real_messages(
        nodes,
        each,
        lambda comm, array: comm.start_sum(
            [(0, comm.rank, array)],
            array,
            [range(r, r + 1) for r in range(comm.size)],
            algorithm=algorithm,
            slices=slices,
        ).wait(),
    )
    phases = SCHEDULES[algorithm].reduce_scatter(4.0 * ELEMENTS, Layout(nodes, each))
    planned = sum(phase.rounds * phase.link for phase in phases)
    expected = max(by_node(ranks, each, outside=True))
    assert planned == pytest.approx(expected)


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("layout", [*LAYOUTS, (2, 3)])
def test_an_exchange_of_parameters_sends_what_the_plan_says(layout, once):
    nodes, each = layout
    if once and each == 1:
        pytest.skip("ranks of nodes of their own have nothing in common")
    cut = ELEMENTS // (nodes * each)
    slices = [slice(r * cut, (r + 1) * cut) for r in range(nodes * each)]

    def body(comm, array):
        if once:
            [array] = comm.share_once([(ELEMENTS, np.dtype("float32"))])
        comm.start_exchange(array, slices, once=once).wait()

    ranks = real_messages(nodes, each, body)
    phases = exchange(4.0 * ELEMENTS, Layout(nodes, each), once=once)
    for outside, planned in (
        (True, sum(p.rounds * p.link for p in phases)),
        (False, sum(p.rounds * p.inside for p in phases) * each),
    ):
        assert planned == pytest.approx(max(by_node(ranks, each, outside=outside)))
    counted = [sum(t == np.float32 for _, _, t in sent) for sent in ranks]
    assert max(counted) == sum(p.rounds * p.messages for p in phases)


@pytest.mark.parametrize("size", [2, 3, 4, 8])
@pytest.mark.parametrize("algorithm", ["ring", "tree"])
def test_a_rank_sends_as_many_messages_as_the_plan_counts(size, algorithm):
    ranks = real_messages(size, 1, lambda comm, array: comm.all_reduce(array, algorithm=algorithm))
    layout = Layout(size, 1)
    phases = SCHEDULES[algorithm].all_reduce(4.0 * ELEMENTS, layout)
    everyone = not ALL_REDUCE[algorithm].left_only
    phases = check(layout, everyone=everyone) + phases
    assert {len(sent) for sent in ranks} == {sum(p.rounds * p.messages for p in phases)}


@pytest.mark.parametrize("size", [2, 3, 8])
def test_messages_inside_a_node_are_counted(size):
    ranks = real_messages(1, size, lambda comm, array: comm.all_reduce(array, algorithm="ring"))
    phases = SCHEDULES["ring"].all_reduce(4.0 * ELEMENTS, Layout(1, size))
    planned = sum(p.rounds * p.inside for p in phases)
    assert by_node(ranks, size, outside=False) == [pytest.approx(size * planned)]


def test_shared_sends_nothing():
    ranks = real_messages(1, 3, lambda comm, array: comm.all_reduce(array, algorithm="shared"))
    assert not any(ranks)
    phases = SCHEDULES["shared"].all_reduce(4.0 * ELEMENTS, Layout(1, 3))
    assert not any(p.link or p.inside or p.messages for p in phases)


def test_every_algorithm_of_the_table_has_a_schedule_but_mpis_own():
    assert set(SCHEDULES) == set(ALL_REDUCE) - {"native"}


def test_a_large_tree_is_direct_and_a_small_one_halved_where_the_algorithm_says():

    layout = Layout(16, 1)
    small = SCHEDULES["tree"].all_reduce(HALVING_BYTES * 16 - 4.0, layout)
    large = SCHEDULES["tree"].all_reduce(HALVING_BYTES * 16.0, layout)
    assert sum(p.rounds for p in small) == 2 * math.log2(16)
    assert sum(p.rounds for p in large) == 1 + 15


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("canonical", [False, True])
def test_auto_is_what_the_communicator_would_take(layout, canonical):
    found = chosen("auto", Layout(*layout), canonical=canonical)

    def body():
        return choose(Communicator(connect()).topology, canonical)

    assert set(run_ranks(math.prod(layout), body, nodes=[layout[1]] * layout[0])) == {found}


def test_an_algorithm_without_schedule_is_refused_by_name():
    with pytest.raises(CommError, match=r"'native' is MPI's own.*can be made for 'ring'"):
        chosen("native", Layout(1, 2))
    with pytest.raises(CommError, match="'star' is unknown"):
        chosen("star", Layout(1, 2))
    with pytest.raises(CommError, match="these are 2 nodes; take 'hierarchical'"):
        chosen("shared", Layout(2, 2))


def test_groups_of_a_fold_hold_as_many_sums_as_the_algorithms_own_rounds():

    for size in range(2, 40):
        rounds = rounds_of(one_each(size), size)
        real = tuple(
            max(len(rounds.roots(rank, k)) for rank in rounds.active) for k in range(rounds.count)
        )
        assert schedule._most_slots(size) == real, size
