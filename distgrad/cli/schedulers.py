"""What is known of the schedulers that ``distgrad submit`` writes jobs for, in one table.

A job's text is a template of ``jobs/`` with its values put in. A line that holds ``@value@`` is
left out where the value is None and repeated where it is a list. Who starts ranks inside a job, and
how, is ``comm/launchers.py``'s.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from distgrad.errors import LaunchError

Value = str | Sequence[str] | None

WARNING = 120
"""Seconds before the time limit at which a job is told to save and to go back to the queue."""

ETHERNET = (
    "# Plain Ethernet: skips the probing for fast networks. Where there is InfiniBand, "
    "take it out.",
    "export OMPI_MCA_pml=ob1 OMPI_MCA_btl=^ofi,uct,openib,usnic,smcuda",
)
_PLACEHOLDER = re.compile(r"@(\w+)@")
_TIMED = "timed.sh"
"""How a job runs its ranks and ends where the scheduler gives no warning that ranks survive."""


@dataclass(frozen=True)
class Job:
    """What is to be started: how large, for how long, and what it runs."""

    name: str
    ranks: int
    nodes: int
    seconds: int
    program: Sequence[str]
    """What Python is to run and its arguments, in which {checkpoint}, {job} and {task} stand for
    the job's own."""
    head: Sequence[str]
    """The comment at the top of the file, without its marks."""
    bin: str
    """The folder with python and distgrad, as the shell reads it."""
    distgrad: str = "distgrad"
    """How distgrad is called with that folder on PATH."""
    threads: int | None = None
    """BLAS threads of a rank; None leaves them to ``distgrad run``."""
    array: str | None = None
    queue: str | None = None
    account: str | None = None
    memory: str | None = None
    environment: str = "mpi"
    """Grid Engine's parallel environment."""
    image: str | None = None
    options: Sequence[str] = ()
    setup: Sequence[str] = ()
    ethernet: bool = True
    more: Sequence[str] = field(default=())
    """Shell words that stand after the program's arguments as they are: '"$@"'."""
    arguments: Sequence[str] | None = None
    """Lines of the shell that set $@, where the scheduler passes no arguments."""
    chain: Sequence[str] = ()
    """How a further part of a long training is queued."""

    @property
    def ranks_per_node(self) -> int:
        """Ranks on each node; all have as many."""
        return self.ranks // self.nodes

    @property
    def cores_per_node(self) -> int:
        """Cores that the ranks of a node need."""
        return self.ranks_per_node * (self.threads or 1)


@dataclass(frozen=True)
class Scheduler:
    """A scheduler: how a job is written for it, given to it, and found again."""

    name: str
    template: str
    suffix: str
    """What the name of a job's file ends with."""
    command: Sequence[str]
    """Takes the job's file as its last word, or on its standard input."""
    reads_input: bool
    answer: str
    """A pattern: where in the command's answer the job's number is, or its name."""
    output: str
    """The file with what the job prints, or the command that shows it; {name}, {job} are its."""
    outputs: str
    """The same of an array."""
    look: str
    cancel: str
    job: str
    """The number that stays when a job is put back, as the shell of the job reads it."""
    task: str
    """An array's task number, in the same way."""
    values: Callable[[Job], Mapping[str, Value]]
    """What the template asks for beyond what all ask for."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Options that it cannot be asked for, and what to do instead."""


def write(scheduler: Scheduler, job: Job) -> str:
    """Return the text of a job: a script for the scheduler's shell, or a manifest."""
    common: dict[str, Value] = {
        "head": [f"# {line}".rstrip() for line in job.head],
        "chain": [f"# {line}".rstrip() for line in job.chain],
        "name": job.name,
        "nodes": str(job.nodes),
        "ranks": str(job.ranks),
        "ranks_per_node": str(job.ranks_per_node),
        "cores_per_node": str(job.cores_per_node),
        "threads": str(job.threads or 1),
        "time": clock(job.seconds),
        "seconds": str(job.seconds),
        "soft_seconds": str(job.seconds - WARNING),
        "array": job.array,
        "queue": job.queue,
        "account": job.account,
        "memory": job.memory,
        "option": job.options,
        "setup": job.setup,
        "bin": job.bin,
        "network": ETHERNET if job.ethernet else None,
        "if_ethernet": "" if job.ethernet else None,
        "if_queue": "" if job.queue else None,
        "if_checkpoint": "" if any("{checkpoint}" in word for word in job.program) else None,
        "run": f"{job.distgrad} run" + (f" --threads {job.threads}" if job.threads else ""),
        "arguments": job.arguments,
        "program": _shell_words(scheduler, job),
    }
    values = common | dict(scheduler.values(job))
    if "hostfile" in values:
        values["timed"] = _fill(_template(_TIMED), values).splitlines()
    return _fill(_template(scheduler.template), values)


