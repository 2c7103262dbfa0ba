"""A real Slurm on hosts of this machine, and jobs that ``distgrad submit`` gives it.

The hosts are network namespaces, made by the tool netbox ($NETBOX, or beside the repository in
shared/tools); the Slurm is Debian's (packages slurm-wlm and munge). Needs root.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
NETBOX = Path(os.environ.get("NETBOX", REPO.parent / "shared/tools/netbox"))
SLURM_CONF = Path("/etc/slurm/slurm.conf")
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(REPO),
    "OPENBLAS_NUM_THREADS": "1",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_btl_tcp_if_include": "eth0",
    "PRTE_MCA_prte_if_include": "eth0",
}
ENVIRONMENT.pop("OMP_NUM_THREADS", None)  # nproc obeys it, and netbox would give Slurm one core


def call(*command: object, folder: Path = REPO, timeout: float = 30) -> str:
    """Run a command that must succeed; return what it printed."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"{words} ended with {done.returncode}: {said}"
    return done.stdout


def processes() -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the command line of every process (the hosts' are among them)."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            yield int(folder.name), (folder / "cmdline").read_text().split("\0")[:-1]


def why_not() -> str:
    """Say what keeps this machine from being a cluster, or nothing."""
    if os.geteuid() != 0:
        return "only root can make the hosts"
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


@contextlib.contextmanager
def cluster(hosts: int) -> Iterator[None]:
    """Have a Slurm over node0, node1, … for a while; skips the test where there can be none."""
    if reason := why_not():
        pytest.skip(reason)
    munge_was_running = any(Path(argv[0]).name == "munged" for _, argv in processes() if argv)
    try:
        call("bash", NETBOX, "up", hosts)
        assert "idle" in call("bash", NETBOX, "slurm", timeout=60)
        yield
    finally:
        _take_down()
        SLURM_CONF.unlink(missing_ok=True)
        if not munge_was_running:
            call("service", "munge", "stop")


def _take_down() -> None:
    """Remove the hosts and all that runs on them, whatever state they are in."""
    for attempt in range(10):
        # `netbox down` stops at a Slurm that still writes into the folder being deleted.
        done = subprocess.run(["bash", NETBOX, "down"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        time.sleep(0.2 * attempt)
    pytest.fail(f"netbox down: {done.stdout}{done.stderr}")


class Job:
    """A job that ``distgrad submit`` has given to Slurm, in a folder for all that it writes."""

    def __init__(self, folder: Path, *words: object) -> None:
        self.folder = folder
        self.said = call(sys.executable, "-m", "distgrad", "submit", *words, folder=folder)
        found = re.search(r"^Slurm job (\d+) ", self.said, re.MULTILINE)
        assert found, self.said
        self.number = found[1]

    @property
    def fields(self) -> dict[str, str]:
        """What Slurm says of it; of an array, of its task that was last shown."""
        words = call("scontrol", "show", "job", self.number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    @property
    def states(self) -> list[str]:
        """The states of the job, or of an array's tasks."""
        return re.findall(r"JobState=(\w+)", call("scontrol", "show", "job", self.number))

    @property
    def log(self) -> str:
        """What it has printed up to now, in all of its files."""
        (output,) = re.findall(r"^  output  (.*)$", self.said, re.MULTILINE)
        path = Path(output)
        return "".join(file.read_text() for file in sorted(path.parent.glob(path.name)))

    @property
    def checkpoints(self) -> Path:
        """The folder of the job's own."""
        return self.folder / f"checkpoints/slurm-{self.number}"

    @property
    def ranks(self) -> list[int]:
        """The process numbers of its ranks, on all hosts."""
        own = f"checkpoints/slurm-{self.number}"
        return [
            pid
            for pid, argv in processes()
            if argv[1:2] == [str(REPO / "examples/train.py")] and own in argv
        ]

    def wait(self, until: Callable[[], bool], what: str, seconds: float) -> None:
        """Wait; fail with what the job has said when it has ended otherwise or it takes long."""
        deadline = time.monotonic() + seconds
        while not until():
            ended = {"FAILED", "CANCELLED", "TIMEOUT"} & {*self.states}
            if ended or time.monotonic() > deadline:
                state, reason = self.states, self.fields["Reason"]
                said = f"job {state} ({reason}), which said: {self.log or 'nothing'}"
                pytest.fail(f"no {what} in {seconds} s: {said}")
            time.sleep(0.1)

    def wait_for_the_end(self, seconds: float = 60) -> None:
        """Wait until it, or each task of it, is complete."""
        self.wait(lambda: {*self.states} == {"COMPLETED"}, "end", seconds)

    @property
    def results(self) -> list[dict[str, object]]:
        """The lines of JSON that it has printed."""
        return [json.loads(line) for line in self.log.splitlines() if line[:1] == "{"]
