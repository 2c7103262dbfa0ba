"""What goes wrong on the wire is named, with the ranks and what they were doing."""

import re
import time

import numpy as np
import pytest

from distgrad.comm import ALL_REDUCE, Communicator, connect, run_ranks
from distgrad.comm.worlds.local import LocalTransport
from distgrad.errors import (
    CommError,
    CommTimeoutError,
    DeadlockError,
    MismatchError,
    PeerFailedError,
)

MISMATCHES = {
    "kind": (
        lambda comm: comm.all_reduce(np.zeros(4), name="w"),
        lambda comm: comm.broadcast(np.zeros(4), name="w"),
        ("all_reduce 'w' float64 x 4", "broadcast from rank 0 'w' float64 x 4"),
    ),
    "count": (
        lambda comm: comm.all_reduce(np.zeros(100, "f4"), name="w"),
        lambda comm: comm.all_reduce(np.zeros(90, "f4"), name="w"),
        ("all_reduce 'w' float32 x 100", "all_reduce 'w' float32 x 90"),
    ),
    "dtype": (
        lambda comm: comm.all_reduce(np.zeros(4, "f4"), name="w"),
        lambda comm: comm.all_reduce(np.zeros(4, "i4"), name="w"),
        ("all_reduce 'w' float32 x 4", "all_reduce 'w' int32 x 4"),
    ),
    "name": (
        lambda comm: comm.all_reduce(np.zeros(4), name="fc1.weight"),
        lambda comm: comm.all_reduce(np.zeros(4), name="fc2.weight"),
        ("all_reduce 'fc1.weight' float64 x 4", "all_reduce 'fc2.weight' float64 x 4"),
    ),
    "algorithm": (
        lambda comm: comm.all_reduce(np.zeros(4)),
        lambda comm: comm.all_reduce(np.zeros(4), algorithm="tree"),
        ("all_reduce '' float64 x 4", "tree all_reduce '' float64 x 4"),
    ),
    "root": (
        lambda comm: comm.broadcast(np.zeros(4), 0),
        lambda comm: comm.broadcast(np.zeros(4), 1),
        ("broadcast from rank 0", "broadcast from rank 1"),
    ),
    "bytes": (
        lambda comm: comm.all_gather_bytes(b"", name="settings"),
        lambda comm: comm.broadcast_bytes(b"", name="a checkpoint"),
        ("all_gather_bytes 'settings'", "broadcast_bytes from rank 0 'a checkpoint'"),
    ),
    "barrier": (
        lambda comm: comm.barrier(),
        lambda comm: comm.all_reduce(np.zeros(4)),
        ("barrier", "all_reduce '' float64 x 4"),
    ),
}


@pytest.mark.parametrize("case", MISMATCHES)
def test_ranks_in_different_collectives_both_learn_it(several_ranks, case):
    plain, other, (ours, theirs) = MISMATCHES[case]

    def body(comm):
        comm.barrier()
        with pytest.raises(MismatchError, match="collective 1") as caught:
            (other if comm.rank == 1 else plain)(comm)
        message = str(caught.value)
        assert message.startswith(f"[rank {comm.rank}/{comm.size}] collective 1")
        assert ours in message
        assert theirs in message
        assert "same collectives in the same order" in message

    several_ranks.run(body)


def test_a_mismatch_names_this_rank_and_the_other(simulated):
    def body(comm):
        names = ["fc1.weight", "fc1.weight", "fc2.weight"]
        counts = [100, 100, 90]
        with pytest.raises(MismatchError) as caught:
            comm.all_reduce(np.zeros(counts[comm.rank], "f4"), name=names[comm.rank])
        return str(caught.value)

    said = simulated(3).run(body)
    assert any(
        message.startswith(
            "[rank 0/3] collective 0: this rank is in all_reduce 'fc1.weight' float32 x 100, rank "
            "2 is in all_reduce 'fc2.weight' float32 x 90; "
        )
        for message in said
    )


def test_names_that_differ_only_past_the_message_are_still_told_apart(simulated):
    def body(comm):
        with pytest.raises(MismatchError, match="differ past what fits here"):
            comm.all_reduce(np.zeros(3), name="x" * 400 + str(comm.rank))

    simulated(2).run(body)