def _template(name: str) -> str:
    return (files("distgrad.cli") / "jobs" / name).read_text(encoding="utf-8")


def _fill(template: str, values: Mapping[str, Value]) -> str:
    lines = []
    for line in template.splitlines():
        names = _PLACEHOLDER.findall(line)
        if any(values[name] is None for name in names):
            continue
        several = [name for name in names if not isinstance(values[name], str)]
        assert len(several) <= 1, line
        if several:
            lines += [line.replace(f"@{several[0]}@", text) for text in values[several[0]] or ()]
        else:
            lines.append(_PLACEHOLDER.sub(lambda match: str(values[match[1]]), line))
    return "\n".join(lines) + "\n"


def _shell_words(scheduler: Scheduler, job: Job) -> str:
    """Return the program for the job's shell: one line, or two if that is too long for one."""
    known = {"{checkpoint}": '"$checkpoint"', "{job}": scheduler.job}
    if job.array:
        known["{task}"] = scheduler.task
    words = [_shell_word(word, known) for word in job.program] + [*job.more]
    first = 2 if words[0] == "-m" else 1
    lines = [" ".join(words[:first]), " ".join(words[first:])]
    return " \\\n    ".join(line for line in lines if line)


def _shell_word(word: str, known: Mapping[str, str]) -> str:
    parts = re.split("|".join(f"({re.escape(name)})" for name in known), word)
    parts = [part for part in parts if part]
    return "".join(known.get(part) or shlex.quote(part) for part in parts) or "''"


