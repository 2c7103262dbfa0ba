"""Sums inside a node as one compiled call: the bits, and the meetings, of the calls one by one."""

from __future__ import annotations

import time

import numpy as np
import pytest

from distgrad import kernels
from distgrad.comm import Communicator, connect
from distgrad.comm.algorithms import hierarchical
from distgrad.comm.board import SLOTS, Board, size_of
from distgrad.comm.canonical import one_each, plan
from distgrad.comm.node import cut_arrays
from distgrad.errors import MismatchError
from distgrad.parallel.compiled import (
    _meeting,
    compile_sums,
    note_rough_squares,
    note_squares,
)

meet = kernels.part("meeting", "meet")
pytestmark = pytest.mark.skipif(meet is None, reason="numba is not installed")
COUNT = 40_003  # blocks of 64 KiB, the last one short
ABSENT, OTHERS, SUMMED, COMPLETE = range(4)


class Node:
    """All ranks of a node in one process: what each has of the memory."""

    def __init__(self, size, dtype="f4", parts=1):
        memory = memoryview(bytearray(size_of(size)))
        ranks = range(size)
        self.boards = [Board(memory, ranks, r, lambda: None, spins=False) for r in ranks]
        room = memoryview(bytearray(size * parts * (COUNT * 8 + 4096)))
        spec = [(COUNT, np.dtype(dtype), parts)]
        self.arrays = [cut_arrays(room, ranks, r, spec)[0] for r in ranks]
        self.fill()

    def fill(self):
        for rank, shared in enumerate(self.arrays):
            for k, part in enumerate([shared, *shared.companions]):
                wave = np.sin(np.arange(COUNT) * (rank + 2.5) + k)
                part.own[:] = (wave * 100).astype(part.own.dtype)

    def calls(self, whole, slices=None):
        return [
            hierarchical.calls_in_one_node(shared, rank, whole, slices)
            for rank, shared in enumerate(self.arrays)
        ]

    def values(self):
        return [shared.own.tobytes() for shared in self.arrays]


def one_by_one(calls):
    for own in calls:
        for function, *arrays in own:
            function(*arrays)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("runs", [(1, 1), (1, 1, 1), (2, 1, 3), (4, 4), (1,) * 5])
@pytest.mark.parametrize("cut", [False, True])
def test_a_table_gives_the_bits_of_its_calls(dtype, runs, cut):
    ends = np.cumsum(runs).tolist()
    whole = plan(tuple(range(end - run, end) for run, end in zip(runs, ends, strict=True)))
    most = max(map(len, whole.nodes))
    slices = (
        [slice(0, 0), slice(0, COUNT), *[slice(COUNT, COUNT)] * 3][: len(runs)] if cut else None
    )
    node = Node(len(runs), dtype, most)
    calls = node.calls(whole, slices)
    one_by_one(calls)
    expected = node.values()

    node.fill()
    meetings = [_meeting(meet, b, own) for b, own in zip(node.boards, calls, strict=True)]
    number = 3 * SLOTS + 5
    for board in node.boards:
        board.post(number, 77, b"x")
    for m in meetings[:-1]:
        assert m(number, 77, 1, False) == SUMMED
    assert meetings[-1](number, 77, 1, False) == COMPLETE
    assert node.values() == expected
    assert all(m(number, 77, 1, True) == COMPLETE for m in meetings[:-1])
    assert node.values() == expected, "what was summed is not summed again"


def test_a_meeting_waits_for_the_others_and_sees_what_they_came_for():
    node = Node(3)
    meetings = [
        _meeting(meet, b, own) for b, own in zip(node.boards, node.calls(one_each(3)), strict=True)
    ]
    before = node.values()
    node.boards[0].post(4, 77, b"x")
    node.boards[2].post(4, 78, b"y")
    assert meetings[0](4, 77, 3, False) == ABSENT
    node.boards[1].post(4, 77, b"x")
    assert meetings[0](4, 77, 3, False) == OTHERS
    assert node.values() == before


