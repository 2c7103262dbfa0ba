"""``distgrad doctor``: what is wrong with this machine, or between these ranks, and what to type.

Every check stands by itself: one that fails, hangs or ends its process is a finding like others.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from distgrad.cli import doctor_compute as compute
from distgrad.cli import doctor_files as files
from distgrad.cli import doctor_machine as machine
from distgrad.cli import doctor_mpi as mpi
from distgrad.cli import doctor_network as network
from distgrad.cli import doctor_ranks as ranks
from distgrad.cli import doctor_report as report
from distgrad.cli import job, run
from distgrad.cli.doctor_finding import (
    PROBLEM,
    Check,
    Finding,
    examine,
    examine_here,
    one_line,
    problem,
)
from distgrad.cli.outputs import check_outputs
from distgrad.comm import Communicator, connect, launchers
from distgrad.comm.cluster import look
from distgrad.errors import DistgradError, LaunchError

HELP = "say what is wrong with this machine or between ranks, and what to type"

_MARK = "distgrad-doctor:"
"""Begins the lines by which rank 0 tells the process that started the job."""
_JOIN = 60.0  # seconds in which all ranks have to come
_SHOWN = 8  # lines of what a job has said that does not start
_JOB = 300.0  # seconds in which all has to be measured
_STDOUT = "-"

PER_RANK: dict[str, Check] = {
    "versions": machine.look_at_versions,
    "variables": machine.look_at_variables,
    "cores": machine.look_at_cores,
    "BLAS": compute.look_at_blas,
}
"""What may differ from process to process."""
PER_HOST: dict[str, Check] = {
    "memory": machine.look_at_memory,
    "clock": machine.look_at_the_clock,
    "kernels": compute.look_at_kernels,
    "convolution": compute.look_at_convolution,
    "shared memory": files.look_at_shared_memory,
    "tunings": files.look_at_tunings,
}
"""What all processes of a host have in common: its first rank looks."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("-n", "-np", type=int, metavar="N", help="look from N ranks, too")
    parser.add_argument(
        "--checkpoints",
        default=".",
        metavar="FOLDER",
        help="where checkpoints are to go (default: this folder)",
    )
    parser.add_argument(
        "--json",
        nargs="?",
        const=_STDOUT,
        metavar="FILE",
        help="write JSON for a bug report, there or in place of the text; it names no user or host",
    )
    parser.add_argument("--as-ranks", action="store_true", help=argparse.SUPPRESS)
    run.add_launch_options(parser)


def work(options: argparse.Namespace) -> int:
    """Look, and return 1 if there is a problem."""
    check_outputs(None if options.json == _STDOUT else options.json, None)
    if options.as_ranks or launchers.started(os.environ) is not None:
        return _in_a_job(options)
    if options.n is None and options.hostfile is not None:
        options.parser.error("--hostfile needs -n N: how many ranks all its hosts are to have")
    if options.n is not None:
        job.check_ranks(options)
    if options.dry_run:
        options.n = options.n or launchers.cores()
        return run.start(options, _as_ranks(options))
    say = _Say(options)
    for name, check in _checks_of_a_process(options, is_first=True).items():
        say(examine(name, check))
    say(examine("MPI", mpi.look_at_mpi))
    if options.hostfile is not None:
        say(examine("hosts", partial(mpi.look_at_hosts, options.hostfile)))
    if options.n is not None:
        _start_ranks(options, say)
    return say.end()


class _Say:
    """Shows findings as they come, or writes them at the end."""

    def __init__(self, options: argparse.Namespace, is_silent: bool = False) -> None:
        self._json, self._is_silent = options.json, is_silent
        self.findings: list[Finding] = []
        self.hosts: list[str] = [os.uname().nodename]

    def __call__(self, found: Sequence[Finding]) -> None:
        self.findings += found
        if self._json != _STDOUT and not self._is_silent:
            for finding in found:
                print(report.line_of(finding), flush=True)

    def end(self) -> int:
        """Write what has to be, and return the exit status."""
        if not self._is_silent:
            text = json.dumps(report.as_json(self.findings, self.hosts), indent=2)
            if self._json == _STDOUT:
                print(text)
            else:
                print(f"\n{report.last_line(self.findings)}")
            if self._json not in (None, _STDOUT):
                Path(self._json).write_text(text + "\n")
        return int(any(finding.state == PROBLEM for finding in self.findings))


def _checks_of_a_process(options: argparse.Namespace, is_first: bool) -> dict[str, Check]:
    if not is_first:
        return PER_RANK
    checkpoints = partial(files.look_at_checkpoints, options.checkpoints)
    return PER_RANK | PER_HOST | {"checkpoints": checkpoints}


# -- from outside: start a job and listen -----------------------------------------------------


def _as_ranks(options: argparse.Namespace) -> list[str]:
    words = ["doctor", "--as-ranks", "--checkpoints", options.checkpoints]
    return [sys.executable, "-m", "distgrad", *words]


