"""``distgrad submit``: writes a job for a cluster's scheduler, shows it, and hands it over."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from distgrad import __version__
from distgrad.cli import job as program
from distgrad.cli.schedulers import SCHEDULERS, WARNING, Job, Scheduler, clock, refuse, write
from distgrad.errors import LaunchError

HELP = "write a job for a cluster's scheduler and hand it over"

_SHORTEST = 300
_MARK = "Written by distgrad"
_EPILOG = """\
In the program's arguments {checkpoint} is a folder of the job's own, which it finds again when it
is put back in the queue; {job} is the job's number and {task} that of a task of --array.

  distgrad submit -n 8 --nodes 2 --time 2h -- train.py --checkpoint {checkpoint} --resume
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("--scheduler", choices=SCHEDULERS, help="default: the one whose commands are found here")
    add("--dry-run", action="store_true", help="print the job, submit nothing")
    add("-o", "--file", metavar="FILE", help="where the job is written (default: NAME.sbatch, …)")
    add("--nodes", type=int, metavar="N", help="nodes that share the ranks (default: 1)")
    add("--threads", type=int, metavar="T", help="cores and BLAS threads of a rank (default: 1)")
    add(
        "--time",
        type=_seconds,
        metavar="T",
        default=3600,
        help="limit: 90m, 2h, 1d, minutes, or H:MM:SS (default: 1h)",
    )
    add("--memory", type=_memory, metavar="M", help="of each node: 4G")
    add("--array", type=_array, metavar="A-B", help="a job for each number from A to B")
    add("--queue", "--partition", type=_word, metavar="Q", help="the site's queue or partition")
    add("--account", type=_word, metavar="A", help="the account (or project) that pays")
    add("--name", type=_name, help="the job's name (default: the script's)")
    add(
        "--option",
        action="append",
        metavar="TEXT",
        help="a further line for the scheduler, as it spells it: --option=--exclusive",
    )
    add(
        "--setup",
        action="append",
        metavar="COMMAND",
        help="run in the job before all else: --setup 'module load openmpi'",
    )
    add("--fast-network", action="store_true", help="InfiniBand or the like: MPI chooses")
    add("--parallel-environment", type=_word, metavar="PE", help="Grid Engine's (default: mpi)")
    add("--image", metavar="IMAGE", help="Kubernetes' container image")
    program.add_options(parser)


def work(options: argparse.Namespace) -> int:
    """Write the job and submit it, or print it; return the exit status."""
    _take_double_dash_away(options)
    key = options.scheduler or _found()
    scheduler = SCHEDULERS[key]
    if key == "k8s":  # the image has the script
        program.check_ranks(options)
        if options.script is None and not options.module:
            options.parser.error("name a script (or -m and a module) that the image has")
    else:
        program.check(options)
    job = _job(options, key, scheduler)
    text = write(scheduler, job)
    if options.dry_run:
        print(text, end="")
        return 0
    if shutil.which(scheduler.command[0]) is None:
        raise LaunchError(
            f"{scheduler.command[0]} is not installed here, so {scheduler.name} cannot be given "
            "the job: submit where it is, or print the job with --dry-run and take it there"
        )
    path = _file(options, scheduler, job)
    path.write_text(text, encoding="utf-8")
    number = _submit(scheduler, path, job)
    _tell(scheduler, job, path, number)
    return 0


def _take_double_dash_away(options: argparse.Namespace) -> None:
    if options.script == "--":
        options.script, *options.args = options.args or [None]
    elif options.args[:1] == ["--"] and options.script is None:
        options.script, *options.args = options.args[1:] or [None]


def _found() -> str:
    """Return which scheduler is here, and say so. Errors: LaunchError."""
    # sbatch first: Slurm comes with a qsub, too. qsub is PBS's as well as Grid Engine's.
    places = (("slurm", "sbatch"), ("lsf", "bsub"), ("sge", "qconf"), ("pbs", "qsub"))
    for key, command in (*places, ("k8s", "kubectl")):
        if shutil.which(command):
            name = SCHEDULERS[key].name
            text = f"{name}, as {command} is installed here; --scheduler takes another"
            print(f"distgrad submit: {text}", file=sys.stderr, flush=True)
            return key
    commands = ", ".join(command for _, command in places)
    raise LaunchError(
        f"no scheduler was found: none of {commands}, kubectl is installed here; submit where one "
        "is, or print a job with --dry-run --scheduler " + "|".join(SCHEDULERS)
    )


def _job(options: argparse.Namespace, key: str, scheduler: Scheduler) -> Job:
    names = ("nodes", "memory", "array", "account", "option", "setup", "parallel_environment")
    refuse(scheduler, {name: getattr(options, name) for name in (*names, "image")})
    nodes = 1 if options.nodes is None else options.nodes
    if nodes < 1 or options.n % nodes:
        raise LaunchError(
            f"-n {options.n} --nodes {nodes}: every node gets as many ranks, so -n has to be a "
            "multiple of --nodes"
        )
    if options.threads is not None and options.threads < 1:
        raise LaunchError(f"--threads {options.threads}: a rank needs at least one thread")
    if key == "k8s" and not options.image:
        raise LaunchError("Kubernetes needs --image: build one with launch/Dockerfile and push it")
    words, python = program.program(options), Path(sys.executable)
    name = options.name or _name_of(words)
    file = f"{name}{scheduler.suffix}" if options.file is None else options.file
    folder = "-v CHECKPOINT=checkpoints/mine " if "{checkpoint}" in str(words) else ""
    return Job(
        name=name.lower().replace("_", "-").replace(".", "-") if key == "k8s" else name,
        ranks=options.n,
        nodes=nodes,
        seconds=options.time,
        program=words,
        head=[
            f"{_MARK} {__version__}, in {os.getcwd()}:",
            "",
            *("  " + line for line in shlex.join(["distgrad", *options.words]).splitlines()),
        ],
        bin=shlex.quote(str(python.parent)),
        # Of `pip install --user` the command lies elsewhere.
        distgrad=(
            "distgrad" if (python.parent / "distgrad").exists() else f"{python.name} -m distgrad"
        ),
        threads=options.threads,
        array=options.array,
        queue=options.queue,
        account=options.account,
        memory=options.memory,
        environment=options.parallel_environment or "mpi",
        image=options.image,
        options=options.option or (),
        setup=options.setup or (),
        ethernet=not options.fast_network,
        chain=[
            f"  first=$(qsub {folder}{shlex.quote(file)})",
            f"  qsub {folder}-W depend=afternotok:$first {shlex.quote(file)}",
        ],
    )


