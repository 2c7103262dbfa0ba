"""Hosts with names, addresses and a network of their own, made of this machine's namespaces.

They are network namespaces with a shaped link each to a switch, which is one as well, so that
nothing of this machine's own network is touched and all goes with them. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from jobs import LAUNCHER, PYTHONPATH, Finished, mpirun

from distgrad.comm import launchers

_COMMANDS = {"ip": "iproute2", "tc": "iproute2", "nsenter": "util-linux", "unshare": "util-linux"}
# Run a command on a host: in its network, with its name and a file that has all addresses. Called
# as mpirun calls its remote shell: [OPTION...] HOST COMMAND.
_SHELL = """#!/bin/sh
while [ "${{1#-}}" != "$1" ]; do shift; done
host=$1; shift
exec nsenter --net=/run/netns/{prefix}-$host unshare --uts --mount sh -c '
    hostname $1 && mount --bind {addresses} /etc/hosts && exec sh -c "$2"' sh "$host" "$*"
"""

_OPEN_MPI = {
    "PRTE_MCA_prte_if_include": "eth0",
    "OMPI_MCA_btl_tcp_if_include": "eth0",
    "OMPI_MCA_pml": "ob1",
    "OMPI_MCA_btl": "self,sm,tcp",
    "OMPI_MCA_osc": "^ucx",
}
# MPICH tells hosts apart by their names, UCX by the machine's number, which they have in common.
_MPICH = {"UCX_TLS": "self,tcp", "UCX_NET_DEVICES": "eth0"}


def call(*command: object) -> str:
    """Run a command that must succeed; return what it printed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def processes() -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the command line of every process (the hosts' are among them)."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            yield int(folder.name), (folder / "cmdline").read_text().split("\0")[:-1]


class Hosts:
    """``host0``, ``host1``, …, each with a link of ``rate`` both ways, as tc spells it: 1gbit."""

    def __init__(self, count: int, rate: str, folder: Path) -> None:
        self.names = [f"host{i}" for i in range(count)]
        self._prefix = f"distgrad-{os.getpid()}"
        self._switch = f"{self._prefix}-switch"
        self._made: list[str] = []
        self._rate = rate
        self._hostfile, self._shell = folder / "hostfile", folder / "shell"
        addresses = folder / "addresses"
        lines = [f"10.213.0.{i + 1} {name}\n" for i, name in enumerate(self.names)]
        addresses.write_text("127.0.0.1 localhost\n" + "".join(lines))
        self._shell.write_text(_SHELL.format(prefix=self._prefix, addresses=addresses))
        self._shell.chmod(0o755)

    def up(self) -> None:
        """Make them."""
        self._make(self._switch)
        call("ip", "-n", self._switch, "link", "add", "bridge", "type", "bridge")
        call("ip", "-n", self._switch, "link", "set", "bridge", "up")
        for i, name in enumerate(self.names):
            space, port = self._space(name), f"port{i}"
            self._make(space)
            peer = ("peer", "name", "eth0", "netns", space)
            call("ip", "-n", self._switch, "link", "add", port, "type", "veth", *peer)
            call("ip", "-n", self._switch, "link", "set", port, "master", "bridge", "up")
            call("ip", "-n", space, "addr", "add", f"10.213.0.{i + 1}/24", "dev", "eth0")
            call("ip", "-n", space, "link", "set", "eth0", "up")
            call("ip", "-n", space, "link", "set", "lo", "up")
            self.shape(name, self._rate)

    def shape(self, name: str, rate: str) -> None:
        """Give the link of a host another rate, both ways."""
        port = f"port{self.names.index(name)}"
        for space, device in ((self._space(name), "eth0"), (self._switch, port)):
            call("tc", "-n", space, "qdisc", "replace", "dev", device, *_bucket(rate))

    def down(self) -> None:
        """End what runs on them and remove them, as far as they were made."""
        for space in reversed(self._made):
            for pid in call("ip", "netns", "pids", space).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            call("ip", "netns", "del", space)
        self._made.clear()

    def run(
        self, script: Path, *args: str, ranks: Sequence[int] = (), timeout: float = 120.0
    ) -> Finished:
        """Run a script on so many ``ranks`` of each host, or one, by the first one's mpirun."""
        ranks = ranks or [1] * len(self.names)
        starter = launchers.find_mpirun()
        open_mpi = launchers.is_open_mpi(starter)
        line = "{} slots={}\n" if open_mpi else "{}:{}\n"
        self._hostfile.write_text("".join(map(line.format, self.names, ranks)))
        settings = _OPEN_MPI | {"PRTE_MCA_plm_ssh_agent": str(self._shell)} if open_mpi else _MPICH
        settings = settings | {
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": PYTHONPATH,
        }
        hydra = ["-launcher", "ssh", "-launcher-exec", str(self._shell), "-iface", "eth0"]
        command = launchers.mpirun_command(
            starter,
            open_mpi,
            sum(ranks),
            1,
            settings,
            hostfile=str(self._hostfile),
            extra=["--map-by", "slot", "--bind-to", "none"] if open_mpi else hydra,
        )
        command += [sys.executable, str(script), *args]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER)}
        start = time.perf_counter()
        done = subprocess.run(
            [str(self._shell), self.names[0], shlex.join(command)],
            env=environment | settings,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr, time.perf_counter() - start)

    def on(self, name: str, command: str) -> Sequence[str]:
        """Return what runs a shell's command on a host."""
        return [str(self._shell), name, command]

    def _space(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def _make(self, space: str) -> None:
        call("ip", "netns", "add", space)
        self._made.append(space)


def _bucket(rate: str) -> Sequence[str]:
    return f"root tbf rate {rate} burst 256kb latency 50ms".split()


_PROBE = f"""
hostname probe
mount --bind /etc/hosts /etc/hosts
ip link add bridge type bridge
ip link add port type veth peer name eth0
tc qdisc replace dev port {" ".join(_bucket("1gbit"))}
"""
"""What is done with the hosts, in namespaces that are gone at once."""


@contextlib.contextmanager
def hosts(count: int, rate: str, folder: Path) -> Iterator[Hosts]:
    """Have hosts for a while; skips the test, with the reason, where there can be none."""
    mpirun(count)
    if os.geteuid():
        pytest.skip("only root can make hosts of this machine's namespaces")
    for command, package in _COMMANDS.items():
        if shutil.which(command) is None:
            pytest.skip(f"{command} is not installed (Debian's package {package})")
    try:
        call("unshare", "--net", "--uts", "--mount", "sh", "-ec", _PROBE)
    except OSError as error:
        pytest.skip(f"this machine does not allow hosts of namespaces: {error}")
    made = Hosts(count, rate, folder)
    try:
        made.up()
        yield made
    finally:
        made.down()