def _start_ranks(options: argparse.Namespace, say: _Say) -> None:
    """Start ranks as ``distgrad run`` does, and say what they find or why they do not."""
    hosts = f" --hostfile {shlex.quote(options.hostfile)}" if options.hostfile else ""
    cure = f"distgrad run -n {options.n}{hosts} -m distgrad doctor  # shows all that mpirun says"
    try:
        command, environment, _ = run.prepare(options, _as_ranks(options))
        told = _collect(command, {**os.environ, **environment})
    except (LaunchError, OSError) as error:
        say([_of_ranks(str(error), cure)])
        return
    here = {(f.check, f.text) for f in say.findings}
    for line in told.lines:
        say.hosts += line["hosts"]
        found = [Finding(**fields) for fields in line["findings"]]
        say([f for f in found if (f.check, f.text.removeprefix(report.ALL)) not in here])
    sizes = {line["size"] for line in told.lines}
    if sizes and sizes != {options.n}:
        text = f"mpirun started {options.n} processes, each of which sees {max(sizes)} rank(s)"
        say([_of_ranks(f"{text}: it is another MPI's than mpi4py's", cure)])
    elif told.fault:
        say([_of_ranks(told.fault, cure)])


def _of_ranks(text: str, cure: str) -> Finding:
    return replace(problem(one_line(text, 900), cure), check="ranks")


class _Told:
    """What came of a job: the lines that rank 0 has told, and what went wrong."""

    def __init__(self, out: str, err: str, status: int | None) -> None:
        at = [line.partition(_MARK)[2] for line in out.splitlines() if _MARK in line]
        self.lines: list[dict[str, Any]] = [json.loads(text) for text in at]
        self.fault = ""
        is_whole = any(line["last"] for line in self.lines)
        if status is None:
            self.fault = f"the ranks have not come to an end in {_JOB:.0f} s"
        elif status or not is_whole:
            self.fault = f"the ranks ended with status {status}"
        if self.fault:
            said = [line for line in err.splitlines() if line.strip(" -*=")]
            if len(said) > _SHOWN:  # mpirun says first what it is, a rank last
                said = [*said[: _SHOWN // 2], "…", *said[-_SHOWN // 2 :]]
            self.fault += f": {' '.join(said)}" if said else ""


def _collect(command: Sequence[str], environment: dict[str, str]) -> _Told:
    """Run mpirun to its end, or to the end of patience."""
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        try:
            out, err = process.communicate(timeout=_JOB)
            return _Told(out, err, process.returncode)
        except subprocess.TimeoutExpired:
            process.terminate()  # mpirun ends its ranks
            try:
                out, err = process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
            return _Told(out, err, None)
        except BaseException:
            process.terminate()
            raise


# -- in a job: every rank looks, rank 0 tells -------------------------------------------------


def _in_a_job(options: argparse.Namespace) -> int:
    """Look from every rank; return the exit status of this one."""
    first = launchers.first_of_node(os.environ)
    mine = []
    for name, check in _checks_of_a_process(options, first).items():
        mine += examine(name, check)
    since = perf_counter()
    transport = connect(timeout=_JOIN)
    comm = Communicator(transport, timeout=_JOIN)
    seconds = perf_counter() - since
    return examine_job(options, comm, mine, seconds)


def examine_job(
    options: argparse.Namespace, comm: Communicator, mine: list[Finding], seconds: float
) -> int:
    """Compare what the ranks have found, measure what joins them; collective."""
    is_told = options.as_ranks
    shown = [report.cleaned(f) for f in mine] if is_told or options.json else mine
    everyone = ranks.gather(comm, shown)
    cluster = look(comm)
    say = _Say(options, is_silent=is_told or comm.rank > 0)
    tell = partial(_tell, comm, [rank.host for rank in everyone]) if is_told else None
    say.hosts += [rank.host for rank in everyone]
    here = [] if is_told else shown
    say(here)
    compared: dict[str, Callable[[], Any]] = {
        "ranks": partial(ranks.who_is_there, everyone, cluster, seconds),
        "same": partial(ranks.whats_different, everyone),
        "binding": partial(ranks.which_cores, everyone),
        "shared memory": partial(ranks.who_shares_memory, everyone),
        "eager limits": partial(ranks.what_waits, os.environ, cluster),
    }
    if len({rank.host for rank in everyone}) == 1:
        del compared["eager limits"]
    found = [f for name, check in compared.items() for f in examine_here(name, check)]
    found += report.of_ranks(everyone, here)
    say(found)
    if tell is not None:
        tell(found, last=False)  # what is measured next may end the job
    measured = {
        "sums": ranks.how_fast_sums_are,
        "clocks": ranks.how_far_clocks_are,
        "network": network.how_fast_the_network_is,
    }
    found = []
    for name, measure in measured.items():
        found += examine_here(name, partial(measure, comm))
        if any(f.state == PROBLEM and "the check itself" in f.text for f in found):
            break  # the ranks may not be in step any more
    say(found)
    if tell is not None:
        tell(found, last=True)
        return 0
    return say.end() if comm.rank == 0 else 0


def _tell(comm: Communicator, hosts: list[str], found: Sequence[Finding], *, last: bool) -> None:
    """Print a line for the process that has started the job."""
    if comm.rank:
        return
    fields = [vars(finding) for finding in found]
    line = {"size": comm.size, "hosts": hosts, "last": last, "findings": fields}
    try:
        print(_MARK + json.dumps(line), flush=True)
    except OSError as error:
        raise DistgradError(f"what the ranks found cannot be told: {error}") from error
