"""``dg.launch``: a function on ranks, its result and exceptions back; notebooks and interrupts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import launched
import pytest
from jobs import LAUNCHER, mpirun
from terminal import Terminal

import distgrad as dg
from distgrad.errors import LaunchError
from distgrad.launch import mpi

# With "mpi" for an id they would be taken for tests that mpirun starts.
WORLDS = [pytest.param("mpi", id="processes"), pytest.param("simulate", id="threads")]


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """Let this process be no rank, and the ranks be able to import what it can."""
    mpirun(1)  # or skip
    for name in [*os.environ]:
        if name.startswith(LAUNCHER):
            monkeypatch.delenv(name)
    root = Path(dg.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


@pytest.mark.parametrize("world", WORLDS)
def test_every_rank_calls_the_function_and_rank_0s_result_comes_back(world, capfd):
    assert dg.launch(launched.rank_sum, (10,), ranks=3, world=world) == [60.0, 0]
    said = capfd.readouterr().out
    assert sorted(line for line in said.splitlines() if "prints" in line) == [
        f"rank {rank} prints" for rank in range(3)
    ]


@pytest.mark.parametrize("world", WORLDS)
def test_a_ranks_exception_is_raised_with_its_name(world):
    with pytest.raises(KeyError, match="of rank 2") as caught:
        dg.launch(launched.fail_on, (2,), ranks=3, world=world)
    assert isinstance(caught.value.__cause__, LaunchError)
    assert str(caught.value.__cause__).startswith("[rank 2/3] ")
    if world == "mpi":  # of the simulated one the traceback itself is here
        assert "in fail_on\n" in str(caught.value.__cause__)


def test_a_result_that_cannot_be_handed_back_is_named():
    with pytest.raises(LaunchError, match=r"returns on rank 0, a lock, cannot be handed back"):
        dg.launch(launched.a_lock, ranks=1)


def test_a_rank_that_leaves_without_a_result_is_told_of():
    with pytest.raises(LaunchError, match="rank 0 ended without a result"):
        dg.launch(launched.leave, ranks=1)


def test_a_function_of_a_cell_needs_cloudpickle_and_the_error_says_so(monkeypatch):
    monkeypatch.setattr(mpi, "find_spec", lambda name: None)
    with pytest.raises(LaunchError, match=r"pip install 'distgrad\[notebook\]'"):
        dg.launch(lambda: 1, ranks=2)
    monkeypatch.setattr(launched.rank_sum, "__module__", "__main__")
    with pytest.raises(LaunchError, match="'rank_sum' is defined in a cell"):
        dg.launch(launched.rank_sum, (1,), ranks=2)


def test_arguments_that_cannot_be_handed_over_are_named():
    with pytest.raises(LaunchError, match="'rank_sum' or its arguments cannot be handed to"):
        dg.launch(launched.rank_sum, (launched.a_lock(),), ranks=2)


def test_a_closure_is_handed_over_by_cloudpickle():
    pytest.importorskip("cloudpickle", reason="needs cloudpickle, the extra notebook")
    factor = 7
    assert dg.launch(lambda: launched.rank_sum(factor)[0], ranks=2) == 21.0


def test_ranks_do_not_launch_ranks(monkeypatch):
    with pytest.raises(LaunchError, match="this process is one"):
        dg.launch(dg.launch, (launched.rank_sum, (1,)), ranks=2, world="simulate")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    with pytest.raises(LaunchError, match="this process is one"):
        dg.launch(launched.rank_sum, (1,), ranks=2)


def test_an_unknown_world_is_refused():
    with pytest.raises(LaunchError, match="world='threads': 'mpi'"):
        dg.launch(launched.rank_sum, (1,), world="threads")  # type: ignore[arg-type]


WAITING = "import sys, launched, distgrad as dg; dg.launch(launched.wait, sys.argv[1:2], ranks=2)"


@pytest.mark.parametrize("how", ["Ctrl-C", "kill -9"])
def test_the_ranks_end_with_their_caller(how, tmp_path):
    words = [sys.executable, "-c", WAITING, str(tmp_path)]
    job = Terminal(tmp_path, words, PYTEST_JOB=str(tmp_path))
    job.wait_for("ready-0", "ready-1")
    if how == "Ctrl-C":
        job.press_ctrl_c()
        assert job.status() == 130
        assert "KeyboardInterrupt: the ranks were interrupted" in job.said
        assert {"left-0", "left-1"} <= job.names()  # each rank was interrupted, not killed
    else:
        os.kill(job.pid, 9)
        job.status()
    deadline = time.monotonic() + 20
    while ranks_of(tmp_path):
        assert time.monotonic() < deadline, "the ranks live on"
        time.sleep(0.1)


def ranks_of(folder: Path) -> list[str]:
    """Return the command lines of the processes of this folder's job that still are."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"PYTEST_JOB={folder}".encode() in path.read_bytes():
                found.append((path.parent / "cmdline").read_text())
        except OSError:
            continue
    return found


CELLS = [
    "import distgrad as dg\nfrom distgrad import nn, optim\ndata, _ = dg.data.digits()",
    """
def train(steps):
    world = dg.init()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    trainer = dg.Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss())
    trainer.fit(dg.data.DataLoader(data, 48), max_steps=steps)
    return [world.rank, world.size, trainer.state.step]
""",
    "train(40)",
    "dg.launch(train, (40,), ranks=3)",
]


@pytest.mark.slow
def test_a_notebook_shows_a_training_in_one_output_of_its_cell(tmp_path):
    for name in ("cloudpickle", "ipykernel", "nbclient", "nbformat"):
        pytest.importorskip(name, reason=f"needs {name}, to run a notebook")
    program = f"""
import nbformat, nbclient
cells = [nbformat.v4.new_code_cell(text) for text in {CELLS!r}]
notebook = nbformat.v4.new_notebook(cells=cells)
nbclient.NotebookClient(notebook, timeout=100, kernel_name="python3").execute()
nbformat.write(notebook, {str(tmp_path / "run.ipynb")!r})
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=110, cwd=tmp_path)
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat, to read a notebook")
    notebook = nbformat.read(tmp_path / "run.ipynb", 4)
    for cell, result in zip(notebook.cells[2:], ["[0, 1, 40]", "[0, 3, 40]"], strict=True):
        shown = [o for o in cell.outputs if o.output_type == "display_data"]
        assert len(shown) == 1  # the live line, and then the table in its place
        assert "stopped at step 40: 40 steps" in shown[0].data["text/html"]
        (value,) = [o for o in cell.outputs if o.output_type == "execute_result"]
        assert value.data["text/plain"] == result
