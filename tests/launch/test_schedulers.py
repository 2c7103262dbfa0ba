"""The scripts of launch/ with their scheduler's variables and commands imitated.

``distgrad`` is a program that notes its arguments and ends as it is told to.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from jobs import LAUNCHER

REPO = Path(__file__).parents[2]

DISTGRAD = """\
#!/bin/sh
printf '%s\\n' "$@" >"$OUT/arguments"
[ "$2" != --hostfile ] || cp "$3" "$OUT/seen"
if [ -n "${UNTIL_USR1:-}" ]; then
    trap 'exit "$STATUS"' USR1
    trap ': >"$OUT/asked to end"; exit 143' TERM
    : >"$OUT/started"
    i=0
    while [ $i -lt 600 ]; do sleep 0.05; i=$((i + 1)); done
fi
exit "${STATUS:-0}"
"""
SCONTROL = """\
#!/bin/sh
echo "$*" >>"$OUT/scontrol"
"""


@dataclass(frozen=True)
class Script:
    """One of launch/'s scripts, what its scheduler sets for a job, and for one of an array."""

    file: str
    variables: dict[str, str]
    array: dict[str, str]
    again: int
    """The exit status by which a job asks for another start."""


HOSTS = "a\na\nb\n"
SLURM = Script(
    "slurm.sbatch",
    {"SLURM_JOB_ID": "70", "SLURM_NTASKS": "3", "SLURM_SUBMIT_DIR": "/nowhere"},
    {"SLURM_ARRAY_JOB_ID": "68", "SLURM_ARRAY_TASK_ID": "2"},
    0,
)
PBS = Script(
    "pbs.sh",
    {"PBS_JOBID": "68.head", "PBS_O_WORKDIR": str(REPO), "PBS_NODEFILE": "{out}/hosts"},
    {"PBS_JOBID": "68[2].head", "PBS_ARRAY_INDEX": "2"},
    99,
)
LSF = Script(
    "lsf.sh",
    {
        "LSB_JOBID": "68",
        "LSB_JOBINDEX": "0",
        "LSB_DJOB_HOSTFILE": "{out}/hosts",
        "LSB_DJOB_NUMPROC": "3",
    },
    {"LSB_JOBINDEX": "2"},
    99,
)
GRID_ENGINE = Script(
    "gridengine.sh",
    {
        "JOB_ID": "68",
        "SGE_TASK_ID": "undefined",
        "PE_HOSTFILE": "{out}/pe_hosts",
        "NSLOTS": "3",
    },
    {"SGE_TASK_ID": "2"},
    99,
)
ALL = pytest.mark.parametrize("script", [SLURM, PBS, LSF, GRID_ENGINE], ids=lambda s: s.file)
TIMED = pytest.mark.parametrize("script", [PBS, LSF, GRID_ENGINE], ids=lambda s: s.file)
"""Those that have a timer of their own for the time limit."""


class Job:
    """A script, started as its scheduler does."""

    def __init__(self, out: Path, script: Script, *arguments: str, **variables: str) -> None:
        self.out = out
        tools = out / "bin"
        tools.mkdir(exist_ok=True)
        programs = {"distgrad": DISTGRAD, "scontrol": SCONTROL}
        for name in ("distgrad", "scontrol", "qrsh", "blaunch"):
            (tools / name).write_text(programs.get(name, "#!/bin/sh\n"))
            (tools / name).chmod(0o755)
        (out / "hosts").write_text(HOSTS)
        (out / "pe_hosts").write_text("a 2 all.q@a UNDEFINED\nb 1 all.q@b UNDEFINED\n")
        plain = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER)}
        told = {k: v.format(out=out) for k, v in script.variables.items()}
        environment = plain | told | {"VENV": str(out), "OUT": str(out)} | variables
        environment["PATH"] = f"{tools}:{environment['PATH']}"
        self.process = subprocess.Popen(
            ["bash", REPO / "launch" / script.file, *arguments], cwd=REPO, env=environment
        )

    def wait(self) -> int:
        return self.process.wait(60)

    @property
    def arguments(self) -> list[str]:
        return (self.out / "arguments").read_text().splitlines()

    @property
    def checkpoint(self) -> str:
        return self.arguments[self.arguments.index("--checkpoint") + 1]

    @property
    def requeued(self) -> bool:
        return (self.out / "scontrol").exists()


