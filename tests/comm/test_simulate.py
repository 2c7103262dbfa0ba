"""Ranks as threads in lockstep: debuggable, deterministic, and they end together."""

import os
import subprocess
import sys
import threading
import time
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import pytest

from distgrad.comm import Communicator, connect, run_ranks
from distgrad.comm.worlds.simulate import current
from distgrad.errors import LaunchError

ROOT = Path(__file__).parents[2]


def test_results_come_in_rank_order():
    assert run_ranks(3, lambda: (connect().rank, connect().size)) == [(0, 3), (1, 3), (2, 3)]


def test_connect_gives_a_simulated_rank_its_world_and_the_caller_none():
    assert run_ranks(2, lambda: connect().name) == ["simulated", "simulated"]
    assert current() is None


def test_each_rank_has_a_context_of_its_own():
    variable = ContextVar("variable", default="untouched")
    variable.set("the caller's")

    def body():
        before = variable.get()
        variable.set(connect().rank)
        Communicator(connect()).barrier()
        return before, variable.get()

    assert run_ranks(3, body) == [("untouched", rank) for rank in range(3)]
    assert variable.get() == "the caller's"


def test_only_one_rank_runs_at_a_time():
    running = []

    def body():
        comm = Communicator(connect())
        for _ in range(5):
            running.append(comm.rank)
            time.sleep(0.001)
            assert running == [comm.rank]
            running.pop()
            comm.barrier()

    run_ranks(4, body)


def order_of_turns(schedule):
    turns = []

    def body():
        comm = Communicator(connect())
        for _ in range(6):
            turns.append(comm.rank)
            comm.barrier()

    run_ranks(4, body, schedule=schedule)
    return turns


def test_a_schedule_is_reproducible_and_another_one_differs():
    assert order_of_turns(7) == order_of_turns(7)
    assert len({tuple(order_of_turns(seed)) for seed in range(5)}) > 1


def test_a_send_is_not_complete_before_it_is_received():
    def body():
        transport = connect()
        if transport.rank == 0:
            request = transport.isend(np.arange(3.0), 1, 5)
            assert not request.test()
            while not request.test():
                transport.back_off(0.0)
        else:
            inbox = np.zeros(3)
            assert transport.irecv(inbox, 0, 5).test()
            np.testing.assert_array_equal(inbox, [0, 1, 2])

    run_ranks(2, body)


@pytest.mark.parametrize("culprit", [0, 1, 2])
def test_the_first_exception_ends_all_ranks_and_is_raised(culprit):
    unwound = []

    def body():
        rank = connect().rank
        try:
            comm = Communicator(connect())
            if rank == culprit:
                raise ValueError(f"deliberate failure of rank {culprit}")
            comm.barrier()
        finally:
            unwound.append(rank)

    with pytest.raises(ValueError, match=f"deliberate failure of rank {culprit}"):
        run_ranks(3, body)
    assert sorted(unwound) == [0, 1, 2]


def test_an_exception_inside_a_collective_is_raised_as_it_is():
    class Poisoned(np.ndarray):
        def __array_ufunc__(self, *args, **kwargs):
            raise ValueError("deliberate")

    def body():
        comm = Communicator(connect())
        array = np.zeros(9)
        comm.all_reduce(array.view(Poisoned) if comm.rank == 1 else array)

    with pytest.raises(ValueError, match="deliberate"):
        run_ranks(3, body)


def test_an_exception_in_a_thread_a_rank_started_ends_the_world_in_its_name(capsys):
    def broken():
        raise ValueError("deliberate")

    def body():
        comm = Communicator(connect())
        if comm.rank == 2:
            helper = threading.Thread(target=broken)
            helper.start()
            helper.join()
        comm.barrier()

    with pytest.raises(SystemExit) as caught:
        run_ranks(3, body, report=True)
    assert caught.value.code == 1
    assert "[rank 2/3] ValueError: deliberate" in capsys.readouterr().err


