"""A real Slurm on hosts of this machine's namespaces, and jobs that ``distgrad submit`` gives it.

It is Debian's (package slurm-wlm), with all its files in one folder. Needs root.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hosts import Hosts, hosts, processes
from jobs import LAUNCHER, ROOT
from submitted import written

CORES = 6  # of each host, as Slurm counts them
_CONFIGURATION = """\
ClusterName=tests
SlurmctldHost=host0
SlurmUser=root
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
SlurmdParameters=config_overrides
KillWait=5
ReturnToService=2
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
StateSaveLocation={folder}/state
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdSpoolDir={folder}/spool-%n
NodeName={hosts} CPUs={cores} RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """A controller on ``host0``, and a daemon on each host."""

    def __init__(self, made: Hosts, folder: Path) -> None:
        self.hosts, self.folder = made, folder
        self._daemons: list[subprocess.Popen[bytes]] = []
        plain = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER)}
        self.environment = {
            **plain,
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PYTHONPATH": str(ROOT),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "DISTGRAD_FUSED": "0",  # numba takes longer to load than the kernels save
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_btl_tcp_if_include": "eth0",
            "PRTE_MCA_prte_if_include": "eth0",
        }

    def start(self) -> None:
        """Start its daemons, which end with the hosts."""
        (self.folder / "state").mkdir()
        text = _CONFIGURATION.format(
            folder=self.folder, hosts=",".join(self.hosts.names), cores=CORES
        )
        (self.folder / "slurm.conf").write_text(text)
        self._daemon("host0", "slurmctld -D")
        for name in self.hosts.names:
            (self.folder / f"spool-{name}").mkdir()
            self._daemon(name, f"slurmd -D -N {name}")
        idle = ["sinfo", "--noheader", "--states=idle", "--format=%D"]
        deadline = time.monotonic() + 30
        while self.run(*idle).stdout.strip() != str(len(self.hosts.names)):
            if time.monotonic() > deadline:
                logs = "".join(path.read_text() for path in self.folder.glob("*.log"))
                pytest.fail(f"no Slurm in 30 s: {self.run('sinfo').stderr}\n{logs}")
            time.sleep(0.2)

    def stop(self) -> None:
        """End its daemons."""
        for daemon in reversed(self._daemons):
            daemon.kill()
            daemon.wait()

    def run(self, *command: object, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
        """Run a command on host0."""
        return subprocess.run(
            self.hosts.on("host0", shlex.join(str(word) for word in command)),
            cwd=folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def call(self, *command: object, folder: Path = ROOT) -> str:
        """Run a command on host0 that must succeed; return what it printed."""
        done = self.run(*command, folder=folder)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def _daemon(self, host: str, command: str) -> None:
        with (self.folder / f"{command.split(maxsplit=1)[0]}-{host}.out").open("w") as output:
            daemon = subprocess.Popen(
                self.hosts.on(host, f"exec {command}"),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._daemons.append(daemon)


@contextlib.contextmanager
def cluster(count: int, folder: Path) -> Iterator[Slurm]:
    """Have a Slurm for a while; skips the test, with the reason, where there can be none."""
    for command in ("slurmctld", "slurmd", "sbatch"):
        if shutil.which(command) is None:
            pytest.skip(f"{command} is not installed (Debian's package slurm-wlm)")
    with hosts(count, "1gbit", folder) as made:
        (folder / "slurm").mkdir()
        slurm = Slurm(made, folder / "slurm")
        try:
            slurm.start()
            yield slurm
        finally:
            slurm.stop()


class Job:
    """A job that Slurm has, with the folder in which it writes."""

    def __init__(self, slurm: Slurm, folder: Path, number: str) -> None:
        self.slurm, self.folder, self.number = slurm, folder, number

    @classmethod
    def submitted(cls, slurm: Slurm, folder: Path, *words: object) -> Job:
        """Give Slurm a job by ``distgrad submit``."""
        said = slurm.call(sys.executable, "-m", "distgrad", "submit", *words, folder=folder)
        found = re.search(r"^Slurm job (\d+) ", said, re.MULTILINE)
        assert found, said
        return cls(slurm, folder, found[1])

    @classmethod
    def handed_over(cls, slurm: Slurm, folder: Path, *words: object) -> Job:
        """Give Slurm what ``distgrad submit`` would."""
        path = folder / f"job-{time.monotonic_ns()}.sbatch"
        path.write_text(written("--scheduler", "slurm", *words))
        return cls(slurm, folder, slurm.call("sbatch", "--parsable", path, folder=folder).strip())

    @property
    def fields(self) -> dict[str, str]:
        """What Slurm says of it; of an array, of its task that was last shown."""
        return dict(word.split("=", 1) for word in self._shown.split() if "=" in word)

    @property
    def states(self) -> list[str]:
        """The states of the job, or of an array's tasks."""
        return re.findall(r"JobState=(\w+)", self._shown)

    @property
    def _shown(self) -> str:
        return self.slurm.call("scontrol", "show", "job", self.number)

    @property
    def log(self) -> str:
        """What it has printed up to now, in all of its files."""
        files = sorted(self.folder.glob(f"slurm-*-{self.number}[._]*"))
        return "".join(file.read_text() for file in files)

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
            if argv[1:2] == [str(ROOT / "examples/train.py")] and own in argv
        ]

    def wait(self, until: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Wait; fail with what the job has said when it has ended otherwise or it takes long."""
        deadline, look = time.monotonic() + seconds, time.monotonic() + 1
        while not until():
            time.sleep(0.05)
            if time.monotonic() < look:
                continue
            look += 1
            ended = {"FAILED", "CANCELLED", "TIMEOUT"} & {*self.states}
            if ended or look > deadline:
                state, reason = self.states, self.fields["Reason"]
                said = f"job {state} ({reason}), which said: {self.log or 'nothing'}"
                pytest.fail(f"no {what} in {seconds} s: {said}")

    def wait_for_the_end(self) -> None:
        """Wait until it, or each task of it, is complete."""
        self.wait(lambda: self._look() == {"COMPLETED"}, "end")

    def _look(self) -> set[str]:
        time.sleep(0.2)  # each costs a process
        return {*self.states}

    @property
    def results(self) -> list[dict[str, object]]:
        """The lines of JSON that it has printed."""
        return [json.loads(line) for line in self.log.splitlines() if line[:1] == "{"]