def clock(seconds: int) -> str:
    """Return a time as hours:minutes:seconds, which Slurm, PBS and Grid Engine read."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


# -- the table ---------------------------------------------------------------------------------


def _slurm(job: Job) -> Mapping[str, Value]:
    return {"output": f"slurm-%x-{'%A_%a' if job.array else '%j'}.log"}


def _pbs(job: Job) -> Mapping[str, Value]:
    return {
        "chunk_memory": f":mem={job.memory.lower()}b" if job.memory else "",
        "limit": "walltime",
        "hostfile": '"$PBS_NODEFILE"',
        "count": '"$(wc -l <"$PBS_NODEFILE")"',
    }


def _lsf(job: Job) -> Mapping[str, Value]:
    return {
        "element": f'"{job.name}[{job.array}]"' if job.array else job.name,
        "affinity": str(job.threads) if job.threads else None,
        "time": f"{job.seconds // 3600}:{job.seconds // 60 % 60:02}",
        "limit": "-W",
        "hostfile": '"$LSB_DJOB_HOSTFILE"',
        "count": '"$LSB_DJOB_NUMPROC"',
    }


def _grid_engine(job: Job) -> Mapping[str, Value]:
    threads = job.threads or 1
    alone = threads == 1
    return {
        "environment": job.environment,
        "slots": str(job.ranks * threads),
        "slots_of_a_host": "$2" if alone else f"int($2 / {threads})",
        "limit": "h_rt",
        "hostfile": '"$hosts"',
        "count": '"$NSLOTS"' if alone else f"$((NSLOTS / {threads}))",
    }


def _kubernetes(job: Job) -> Mapping[str, Value]:
    threads = ["--threads", str(job.threads)] if job.threads else []
    words = ["/usr/local/bin/distgrad", "run", *threads, "--hostfile", "/etc/mpi/hostfile"]
    known = {"{checkpoint}": f"/checkpoints/{job.name}", "{job}": job.name}
    for word in ["-n", str(job.ranks), *job.program]:
        words.append(re.sub(r"\{checkpoint\}|\{job\}", lambda match: known[match[0]], word))
    return {
        "word": [_yaml_word(word) for word in words],
        "image": job.image,
        "memory": f"{job.memory}i" if job.memory else "4Gi",
    }


def _yaml_word(word: str) -> str:
    """Return a string of YAML; quoted where it would be read as something else."""
    plain = re.fullmatch(r"[A-Za-z/-][\w./-]*", word) and "--" != word != "-"
    spelled = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
    return word if plain and word.lower() not in spelled else json.dumps(word)


_BY_OPTION = "write it as your site does: --option='{}'"

SCHEDULERS = {
    "slurm": Scheduler(
        name="Slurm",
        template="slurm.sbatch",
        suffix=".sbatch",
        command=("sbatch", "--parsable"),
        reads_input=False,
        answer=r"^(\d+)",
        output="slurm-{name}-{job}.log",
        outputs="slurm-{name}-{job}_*.log",
        look="squeue --jobs={job}",
        cancel="scancel {job}",
        job='"${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}"',
        task='"$SLURM_ARRAY_TASK_ID"',
        values=_slurm,
    ),
    "pbs": Scheduler(
        name="PBS",
        template="pbs.sh",
        suffix=".pbs",
        command=("qsub",),
        reads_input=False,
        answer=r"^(\d+)",
        output="{name}.o{job}",
        outputs="{name}.o{job}.*",
        look="qstat {job}",
        cancel="qdel {job}",
        job='"${PBS_JOBID/\\[*\\]/}"',
        task='"$PBS_ARRAY_INDEX"',
        values=_pbs,
    ),
    "lsf": Scheduler(
        name="LSF",
        template="lsf.sh",
        suffix=".lsf",
        command=("bsub",),
        reads_input=True,
        answer=r"Job <(\d+)>",
        output="{name}-{job}.0.log",
        outputs="{name}-{job}.*.log",
        look="bjobs {job}",
        cancel="bkill {job}",
        job='"$LSB_JOBID"',
        task='"$LSB_JOBINDEX"',
        values=_lsf,
        refused={"memory": _BY_OPTION.format('-R "rusage[mem=4096]"')},
    ),
    "sge": Scheduler(
        name="Grid Engine",
        template="gridengine.sh",
        suffix=".sge",
        command=("qsub", "-terse"),
        reads_input=False,
        answer=r"^(\d+)",
        output="{name}.o{job}",
        outputs="{name}.o{job}.*",
        look="qstat -j {job}",
        cancel="qdel {job}",
        job='"$JOB_ID"',
        task='"$SGE_TASK_ID"',
        values=_grid_engine,
        refused={
            "nodes": "the parallel environment says how slots are spread: --parallel-environment",
            "memory": _BY_OPTION.format("-l h_vmem=4G"),
        },
    ),
    "k8s": Scheduler(
        name="Kubernetes",
        template="kubernetes-mpijob.yaml",
        suffix=".yaml",
        command=("kubectl", "apply", "--filename"),
        reads_input=False,
        answer=r"mpijob\S*/(\S+) created",
        outputs="",
        output="kubectl logs --follow job/{job}-launcher",
        look="kubectl get mpijob {job}",
        cancel="kubectl delete mpijob {job}",
        job="",
        task="",
        values=_kubernetes,
        refused={
            "array": "submit a job for each task, with --name and arguments of its own",
            "account": "the namespace stands for it: kubectl config set-context --current",
            "option": "change the manifest: --dry-run prints it, kubectl apply takes it",
            "setup": "it belongs into the image: launch/Dockerfile",
        },
    ),
}


def refuse(scheduler: Scheduler, given: Mapping[str, object]) -> None:
    """Refuse options that the scheduler cannot be asked for. Errors: LaunchError."""
    own = {"image": "Kubernetes", "parallel_environment": "Grid Engine"}
    for name, value in given.items():
        spelled = f"--{name.replace('_', '-')}"
        if value and name in scheduler.refused:
            raise LaunchError(f"{scheduler.name} takes no {spelled}: {scheduler.refused[name]}")
        if value and own.get(name, scheduler.name) != scheduler.name:
            raise LaunchError(
                f"{spelled} is {own[name]}'s; {scheduler.name} has none, leave it out"
            )