def test_data_is_untouched_by_a_mismatch(several_ranks):
    def body(comm):
        array = np.arange(4.0 + (comm.rank == 1)) + comm.rank
        kept = array.copy()
        with pytest.raises(MismatchError):
            comm.all_reduce(array, algorithm="tree")
        np.testing.assert_array_equal(array, kept)

    several_ranks.run(body)


def test_a_failed_collective_keeps_raising_its_error(several_ranks):
    def body(comm):
        works = []

        def attempt():
            works.append(comm.start_all_reduce(np.zeros(3 + (comm.rank == 1))))
            works[0].wait()

        with pytest.raises(MismatchError):
            attempt()
        for work in works:
            with pytest.raises(MismatchError):
                work.poll()

    several_ranks.run(body)


def test_a_deadlock_is_named_at_once_with_each_ranks_stack():
    def receive_from_the_right():
        transport = connect()
        buffer = np.zeros(1)
        request = transport.irecv(buffer, (transport.rank + 1) % 3, 5)
        while not request.test():
            transport.back_off(0.0)

    started = time.monotonic()
    with pytest.raises(DeadlockError, match=r"^\[rank [012]/3\] deadlock: every rank") as caught:
        run_ranks(3, receive_from_the_right)
    assert time.monotonic() - started < 2
    message = str(caught.value)
    assert message.count("in receive_from_the_right") == 3
    for rank in range(3):
        assert f"rank {rank} waits in a message:" in message


def test_collectives_on_two_communicators_in_opposite_order_are_a_deadlock_with_names(simulated):
    def body(comm):
        other = Communicator(comm.transport)
        first, second = (comm, other) if comm.rank == 0 else (other, comm)
        first.all_reduce(np.zeros(3), name="first")
        second.all_reduce(np.zeros(3), name="second")

    with pytest.raises(DeadlockError, match=r"rank 1 waits in collective 0 \(all_reduce 'first'"):
        simulated(2).run(body)


def test_a_receive_in_a_world_of_one_is_a_deadlock():
    transport = LocalTransport()
    transport.irecv(np.zeros(1), 0, 5)
    with pytest.raises(DeadlockError, match=r"\[rank 0/1\] .* only rank; nobody will send"):
        transport.back_off(0.0)


def test_messages_of_unequal_length_are_refused():
    transport = LocalTransport()
    transport.irecv(np.zeros(1), 0, 5)
    with pytest.raises(CommError, match="sent 16 bytes where rank 0 expects 8"):
        transport.isend(np.zeros(2), 0, 5)


def test_a_rank_that_returns_early_is_named_by_those_that_wait(simulated):
    def body(comm):
        comm.barrier()
        if comm.rank != 1:
            comm.all_reduce(np.zeros(5), name="late")

    with pytest.raises(PeerFailedError, match=r"\(all_reduce 'late' .* rank 1 has left the job"):
        simulated(3).run(body)


def test_a_rank_that_leaves_after_its_part_harms_nobody(simulated):
    def body(comm):
        array = np.full(7, comm.rank + 1.0)
        comm.broadcast(array, 0)
        return array[0]

    for seed in range(20):
        assert simulated(4).run(body, schedule=seed) == [1, 1, 1, 1]


def test_a_message_from_a_rank_that_left_is_named():
    def body():
        transport = connect()
        if transport.rank == 0:
            request = transport.irecv(np.zeros(1), 1, 5)
            while not request.test():
                transport.back_off(0.0)

    with pytest.raises(PeerFailedError, match=r"rank 1 has left[^\0]*rank 0 waits in a message"):
        run_ranks(2, body)


@pytest.mark.mpi(min_size=2)
def test_the_watchdog_names_collective_ranks_seconds_and_cure(world_of_mpi):
    def body(comm):
        quick = Communicator(comm.transport, timeout=0.3)
        if comm.rank == 0:
            with pytest.raises(CommTimeoutError) as caught:
                quick.all_reduce(np.zeros(5), algorithm="tree", name="w")
            message = str(caught.value)
            assert message.startswith(
                f"[rank 0/{comm.size}] collective 0 (tree all_reduce 'w' float64"
            )
            assert "no progress for 0.3 s" in message
            assert "wait for each other" in message
            assert f"rank {comm.size - 1} in collective 1 (barrier)" in message
            assert "dg.init(timeout=...)" in message
        comm.barrier()
        if comm.rank != 0:  # rank 0 has given up: nobody may wait for it for long
            with pytest.raises(PeerFailedError, match=r"rank 0 reports: .* no progress for 0.3"):
                quick.all_reduce(np.zeros(5), algorithm="tree", name="w")

    world_of_mpi.run(body)