def test_without_calls_it_is_a_barrier():
    node = Node(2)
    first, second = (_meeting(meet, board, None) for board in node.boards)
    node.boards[0].post(0, 5, b"b")
    assert first(0, 5, 2, False) == ABSENT
    node.boards[1].post(0, 5, b"b")
    assert second(0, 5, 2, False) == first(0, 5, 2, False) == COMPLETE


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("value", [1.0, np.inf, np.nan, 1e30])
def test_squares_and_flags_are_noted_as_the_calls_do(dtype, value):
    block = (np.cos(np.arange(8001.0)) * 3).astype(dtype)
    block[4000] = value
    wide, seen = np.zeros(block.size), np.zeros(1, bool)
    numbers = [np.zeros(1), np.zeros(1)]
    for number, note in zip(numbers, (note_squares, note_rough_squares), strict=True):
        calls = [
            (note, number, block),
            (np.copyto, wide, block),
            (np.copyto, seen, np.ones(1, bool)),
        ]
        assert _meeting(meet, Node(1).boards[0], calls)(0, 0, 1, False) == COMPLETE
    expected = np.zeros(1)
    note_squares(expected, block)
    assert [n.tobytes() for n in numbers] == [expected.tobytes()] * 2
    assert np.isfinite(expected[0]) == bool(np.isfinite(value))
    assert wide.tobytes() == block.astype("f8").tobytes()
    assert seen[0]


@pytest.mark.parametrize("dtype", ["c8", "i4", "f2"])
def test_what_has_no_row_is_left_to_the_calls(dtype):
    node = Node(2, dtype)
    assert _meeting(meet, node.boards[0], node.calls(one_each(2))[0]) is None


def test_a_rank_that_comes_says_so_and_that_it_is_through():
    node = Node(2)
    first, second = (_meeting(meet, board, None) for board in node.boards)
    for number in range(2 * SLOTS):
        # A rank whose slot of that number another one may still look at does not come.
        assert all(board.is_free(number) for board in node.boards)
        assert first.at_once(number, 5, b"b", 2) == ABSENT
        assert second.at_once(number, 5, b"b", 2) == COMPLETE
        assert node.boards[0].text(1, number)[:1] == b"b"
        assert first(number, 5, 2, False) == COMPLETE
        node.boards[0].finish(number)
    assert not node.boards[1].is_free(3 * SLOTS)
    assert not node.boards[1].free(2 * SLOTS), "both have told that they are through"


def test_a_rank_that_is_through_out_of_turn_tells_so_in_turn():
    node = Node(2)
    first, second = (_meeting(meet, board, None) for board in node.boards)
    for number in range(2):
        first.at_once(number, 5, b"b", 1)
        second.at_once(number, 5, b"b", 1)
    assert node.boards[0].free(SLOTS), "rank 0 has not told yet of number 0"
    node.boards[0].finish(1)
    assert node.boards[0].free(SLOTS)
    node.boards[0].finish(0)
    assert not node.boards[0].free(SLOTS + 1)


def _pair(dtype, late, compiled, at_once=False):
    """Three sums and barriers with a rank that comes late; the sums' bits."""
    comm = Communicator(connect())
    if compiled:
        compile_sums(comm)
    shared = comm.share([(COUNT, np.dtype(dtype), 1)])
    if shared is None:
        pytest.skip("the ranks share no memory")
    own, found = shared[0].own, []
    known = comm.know_sum(own, [range(r, r + 1) for r in range(comm.size)], name="sums")
    barrier = comm.know_barrier("and a barrier")
    assert (known.meeting is not None) == (barrier.meeting is not None) == compiled
    for step in range(3):
        own[:] = (np.sin(np.arange(COUNT) * (comm.rank + 1.5) + step) * 100).astype(dtype)
        if late and comm.rank == step % comm.size:
            time.sleep(0.05)
        (known.at_once if at_once else known.start)([own], own).wait()
        found.append(own.tobytes())
        (barrier.at_once if at_once else barrier.start)().wait()
    assert not comm.transport.state.works, "something is still said to be under way"
    assert not known.progress.unfinished
    return found


@pytest.mark.mpi
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_ranks_that_come_late_or_not_get_the_bits_of_the_calls(dtype, late, at_once):
    assert _pair(dtype, late, True, at_once) == _pair(dtype, False, False)


@pytest.mark.mpi
@pytest.mark.parametrize("at_once", [False, True])
def test_ranks_that_sum_different_arrays_are_told_so(at_once):
    comm = Communicator(connect())
    compile_sums(comm)
    shared = comm.share([(COUNT, np.dtype("f4"), 1)])
    if shared is None or comm.size == 1:
        pytest.skip("the ranks share no memory")
    own = shared[0].own
    runs = [range(r, r + 1) for r in range(comm.size)]
    known = comm.know_sum(own, runs, name="head.weight" if comm.rank else "head.bias")
    with pytest.raises(MismatchError, match=r"head\.(weight|bias)"):
        (known.at_once if at_once else known.start)([own], own).wait()
