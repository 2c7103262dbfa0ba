"""A real Grid Engine on hosts of this machine's namespaces, with all its files in one folder.

It is Debian's (packages gridengine-master, gridengine-exec and gridengine-client). Needs root.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hosts import Hosts, hosts, processes
from jobs import LAUNCHER, ROOT
from submitted import written

LIBRARY = Path("/usr/lib/gridengine")
SHARE = Path("/usr/share/gridengine")
DEBIANS = Path("/var/lib/gridengine")
PORTS = {"SGE_QMASTER_PORT": "6444", "SGE_EXECD_PORT": "6445"}

_INFINITE = "s_rt h_rt s_cpu h_cpu s_fsize h_fsize s_data h_data s_stack h_stack s_core h_core "
_INFINITE += "s_rss h_rss s_vmem h_vmem"
_NONE = "load_thresholds suspend_thresholds ckpt_list prolog epilog starter_method suspend_method "
_NONE += "resume_method terminate_method owner_list user_lists xuser_lists subordinate_list "
_NONE += "complex_values projects xprojects calendar"
_QUEUE = {
    "qname": "all.q",
    "seq_no": "0",
    "nsuspend": "1",
    "suspend_interval": "00:05:00",
    "priority": "0",
    "min_cpu_interval": "00:05:00",
    "processors": "UNDEFINED",
    "qtype": "BATCH INTERACTIVE",
    "pe_list": "mpi",
    "rerun": "FALSE",
    "slots": "4",
    "shell": "/bin/bash",
    "shell_start_mode": "posix_compliant",
    "notify": "00:00:60",
    "initial_state": "default",
    **dict.fromkeys(_INFINITE.split(), "INFINITY"),
    **dict.fromkeys(_NONE.split(), "NONE"),
}
_PARALLEL = {
    "pe_name": "mpi",
    "slots": "99",
    "user_lists": "NONE",
    "xuser_lists": "NONE",
    "start_proc_args": "NONE",
    "stop_proc_args": "NONE",
    "allocation_rule": "$round_robin",
    "control_slaves": "TRUE",
    "job_is_first_task": "FALSE",
    "urgency_slots": "min",
    "accounting_summary": "TRUE",  # or a job has a record for each host, and its own comes last
    "qsort_args": "NONE",
}
_SETTINGS = {
    "min_uid": "0",
    "min_gid": "0",
    "mailer": "/bin/true",
    "load_report_time": "00:00:01",
    "reporting_params": "accounting=true reporting=false flush_time=00:00:01 joblog=false "
    "sharelog=00:00:00",
}
_SCHEDULER = {"schedule_interval": "0:0:1", "flush_submit_sec": "1", "flush_finish_sec": "1"}


class GridEngine:
    """A master on ``host0`` and four slots on each host."""

    def __init__(self, made: Hosts, folder: Path) -> None:
        self.hosts, self.folder, self.root = made, folder, folder / "root"
        self._daemons: list[subprocess.Popen[bytes]] = []
        plain = {k: v for k, v in os.environ.items() if not k.startswith((*LAUNCHER, "SGE_"))}
        self.environment = {
            **plain,
            **PORTS,
            "SGE_ROOT": str(self.root),
            "SGE_CELL": "default",
            "PYTHONPATH": str(ROOT),
            "DISTGRAD_FUSED": "0",
        }
        self.setup = (  # numba takes longer to load than the kernels save
            f"export PYTHONPATH={ROOT} OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 DISTGRAD_FUSED=0 "
            "PRTE_MCA_prte_if_include=eth0 OMPI_MCA_btl_tcp_if_include=eth0"
        )

    def start(self) -> None:
        """Make its files, and start its daemons, which end with the hosts."""
        common = self.root / "default/common"
        for path in (common, *(self.folder / name for name in ("master/job_scripts", "spool"))):
            path.mkdir(parents=True)
        for name in ("bin", "lib", "util", "utilbin"):
            (self.root / name).symlink_to(DEBIANS / name)
        where = {
            "admin_user": "none",
            "spooling_params": self.folder / "spool",
            "qmaster_spool_dir": self.folder / "master",
        }
        bootstrap = (SHARE / "default-bootstrap").read_text()
        (common / "bootstrap").write_text(_changed(bootstrap, where))
        (common / "act_qmaster").write_text("host0\n")
        (common / "cluster_name").write_text("tests\n")
        settings = {**_SETTINGS, "execd_spool_dir": self.folder / "execd"}
        global_settings = self._file(
            "global", _changed((SHARE / "default-configuration").read_text(), settings)
        )
        resources = SHARE / "util/resources"
        self._here(LIBRARY / "spoolinit", "berkeleydb", "libspoolb", self.folder / "spool", "init")
        for what, given in {
            "configuration": global_settings,
            "complexes": resources / "centry",
            "usersets": resources / "usersets",
            "managers": "root",
        }.items():
            self._here(LIBRARY / "spooldefaults", what, given)
        self._daemon("host0", "sge_qmaster")
        self.wait_for(lambda: "host0" in self.try_call("qconf", "-sh"), "master")
        for name in self.hosts.names:
            (self.folder / "execd" / name).mkdir(parents=True)
            self.try_call("qconf", "-ah", name)
        self.try_call("qconf", "-as", "host0")
        queue = _QUEUE | {"hostlist": " ".join(self.hosts.names), "tmpdir": str(self.folder)}
        scheduler = _changed(self.call("qconf", "-ssconf"), _SCHEDULER)
        self.call("qconf", "-Msconf", self._file("scheduler", scheduler))
        self.call("qconf", "-Ap", self._file("parallel", _lines(_PARALLEL)))
        for name in self.hosts.names:
            self._daemon(name, "sge_execd")
        self.wait_for(
            lambda: self.call("qhost").count("lx-amd64") == len(self.hosts.names), "hosts"
        )
        self.call("qconf", "-Aq", self._file("queue", _lines(queue)))

    def stop(self) -> None:
        """End its daemons."""
        for daemon in reversed(self._daemons):
            daemon.kill()
            daemon.wait()

    def call(self, *command: object) -> str:
        """Run a command on host0 that must succeed; return what it printed."""
        done = self._run(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def try_call(self, *command: object) -> str:
        """Run a command on host0; return what it printed."""
        return self._run(*command).stdout

    def submit(self, *words: object) -> str:
        """Give it a job by ``distgrad submit`` in its folder; return the job's number."""
        command = [sys.executable, "-m", "distgrad", "submit", "--scheduler", "sge"]
        said = self.call(*command, "--setup", self.setup, *words)
        assert said.startswith("Grid Engine job "), said
        return said.split()[3]

    def hand_over(self, *words: object) -> str:
        """Give it what ``distgrad submit`` would; return the job's number."""
        text = written("--scheduler", "sge", "--setup", self.setup, *words)
        job = self._file(f"job-{time.monotonic_ns()}", text)
        return self.call("qsub", "-terse", job).partition(".")[0].strip()

    def script_of(self, job: str) -> int:
        """Return the process number of the script of a running job."""
        end = f"/job_scripts/{job}"
        (found,) = [
            pid
            for pid, argv in processes()
            if len(argv) == 2 and argv[1].startswith(str(self.folder)) and argv[1].endswith(end)
        ]
        return found

    def state(self, job: str) -> str:
        """Return the state that the queue shows of a job, as r or Rq; "" if it is not there."""
        rows = [line.split() for line in self.call("qstat").splitlines()]
        return next((row[4] for row in rows if row[:1] == [job]), "")

    def log(self, job: str) -> str:
        """Return what a job has printed, or all tasks of an array."""
        return "".join(path.read_text() for path in sorted(self.folder.glob(f"*.o{job}*")))

    def results(self, job: str, count: int) -> list[dict[str, object]]:
        """Return the lines of JSON that a job prints, when there are ``count``."""

        def lines() -> list[str]:
            return [line for line in self.log(job).splitlines() if re.fullmatch(r"\{.*\}", line)]

        self.wait_for(lambda: len(lines()) == count, f"result of job {job}", 60)
        return [json.loads(line) for line in lines()]

    def status(self, job: str) -> dict[str, str]:
        """Return what its accounting says of a job that is over, once it does."""
        self.wait_for(
            lambda: "exit_status" in self.try_call("qacct", "-j", job), f"account of {job}", 60
        )
        lines = self.call("qacct", "-j", job).splitlines()
        return {line.split()[0]: line.split()[1] for line in lines if " " in line}

    def _run(self, *command: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.hosts.on("host0", shlex.join(str(word) for word in command)),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def _here(self, *command: object) -> None:
        words = [str(word) for word in command]
        subprocess.run(words, env=self.environment, check=True, capture_output=True, timeout=30)

    def _daemon(self, host: str, name: str) -> None:
        with (self.folder / f"{name}-{host}.out").open("w") as output:
            daemon = subprocess.Popen(
                self.hosts.on(host, f"exec env SGE_ND=1 {LIBRARY / name}"),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._daemons.append(daemon)

    def _file(self, name: str, text: str) -> Path:
        path = self.folder / f"{name}.conf"
        path.write_text(text)
        return path

    def wait_for(self, until: Callable[[], bool], what: str, seconds: float = 30) -> None:
        """Wait; fail with what its jobs have said where it takes long."""
        deadline = time.monotonic() + seconds
        while not until():
            if time.monotonic() > deadline:
                queue = self.try_call("qstat", "-f")
                pytest.fail(f"no {what} in {seconds} s: {queue}\n{self.log('')}")
            time.sleep(0.2)


def _changed(text: str, values: dict[str, object]) -> str:
    lines = text.splitlines()
    for i, line in enumerate(lines):
        key = line.split(maxsplit=1)[0] if line.strip() else ""
        if key in values:
            lines[i] = f"{key} {values[key]}"
    return "\n".join(lines) + "\n"


def _lines(values: dict[str, str]) -> str:
    return "".join(f"{key} {value}\n" for key, value in values.items())


@contextlib.contextmanager
def grid_engine(count: int, folder: Path) -> Iterator[GridEngine]:
    """Have one for a while; skips the test, with the reason, where there can be none."""
    for name, package in {"sge_qmaster": "master", "sge_execd": "exec", "qsub": "client"}.items():
        if not (LIBRARY / name).exists():
            pytest.skip(f"{name} is not installed (Debian's package gridengine-{package})")
    with hosts(count, "1gbit", folder) as made:
        engine = GridEngine(made, folder / "gridengine")
        try:
            engine.start()
            yield engine
        finally:
            engine.stop()