def started(out: Path, script: Script, **variables: str) -> Job:
    """Return a job whose ranks run until they are told of the time limit."""
    job = Job(out, script, UNTIL_USR1="1", **variables)
    deadline = time.monotonic() + 60
    while not (out / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return job


def after_the_warning(out: Path, script: Script, status: int) -> Job:
    """Return a job whose ranks end with ``status`` after the time limit's signal."""
    job = started(out, script, STATUS=str(status))
    job.process.send_signal(signal.SIGUSR1)
    return job


@ALL
def test_the_ranks_and_hosts_are_the_schedulers(tmp_path, script):
    job = Job(tmp_path, script)
    assert job.wait() == 0
    arguments = job.arguments
    assert arguments[0] == "run"
    assert arguments[arguments.index("-n") + 1] == "3"
    if script is not SLURM:  # there mpirun asks Slurm
        hosts = (tmp_path / "seen").read_text()
        assert hosts == ("a slots=2\nb slots=1\n" if script is GRID_ENGINE else HOSTS)
    assert "examples/train.py" in arguments


@ALL
@pytest.mark.parametrize("given", [{}, {"CHECKPOINT": "checkpoints/mine"}])
def test_the_tasks_of_an_array_have_folders_of_their_own(tmp_path, script, given):
    alone = Job(tmp_path, script, **given)
    assert alone.wait() == 0
    assert "task" not in alone.checkpoint
    folders = []
    for task in ("2", "3"):
        index = {k: v.replace("2", task) for k, v in script.array.items()}
        job = Job(tmp_path, script, **given, **index)
        assert job.wait() == 0
        folders.append(job.checkpoint)
    base = folders[0].removesuffix("/task-2")
    assert folders == [f"{base}/task-2", f"{base}/task-3"]
    # Given again, the array's folder is where a new array goes on.
    assert base == given.get("CHECKPOINT", base)
    assert "68" in base or given


AWKWARD = ["--checkpoint", "a  folder", "it's", "$HOME", "*", ""]


@pytest.mark.parametrize("script", [PBS, LSF], ids=lambda s: s.file)
def test_arguments_in_a_variable_may_hold_spaces(tmp_path, script):
    line = """--checkpoint 'a  folder' "it's" '$HOME' '*' ''"""
    job = Job(tmp_path, script, ARGS=line)
    assert job.wait() == 0
    assert job.arguments[-6:] == AWKWARD
    job = Job(tmp_path, script)
    assert job.wait() == 0
    assert job.arguments[-1] == "--json"


@pytest.mark.parametrize("script", [SLURM, GRID_ENGINE], ids=lambda s: s.file)
def test_arguments_of_the_script_may_hold_spaces(tmp_path, script):
    job = Job(tmp_path, script, *AWKWARD)
    assert job.wait() == 0
    assert job.arguments[-6:] == AWKWARD


@ALL
@pytest.mark.parametrize("status", [1, 2, 130])
def test_an_error_of_the_script_itself_or_ctrl_c_ends_the_job(tmp_path, script, status):
    job = Job(tmp_path, script, STATUS=str(status))
    assert job.wait() == status
    assert not job.requeued


@ALL
def test_the_time_limit_asks_for_another_start_unless_the_script_failed(tmp_path, script):
    job = after_the_warning(tmp_path, script, 0)
    assert job.wait() == script.again
    assert job.requeued == (script is SLURM)
    for path in ("scontrol", "started"):
        (tmp_path / path).unlink(missing_ok=True)
    job = after_the_warning(tmp_path, script, 1)
    assert job.wait() == 1
    assert not job.requeued


@ALL
def test_no_signal_comes_before_it_is_listened_for(script):
    lines = (REPO / "launch" / script.file).read_text().splitlines()
    starts = [i for i, line in enumerate(lines) if line.endswith(" &")]
    traps = [i for i, line in enumerate(lines) if line.startswith("trap ")]
    assert len(starts) == 1
    assert max(traps) < starts[0]


@ALL
def test_a_job_that_is_asked_to_end_ends_its_ranks_and_is_not_put_back(tmp_path, script):
    job = started(tmp_path, script)
    job.process.send_signal(signal.SIGTERM)
    assert job.wait() == 143
    assert (tmp_path / "asked to end").exists()
    assert not job.requeued


@TIMED
@pytest.mark.parametrize(("status", "ended"), [(0, 99), (1, 1)])
def test_a_timer_tells_the_ranks_of_the_time_limit(tmp_path, script, status, ended):
    text = (REPO / "launch" / script.file).read_text()
    assert text.count("3480") == 2
    (tmp_path / "job").write_text(text.replace("3480", "1"))
    hasty = replace(script, file=str(tmp_path / "job"))
    job = Job(tmp_path, hasty, UNTIL_USR1="1", STATUS=str(status))
    assert job.wait() == ended
    assert (tmp_path / "started").exists()


@pytest.mark.parametrize("status", [75, 137, 139])
def test_slurm_puts_a_job_back_three_times_that_lost_a_rank_or_a_node(tmp_path, status):
    job = Job(tmp_path, SLURM, STATUS=str(status), SLURM_RESTART_COUNT="2")
    assert job.wait() == status
    assert (tmp_path / "scontrol").read_text() == "requeue 70\n"
    (tmp_path / "scontrol").unlink()
    job = Job(tmp_path, SLURM, STATUS=str(status), SLURM_RESTART_COUNT="3")
    assert job.wait() == status
    assert not job.requeued


@TIMED
def test_a_lost_host_asks_for_another_start(tmp_path, script):
    assert Job(tmp_path, script, STATUS="75").wait() == 99
    assert Job(tmp_path, script, STATUS="137").wait() == 137


@pytest.mark.parametrize(
    ("hosts", "ranks"),
    [
        ("a slots=4\nb slots=3\n", 7),
        ("a:4\nb:2\n", 6),
        ("a\nb\nc\n", 3),
        ("# slots=9\n\na max_slots=8 slots = 2 # slots=5\nb\n", 3),
    ],
)
def test_hostfile_starts_as_many_ranks_as_there_are_slots(tmp_path, hosts, ranks):
    plain = Script("hostfile.sh", {}, {}, 0)
    (tmp_path / "mine").write_text(hosts)
    job = Job(tmp_path, plain, str(tmp_path / "mine"), "--shards", "16")
    assert job.wait() == 0
    assert job.arguments[:5] == ["run", "--hostfile", str(tmp_path / "mine"), "-n", str(ranks)]
    assert job.arguments[-2:] == ["--shards", "16"]
    job = Job(tmp_path, plain, str(tmp_path / "mine"), RANKS="2")
    assert job.wait() == 0
    assert job.arguments[4] == "2"
