"""Messages between two ranks: in order, by tag, and what is not meant is named."""

import numpy as np
import pytest

from distgrad.comm.group import CHUNK
from distgrad.errors import (
    CommError,
    CommTimeoutError,
    DeadlockError,
    MismatchError,
    PeerFailedError,
)


def data(rank, count, dtype="float64"):
    return ((np.arange(count) * 7 + rank * 31 + 3) % 97).astype(dtype)


def neighbours(comm):
    return (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size


def test_what_is_sent_around_a_ring_arrives_at_the_right(ranks):
    def body(comm):
        left, right = neighbours(comm)
        for count in (0, 1, 1000, CHUNK // 4 + 3):
            work = comm.start_send(data(comm.rank, count, "float32"), right)
            into = np.full(count, -1, "float32")
            assert comm.recv(into, left) is into
            work.wait()
            np.testing.assert_array_equal(into, data(left, count, "float32"))

    ranks.run(body)


def test_a_receiver_without_an_array_gets_what_was_sent(ranks):
    def body(comm):
        left, right = neighbours(comm)
        for array in (data(comm.rank, 6).reshape(2, 3)[:, ::2], np.array(comm.rank), np.ones(0)):
            work = comm.start_send(array, right)
            found = comm.recv(None, left)
            work.wait()
            assert (found.shape, found.dtype) == (array.shape, array.dtype)
        work = comm.start_send(np.array(["ab", "c"]), right)
        assert comm.recv(None, left).tolist() == ["ab", "c"]
        work.wait()

    ranks.run(body)


def in_any_order(comm, seed):
    left, right = neighbours(comm)
    order = np.random.default_rng(seed + comm.rank)
    sends, receives = [], []
    for i in range(12):
        sends.append(comm.start_send(data(comm.rank + i, 5 + i), right, tag=i % 3))
        receives.append((i, comm.start_recv(np.zeros(5 + i), left, tag=i % 3)))
    total = np.ones(3)
    between = comm.start_all_reduce(total)  # collectives go on beside
    for work in order.permutation(np.array([*sends, *(w for _, w in receives)], object)):
        work.wait()
    between.wait()
    for i, work in receives:
        np.testing.assert_array_equal(work.result, data(left + i, 5 + i))
    np.testing.assert_array_equal(total, [comm.size] * 3)
    assert comm.transport.state.works == []


def test_messages_of_a_tag_keep_their_order(ranks):
    ranks.run(lambda comm: in_any_order(comm, 0))


@pytest.mark.parametrize("schedule", range(20))
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_messages_keep_their_order_in_every_interleaving(simulated, size, schedule):
    simulated(size).run(lambda comm: in_any_order(comm, schedule), schedule=schedule)


def test_tags_may_be_taken_out_of_order(several_ranks):
    def body(comm):
        if comm.rank == 0:
            works = [comm.start_send(data(tag, 4), 1, tag=tag) for tag in (0, 7, 16382)]
            for work in works:
                work.wait()
        if comm.rank == 1:
            for tag in (16382, 0, 7):
                np.testing.assert_array_equal(comm.recv(None, 0, tag=tag), data(tag, 4))
        comm.barrier()

    several_ranks.run(body)


def test_both_directions_of_a_tag_are_apart(several_ranks):
    def body(comm):
        if comm.rank > 1:
            return
        other = 1 - comm.rank
        works = [comm.start_send(data(comm.rank, 300), other) for _ in range(3)]
        for _ in range(3):
            np.testing.assert_array_equal(comm.recv(None, other), data(other, 300))
        for work in works:
            work.wait()

    several_ranks.run(body)


def test_only_the_sender_sends_and_only_the_payload_counts(several_ranks):
    def body(comm):
        before = comm.bytes_sent
        if comm.rank == 0:
            comm.send(np.zeros(100), 1)
        if comm.rank == 1:
            comm.recv(None, 0)
        assert comm.bytes_sent - before == (800 if comm.rank == 0 else 0)

    several_ranks.run(body)


@pytest.mark.parametrize(
    ("into", "message"),
    [
        (
            np.zeros(3),
            r"expects float64 \(3,\), but float64 \(4,\) was",
        ),
        (np.zeros(9), r"expects float64 \(9,\), but float64 \(4,\) was sent; both ends"),
        (np.zeros(4, int), r"expects int64 \(4,\), but float64 \(4,\) was sent"),
        (np.zeros((2, 2)), r"expects float64 \(2, 2\), but float64 \(4,\) was sent"),
    ],
)
def test_an_array_that_does_not_fit_is_named(several_ranks, into, message):
    def body(comm):
        if comm.rank == 0:
            work = comm.start_send(np.ones(4), 1, tag=5)
            comm.barrier()
            # The receiver never takes it, and says why.
            if comm.transport.name == "simulated":
                with pytest.raises(MismatchError, match=f"rank 1 reports: .* {message}"):
                    work.wait()
        else:
            if comm.rank == 1:
                with pytest.raises(
                    MismatchError, match=rf"\[rank 1/.\] recv from rank 0 with tag 5 {message}"
                ):
                    comm.recv(into.copy(), 0, tag=5)
            comm.barrier()

    several_ranks.run(body)


BAD = [
    (
        lambda comm: comm.recv(None, None),
        "no rank None to receive from; .* name the rank, there is",
    ),
    (lambda comm: comm.recv(None, -1), "no rank -1 to receive from; size is 2"),
    (lambda comm: comm.send(np.ones(1), 2), "no rank 2 to send to; size is 2"),
    (lambda comm: comm.send(np.ones(1), 0, tag=-1), "tag=-1: tags are integers from 0 to 16382"),
    (lambda comm: comm.send(np.ones(1), 0, tag=16383), "tag=16383: tags are integers"),
    (lambda comm: comm.send([1], 0), "send '' needs a NumPy array, got list"),
    (lambda comm: comm.recv(np.ones(4)[::2], 0), "recv '' needs a C-contiguous, writable"),
    (lambda comm: comm.send(np.zeros(1, "f4,i4"), 0), "cannot say on the wire what it is"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_named(simulated, call, message):
    def body(comm):
        with pytest.raises(CommError, match=message):
            call(comm)

    simulated(2).run(body)


def test_a_message_that_never_comes_is_a_deadlock_with_both_stacks(simulated):
    def body(comm):
        comm.recv(None, 1 - comm.rank, tag=3)

    with pytest.raises(DeadlockError, match=r"(?s)recv from rank 1 with tag 3.*recv from rank 0"):
        simulated(2).run(body)


def test_a_rank_that_has_left_is_not_waited_for(simulated):
    def body(comm):
        if comm.rank == 0:
            comm.start_send(data(0, 5), 1)  # this one arrives all the same
            comm.barrier()
            comm.barrier()
        if comm.rank == 1:
            comm.barrier()
            np.testing.assert_array_equal(comm.recv(None, 0), data(0, 5))
            comm.barrier()
            comm.recv(None, 0)

    with pytest.raises(
        PeerFailedError, match=r"recv from rank 0 with tag 0.*rank 0 has left the j"
    ):
        simulated(2).run(body)


def test_a_third_rank_may_leave(simulated):
    def body(comm):
        if comm.rank == 0:
            return
        other = 3 - comm.rank
        work = comm.start_send(data(comm.rank, 5), other)
        np.testing.assert_array_equal(comm.recv(None, other), data(other, 5))
        work.wait()

    for schedule in range(5):
        simulated(3).run(body, schedule=schedule)


@pytest.mark.mpi
def test_a_message_that_never_comes_is_named_on_mpi_by_all_who_wait(world_of_mpi):
    def body(comm):
        if comm.size == 1:
            pytest.skip("needs more than one rank")
        comm.barrier()
        work = comm.start_recv(None, 1) if comm.rank == 0 else comm.start_barrier()
        with pytest.raises(CommTimeoutError, match=r"recv from rank 1 with tag 0\)"):
            work.wait()

    world_of_mpi.run(body, timeout=1.0)