def _name_of(words: list[str]) -> str:
    last = words[1].rpartition(".")[2] if words[0] == "-m" else Path(words[0]).stem
    name = re.sub(r"[^\w.-]", "-", last, flags=re.ASCII)
    return name if name[:1].isalpha() else f"job-{name}"


def _file(options: argparse.Namespace, scheduler: Scheduler, job: Job) -> Path:
    """Return where the job is to be written; what is no job of ours stays. Errors: LaunchError."""
    path = Path(options.file or f"{job.name}{scheduler.suffix}")
    if path.is_dir() or not path.parent.is_dir():
        raise LaunchError(f"cannot write the job to '{path}': name a file with --file")
    if path.exists() and _MARK not in path.read_text(encoding="utf-8", errors="replace"):
        raise LaunchError(
            f"'{path}' is there, and not of `distgrad submit`: name another file with --file"
        )
    return path


def _submit(scheduler: Scheduler, path: Path, job: Job) -> str:
    """Hand the job over and return its number. Errors: LaunchError, with the scheduler's words."""
    command = [*scheduler.command] if scheduler.reads_input else [*scheduler.command, str(path)]
    done = subprocess.run(
        command,
        input=path.read_text(encoding="utf-8") if scheduler.reads_input else None,
        capture_output=True,
        text=True,
        check=False,
    )
    said = (done.stdout + done.stderr).strip()
    if done.returncode:
        raise LaunchError(
            f"{command[0]} did not take the job (status {done.returncode}); it says:\n{said}\n"
            f"The job is in {path}; `distgrad submit` writes it again with other options"
        )
    found = re.search(scheduler.answer, done.stdout, re.MULTILINE)
    if found is None and scheduler is SCHEDULERS["k8s"]:
        raise LaunchError(
            f"there is a job '{job.name}' already, and kubectl says:\n{said}\n"
            f"Take another --name, or first {scheduler.cancel.format(job=job.name)}"
        )
    if found is None:
        raise LaunchError(f"{command[0]} took {path}, but its answer has no job number:\n{said}")
    return found[1]


def _tell(scheduler: Scheduler, job: Job, path: Path, number: str) -> None:
    nodes = "1 node" if job.nodes == 1 else f"{job.nodes} nodes"
    size = f"{job.ranks} ranks" if scheduler is SCHEDULERS["sge"] else f"{nodes}, {job.ranks} ranks"
    tasks = f", tasks {job.array}" if job.array else ""
    output = (scheduler.outputs if job.array else scheduler.output).format(
        name=job.name, job=number
    )
    is_file = scheduler is not SCHEDULERS["k8s"]
    print(f"{scheduler.name} job {number} ({job.name}): {size}, {clock(job.seconds)}{tasks}")
    print(f"  job     {path.absolute()}")
    print(f"  output  {Path(output).absolute() if is_file else output}")
    print(f"  state   {scheduler.look.format(job=number)}")
    print(f"  cancel  {scheduler.cancel.format(job=number)}")


# -- what options are made of ------------------------------------------------------------------


def _seconds(text: str) -> int:
    units = {"m": 60, "h": 3600, "d": 86400}
    if found := re.fullmatch(r"(\d+)([mhd]?)", text):
        seconds = int(found[1]) * units[found[2] or "m"]
    elif found := re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", text):
        days, hours, minutes, rest = (int(part or 0) for part in found.groups())
        seconds = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    else:
        hint = f"; is it {text}:00 or 0:{text}?" if re.fullmatch(r"\d+:\d\d", text) else ""
        raise argparse.ArgumentTypeError(
            f"'{text}' is no time: 90m, 2h, 1d, minutes, or H:MM:SS{hint}"
        )
    if seconds < _SHORTEST:
        raise argparse.ArgumentTypeError(
            f"'{text}' is {seconds} s: at least 5 minutes, as the last {WARNING // 60} are for the "
            "checkpoint"
        )
    return seconds


def _memory(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*[MGT]", text):
        raise argparse.ArgumentTypeError(f"'{text}' is no size of memory: 512M, 4G, 1T")
    return text


def _array(text: str) -> str:
    found = re.fullmatch(r"(\d+)-(\d+)", text)
    if not found or not 0 < int(found[1]) < int(found[2]):
        raise argparse.ArgumentTypeError(f"'{text}' is no range of tasks: 1-4")
    return text


def _word(text: str) -> str:
    if not re.fullmatch(r"[^\s@]+", text):
        raise argparse.ArgumentTypeError(f"'{text}' has to be one word")
    return text


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][\w.-]*", text, flags=re.ASCII):
        raise argparse.ArgumentTypeError(
            f"'{text}' is no name that all schedulers take: a letter, then letters, digits, . _ -"
        )
    return text