@pytest.mark.mpi(min_size=2)
def test_every_rank_names_the_one_that_all_wait_for_not_its_neighbour(world_of_mpi):
    def body(comm):
        quick = Communicator(comm.transport, timeout=1.5)
        comm.barrier()
        if comm.rank == 0:
            time.sleep(3.5)
            with pytest.raises(PeerFailedError):
                quick.all_reduce(np.zeros(100), algorithm="tree", name="w")
        else:
            # Rank 2 hears from rank 1 alone, which waits itself.
            with pytest.raises((CommTimeoutError, PeerFailedError)) as caught:
                quick.all_reduce(np.zeros(100), algorithm="tree", name="w")
            missing = r"no progress for 1\.5 s: rank 0 (does not answer|is busy elsewhere)"
            assert re.search(missing, str(caught.value))
            if comm.rank == 1:
                assert "ago in collective 1 (barrier)" in str(caught.value)

    world_of_mpi.run(body)


@pytest.mark.mpi(min_size=2)
def test_a_long_wait_is_told_once_by_the_ranks_that_wait_for_the_culprit(
    world_of_mpi, monkeypatch, capsys
):
    def body(comm):
        monkeypatch.setattr(comm.transport.state, "warn_after", 0.5)
        comm.barrier()
        capsys.readouterr()
        if comm.rank == 0:
            time.sleep(3.5)
        comm.all_reduce(np.zeros(100), name="w")
        said = comm.all_gather_bytes(capsys.readouterr().err.encode())
        told = [text.decode() for text in said]
        assert [bool(text) for text in told] == [r == 1 for r in range(comm.size)]
        assert told[1].startswith(
            f"[rank 1/{comm.size}] collective 1 (all_reduce 'w' float64 x 100) has waited 1 s: "
            "rank 0 "
        )
        assert told[1].count("has waited") == 1

    world_of_mpi.run(body)


class Silent(LocalTransport):
    """A rank whose only peer never answers."""

    timed = True
    size = 2
    members = (0, 1)

    def _post(self, message, tag):
        return message  # never delivered

    def back_off(self, idle):
        time.sleep(0.01)


def test_the_watchdog_ends_a_wait_without_progress():
    with pytest.raises(CommTimeoutError, match=r"no progress for 0.05 s: rank 1 does not"):
        Communicator(Silent(), timeout=0.05)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4)).T[1:], "needs a C-contiguous, writable array"),
        (np.zeros((4, 4))[:, 1], "needs a C-contiguous, writable array"),
        (np.array([object()]), "Python objects do not cross the wire"),
        (np.array([True]), "sums numbers, not bool"),
        ([1.0, 2.0], "needs a NumPy array, got list"),
        (np.broadcast_to(1.0, 1), "needs a C-contiguous, writable array"),
    ],
)
def test_what_cannot_be_summed_is_refused_with_its_name(array, message):
    comm = Communicator(LocalTransport())
    with pytest.raises(CommError, match=rf"^\[rank 0/1\] all_reduce 'w'.*{message}"):
        comm.all_reduce(array, name="w")


def test_an_unknown_algorithm_is_refused_with_the_known_ones():
    comm = Communicator(LocalTransport())
    known = ", ".join(map(repr, ("auto", *ALL_REDUCE)))
    with pytest.raises(CommError, match=rf"no all_reduce algorithm 'star'; use {known}"):
        comm.all_reduce(np.zeros(3), algorithm="star")


def test_native_outside_mpi_is_refused_with_the_cure(simulated):
    def body(comm):
        with pytest.raises(CommError, match=r"'native' needs MPI, .* simulated .*: 'ring', 'tree'"):
            comm.all_reduce(np.zeros(3), algorithm="native")

    simulated(2).run(body)


def test_slices_that_leave_the_array_are_refused():
    comm = Communicator(LocalTransport())
    with pytest.raises(CommError, match="needs one slice"):
        comm.all_gather(np.zeros(3), slices=[slice(0, 4)])


def test_a_root_outside_the_world_is_refused():
    comm = Communicator(LocalTransport())
    with pytest.raises(CommError, match="no rank 1 to broadcast from; size is 1"):
        comm.broadcast(np.zeros(3), 1)
