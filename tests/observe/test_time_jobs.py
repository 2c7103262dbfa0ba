"""Where a step's time goes in real jobs, which name the rank that holds the others up."""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from jobs import run_job
from training import alone

import distgrad as dg
from distgrad.comm import connect

JOB = Path(__file__).parent / "jobs" / "sleepy.py"


@pytest.mark.parametrize("how", ["ddp", "trainer", "local"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_the_summary_names_the_rank_that_sleeps_and_its_host(how, ranks):
    done = run_job(ranks, JOB, how, "1")
    assert done.status == 0, done.err
    said = done.err + done.out
    assert f"rank 1 (host {socket.gethostname()}) is slow: " in said
    assert said.count("is slow") == 1
    assert said.count("a step on ranks 0") == 1
    assert len(re.findall(rf"^ +\d  {socket.gethostname()[:16]}", done.out, re.M)) == ranks


def test_a_trainer_on_one_rank_says_what_it_computes_and_reads():
    done = run_job(1, JOB, "trainer", "-1")
    assert done.status == 0, done.err
    assert re.search(r"^time: .* ms a step: compute (99|100)%, reading data [01]%$", done.err, re.M)
    assert "slow" not in done.err
    assert "\n\n" not in done.err


def test_the_summary_names_the_rank_that_reads_data_slowly():
    done = run_job(3, JOB, "data", "1")
    assert done.status == 0, done.err
    assert f"rank 1 (host {socket.gethostname()}) reads data slowly: " in done.out
    assert "is slow" not in done.out


def test_the_summary_says_that_the_slow_rank_has_fewer_cores():
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores, of which one rank gets one")
    done = run_job(3, JOB, "cores", "1")
    assert done.status == 0, done.err
    assert f"rank 1 (host {socket.gethostname()}) is slow: " in done.out
    assert re.search(r"lost to it; it computes with 1 core, the others with \d+$", done.out, re.M)


def test_a_job_in_which_nobody_is_slow_accuses_nobody():
    done = run_job(3, JOB, "ddp", "-1")
    assert done.status == 0, done.err
    assert "a step on ranks 0-2: compute" in done.out
    assert "slow" not in done.out + done.err


@pytest.mark.mpi
@pytest.mark.parametrize("spins", [1, 10**8])
@pytest.mark.parametrize(("count", "shared"), [(16, False), (100_000, False), (100_000, True)])
def test_the_ranks_that_wait_for_a_late_one_count_the_time_as_waiting(count, shared, spins):
    if connect().size == 1:
        pytest.skip("needs more than one rank")

    def body():
        comm = dg.init().comm
        held = comm.share([(count, np.dtype("f8"), 1)]) if shared else None
        array = np.ones(count) if held is None else held[0].own
        if comm.topology.one_node:  # all of the wait in the looks at the board, or in the watchdog
            comm.transport.node.board.spins = spins
        comm.all_reduce(array, canonical=True)
        times = comm.transport.state.times
        before, moved = times.waiting, times.transfer
        for _ in range(3):
            comm.barrier()
            if comm.rank == comm.size - 1:
                time.sleep(0.2)
            comm.all_reduce(array, canonical=True, name="late")
        waiting, transfer = times.waiting - before, times.transfer - moved
        if comm.rank == comm.size - 1:
            assert waiting < 0.3
        else:
            assert 0.55 < waiting < 1.5
            assert transfer < 0.3
            assert times.kinds["all_reduce"].waiting > 0.55

    alone(body)
