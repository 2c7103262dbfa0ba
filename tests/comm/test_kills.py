"""A few cells of the kill matrix; ``python tests/kill_matrix.py`` runs all of them."""

import importlib.util
import sys
from pathlib import Path

import pytest
from jobs import needs_open_mpi

_spec = importlib.util.spec_from_file_location(
    "kill_matrix", Path(__file__).parents[1] / "kill_matrix.py"
)
matrix = importlib.util.module_from_spec(_spec)
sys.modules["kill_matrix"] = matrix  # where dataclasses look for their module
_spec.loader.exec_module(matrix)

CELLS = [
    matrix.Cell("STOP", "before init", 2, 3),
    matrix.Cell("INT", "MPI_Init", 0, 2),
    matrix.Cell("exception", "agreement", 2, 3),
    matrix.Cell("KILL", "forward", 0, 3),
    matrix.Cell("STOP", "backward", 0, 3),
    matrix.Cell("TERM", "optimizer", 1, 2),
    matrix.Cell("sys.exit(0)", "evaluation", 2, 3),
    matrix.Cell("os._exit", "saving", 0, 2),
]
TIMEOUT = 5.0  # a stopped rank is waited for so long


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_job_of_which_a_rank_falls_ends_soon_and_names_it(cell):
    if cell.is_silent:
        needs_open_mpi()
    outcome = matrix.run(cell, timeout=TIMEOUT)
    if cell.moment == "MPI_Init" and "PMIX ERROR" in outcome.stderr:
        # It met the launcher's half of MPI_Init: there is no rank yet.
        outcome = matrix.run(cell, timeout=TIMEOUT)
    assert outcome.verdict == "ok", outcome.stderr


def test_the_matrix_has_every_way_at_every_moment_for_the_first_and_last_of_two_and_three():
    assert len(matrix.cells()) == 7 * 9 * 2 * 2
    assert len(set(matrix.cells())) == 7 * 9 * 2 * 2
    assert [c.name for c in matrix.cells(["STOP/sav*/2/*"])] == ["STOP/saving/2/3"]


@pytest.mark.parametrize(
    ("status", "stderr", "verdict"),
    [
        (None, "", "hung"),
        (0, "[rank 0/3] SomeError: rank 2 has left", "status 0"),
        (1, "", "rank not named"),
        (1, "[rank 0/3] SomeError: [rank 0/3] rank 2 has left", "ok"),
        (1, "[rank 0/3] SomeError: [rank 0/3] rank 1 does not answer", "wrong rank named"),
        (1, "[rank 2/3] x.DeliberateError: falls", "ok"),
        (1, "[rank 1/3] KeyboardInterrupt", "wrong rank named"),
        (137, "prterun noticed that process rank 2 with PID 7 on node n exited on signal 9", "ok"),
        (1, "prterun has exited due to process rank 0 with PID 0 on node n calling", "rank not na"),
        (1, "   Process name: [prterun-n-17133@1,2]", "ok"),
    ],
)
def test_how_the_matrix_judges(status, stderr, verdict):
    cell = matrix.Cell("KILL", "forward", 2, 3)
    assert matrix._judge(cell, status, stderr).startswith(verdict)


def test_only_an_mpirun_that_crashed_itself_is_given_another_try():
    words = "prterun: pthread_mutex_lock.c:450: __pthread_mutex_lock_full: Assertion `e' failed."
    crashed = matrix.Outcome("rank not named", 0.3, -6, f"DeliberateError\n{words}\n")
    assert matrix._mpirun_crashed(crashed)
    for status, stderr in [(-6, "python: Assertion failed"), (1, words), (None, words)]:
        assert not matrix._mpirun_crashed(matrix.Outcome("hung", 0.3, status, stderr))
