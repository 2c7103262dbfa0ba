"""launch/slurm.sbatch on a real Slurm of two hosts: a rank is killed, and the result is the same.

The hosts are network namespaces of this machine, made by the tool netbox ($NETBOX, or beside the
repository in shared/tools), and the Slurm is Debian's (packages slurm-wlm and munge).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
NETBOX = Path(os.environ.get("NETBOX", REPO.parent / "shared/tools/netbox"))
SLURM_CONF = Path("/etc/slurm/slurm.conf")
STEPS = 600
MODEL = ["--data", "digits", "--model", "mlp", "--shards", "4"]
TRAINING = [*MODEL, "--epochs", "100", "--steps", str(STEPS)]
ENVIRONMENT = {
    **os.environ,
    "VENV": sys.prefix,
    "OPENBLAS_NUM_THREADS": "1",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_btl_tcp_if_include": "eth0",
    "PRTE_MCA_prte_if_include": "eth0",
}
ENVIRONMENT.pop("OMP_NUM_THREADS", None)  # nproc obeys it, and netbox would give Slurm one core


def call(*command: object, timeout: float = 30) -> str:
    """Run a command that must succeed; return what it printed."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=REPO,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {said}"
    return done.stdout


def processes() -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the command line of every process (the hosts' are among them)."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            yield int(folder.name), (folder / "cmdline").read_text().split("\0")[:-1]


def why_not() -> str:
    """Say what keeps this machine from being a cluster, or nothing."""
    if os.geteuid() != 0:
        return "only root can make the two hosts"
    if not NETBOX.is_file():
        return f"there is no netbox at {NETBOX}; NETBOX=/path/to/it names another place"
    needed = {"slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "munged": "munge"}
    for command, package in {**needed, "ip": "iproute2", "nsenter": "util-linux"}.items():
        if shutil.which(command) is None:
            return f"{command} is not installed (Debian's package {package})"
    if SLURM_CONF.exists() and "ClusterName=netbox" not in SLURM_CONF.read_text():
        return f"{SLURM_CONF} is another cluster's"
    if "dgbox" in call("ip", "netns"):
        return "another netbox is up on this machine; `netbox down` removes it"
    return ""


@pytest.fixture
def cluster() -> Iterator[None]:
    """Two hosts, node0 and node1, with a Slurm over them."""
    if reason := why_not():
        pytest.skip(reason)
    munge_was_running = any(Path(argv[0]).name == "munged" for _, argv in processes() if argv)
    try:
        call("bash", NETBOX, "up", 2)
        assert "idle" in call("bash", NETBOX, "slurm", timeout=60)
        yield
    finally:
        take_down()
        SLURM_CONF.unlink(missing_ok=True)
        if not munge_was_running:
            call("service", "munge", "stop")


def take_down() -> None:
    """Remove the hosts and all that runs on them, whatever state they are in."""
    for attempt in range(10):
        # `netbox down` stops at a Slurm that still writes into the folder being deleted.
        done = subprocess.run(["bash", NETBOX, "down"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        time.sleep(0.2 * attempt)
    pytest.fail(f"netbox down: {done.stdout}{done.stderr}")


class Job:
    """The script of launch/, submitted with this test's folder for all that it writes."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.log = folder / "job.log"
        self.checkpoints = folder / "checkpoints"
        ENVIRONMENT["CHECKPOINT"] = str(self.checkpoints)
        options = ["--parsable", "--ntasks-per-node=2", f"--output={self.log}"]
        self.number = call("sbatch", *options, "launch/slurm.sbatch", *arguments).strip()

    @property
    def fields(self) -> dict[str, str]:
        words = call("scontrol", "show", "job", self.number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    @property
    def ranks(self) -> list[int]:
        """The process numbers of its ranks, on both hosts."""
        return [
            pid
            for pid, argv in processes()
            if argv[1:2] == ["examples/train.py"] and str(self.checkpoints) in argv
        ]

    def wait(self, until: Callable[[], bool], what: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not until():
            state, reason = self.fields["JobState"], self.fields["Reason"]
            ended = state in {"FAILED", "CANCELLED", "TIMEOUT"}
            if ended or time.monotonic() > deadline:
                log = self.log.read_text() if self.log.exists() else "nothing"
                pytest.fail(f"no {what} in {seconds} s: job {state} ({reason}), which said: {log}")
            time.sleep(0.1)

    @property
    def results(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{"]


@pytest.mark.timeout(300)
def test_a_job_with_a_killed_rank_is_requeued_and_ends_with_the_undisturbed_result(
    cluster, tmp_path
):
    alone = call(sys.executable, "examples/train.py", *TRAINING, "--json", timeout=60)
    undisturbed = json.loads(alone.splitlines()[-1])

    job = Job(tmp_path, *TRAINING, "--every", "20")
    job.wait(lambda: any(job.checkpoints.glob("step-*")), "checkpoint", 60)
    assert len(job.ranks) == 4
    os.kill(max(job.ranks), signal.SIGKILL)
    job.wait(lambda: job.fields["Restarts"] == "1", "requeue after the kill", 30)
    assert job.results == [], "the run ended before the kill: more steps are needed"
    job.wait(lambda: job.fields["JobState"] == "PENDING", "return to the queue", 30)

    # Slurm starts a requeued job after two minutes, and revokes by the second: not at once.
    time.sleep(2)
    call("scontrol", "update", f"job={job.number}", "StartTime=now")
    job.wait(lambda: job.fields["JobState"] == "COMPLETED", "end", 90)

    (result,) = job.results
    assert result["ranks"] == 4
    assert result["steps"] == STEPS
    assert result["sha256"] == undisturbed["sha256"]
    assert "resum" in job.log.read_text().lower()