def test_with_report_the_traceback_is_printed_once_and_every_line_is_tagged(capsys):
    def body():
        comm = Communicator(connect())
        if comm.rank == 1:
            raise ValueError("deliberate")
        comm.barrier()

    with pytest.raises(SystemExit):
        run_ranks(4, body, report=True)
    lines = capsys.readouterr().err.splitlines()
    assert sum("Traceback" in line for line in lines) == 1
    assert all(line.startswith("[rank 1/4] ") for line in lines)
    assert lines[-1] == "[rank 1/4] ValueError: deliberate"


def test_a_non_zero_exit_of_one_rank_is_the_exit_of_all():
    def body():
        comm = Communicator(connect())
        if comm.rank == 1:
            sys.exit(3)
        comm.barrier()

    with pytest.raises(SystemExit) as caught:
        run_ranks(3, body)
    assert caught.value.code == 3


def test_abort_ends_all_ranks_with_its_status():
    def body():
        comm = Communicator(connect())
        if comm.rank == 1:
            comm.transport.abort(4)
        comm.barrier()

    with pytest.raises(SystemExit) as caught:
        run_ranks(3, body)
    assert caught.value.code == 4


def test_sys_exit_zero_is_an_ordinary_end():
    assert run_ranks(2, lambda: sys.exit(0)) == [None, None]


def test_threading_is_as_it_was_afterwards():
    before = threading.Thread.start, threading.excepthook
    run_ranks(2, lambda: None)
    assert (threading.Thread.start, threading.excepthook) == before


def test_worlds_side_by_side_keep_their_threads_and_leave_threading_as_it_was():
    """One begins later and ends later than the other."""
    before = threading.Thread.start, threading.excepthook
    begun, over, seen = threading.Event(), threading.Event(), []

    def first():
        if current().rank == 0:
            begun.wait(20)

    def second():
        if current().rank == 0:
            begun.set()
            over.wait(20)
        helper = threading.Thread(target=lambda: seen.append(current().size))
        helper.start()
        helper.join()

    def both_of_the_first():
        run_ranks(2, first)
        over.set()

    one = threading.Thread(target=both_of_the_first)
    two = threading.Thread(target=run_ranks, args=(3, second))
    one.start()
    while threading.Thread.start is before[0]:
        time.sleep(0.001)
    two.start()
    one.join()
    two.join()
    assert seen == [3, 3, 3]
    assert (threading.Thread.start, threading.excepthook) == before


def test_the_exception_of_a_thread_that_outlives_its_world_is_told(monkeypatch):
    over, helpers, told = threading.Event(), [], []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(str(args.exc_value)))

    def late():
        over.wait(20)
        raise ValueError("nobody hears me")

    def inner():
        helpers.append(threading.Thread(target=late))
        helpers[-1].start()

    def outer():
        if current().rank == 0:
            worker = threading.Thread(target=run_ranks, args=(2, inner))
            worker.start()
            worker.join()
            over.set()
            for helper in helpers:
                helper.join()

    run_ranks(2, outer)
    assert told == ["nobody hears me"] * 2


@pytest.mark.parametrize("size", [0, -3])
def test_a_world_of_no_ranks_is_refused(size):
    with pytest.raises(LaunchError, match=f"at least one rank, got {size}; use -n 1 or more"):
        run_ranks(size, lambda: None)


SCRIPT = """
import numpy as np
from distgrad.comm import Communicator, connect
comm = Communicator(connect())
secret = comm.rank * 11
if comm.rank == 2:
    breakpoint()
x = np.ones(3)
comm.all_reduce(x)
print("sum", x[0], "on", comm.rank)
"""


def test_breakpoint_works_in_a_rank_whose_script_is_executed_in_a_thread():
    program = (
        "from distgrad.comm import run_ranks\n"
        f"code = compile({SCRIPT!r}, 'train.py', 'exec')\n"
        "run_ranks(3, lambda: exec(code, {'__name__': '__main__'}), report=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input="p secret\ncontinue\n",
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "(Pdb) 22" in done.stdout
    assert done.stdout.count("sum 3.0 on") == 3
