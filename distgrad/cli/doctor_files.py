"""``distgrad doctor`` on files: shared memory, the folder of checkpoints, the file of tunings."""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import perf_counter

from distgrad.checkpoint import folders
from distgrad.cli.bench_report import size_name
from distgrad.cli.doctor_finding import Finding, note, ok, problem
from distgrad.comm import shared_memory, tuning
from distgrad.files import replacing, shown
from distgrad.observe.durations import spell_seconds

NETWORK = {
    *("nfs", "nfs4", "lustre", "gpfs", "beegfs", "beegfs_nodev", "cifs", "smb3", "smbfs", "ceph"),
    *("9p", "afs", "panfs", "orangefs", "pvfs2", "glusterfs", "fuse.glusterfs", "fuse.sshfs"),
    *("fuse.ceph", "fuse.juicefs", "fuse.s3fs", "virtiofs", "wekafs", "ncpfs", "coda"),
}
"""File systems that several hosts share, by the names of mount(8)."""
PASSING = {"tmpfs": "after a restart", "ramfs": "after a restart", "overlay": "with its container"}
"""File systems whose files are gone, and when."""

_MOUNTS = Path("/proc/self/mountinfo")
_SEGMENT = 1 << 24  # bytes that a rank of Open MPI 5 wants in shared memory
_SCARCE = 1 << 28  # bytes there, below which gradients of a middling model find no room
_TRIAL = 1 << 22  # bytes of the file that is written
_LITTLE = 1 << 30  # bytes on a disk
_SHM_CURE = "sudo mount -o remount,size=50% /dev/shm  # in a container: docker run --shm-size=2g"
# What jobs leave there: MPICH's and Open MPI's names and our own; the number is the user's.
_LEFT = "mpich_shm_*", "vader_segment.*", "sm_segment.*", "distgrad-{uid}-*"


def kind_of(folder: Path) -> tuple[str, str]:
    """Return the type of the file system that holds ``folder``, and where it is mounted."""
    best = Path("/"), "unknown"
    for line in _MOUNTS.read_text().splitlines():
        mounted, _, source = line.partition(" - ")
        place = Path(re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), mounted.split()[4]))
        # Of two in one place the later one is seen.
        if folder.is_relative_to(place) and len(place.parts) >= len(best[0].parts):
            best = place, source.split()[0]
    return best[1], str(best[0])


# -- shared memory ----------------------------------------------------------------------------


def look_at_shared_memory() -> Iterator[Finding]:
    """Say whether the ranks of this node can share memory, and how much of it there is."""
    folder = shared_memory.FOLDER
    slow = "ranks of this node talk through MPI instead, slower"
    if platform.machine() not in ("x86_64", "AMD64"):
        text = f"memory is not shared on {platform.machine()}, which reorders stores: {slow}"
        yield ok(text)
        return
    if not folder.is_dir():
        yield problem(f"there is no {folder}: {slow}", f"sudo mount -t tmpfs tmpfs {folder}")
        return
    if not shared_memory.place():
        cure = f"sudo chmod 1777 {folder}"
        yield problem(f"{folder} cannot be written by this user: {slow}", cure)
        return
    usage = shutil.disk_usage(folder)
    kind, _ = kind_of(folder)
    text, figures = (
        f"{folder} ({kind}) of {size_name(usage.total)}",
        f"{size_name(usage.free)} free",
    )
    if usage.free < _SEGMENT:
        text += f" is full or too small: Open MPI takes {size_name(_SEGMENT)} a rank, or TCP"
        yield problem(text, _SHM_CURE, figures)
    elif usage.free < _SCARCE:
        yield note(f"{text} has little room for gradients", _SHM_CURE, figures)
    else:
        yield from _use_it(text, figures)
    yield from _leftovers(folder)


def _use_it(text: str, figures: str) -> Iterator[Finding]:
    """Make a piece of shared memory as ranks do, and look whether it is one."""
    name = shared_memory.new_name()
    try:
        mine = shared_memory.create(name, _TRIAL)
        try:
            theirs = shared_memory.attach(name, _TRIAL)
        finally:
            shared_memory.unlink(name)
    except OSError as error:
        yield problem(f"{text} cannot be used: {error.strerror or error}", _SHM_CURE, figures)
        return
    mine[:4] = b"seen"
    if bytes(theirs[:4]) == b"seen":
        yield ok(f"{text} is shared by the ranks of this node", figures)
    else:
        yield problem(f"{text} does not show one process what another writes", _SHM_CURE, figures)


def _leftovers(folder: Path) -> Iterator[Finding]:
    """Name files of jobs that ended badly; those that a process has mapped are in use."""
    used = _mapped(folder)
    for pattern in (p.format(uid=os.getuid()) for p in _LEFT):
        found = [(p, p.stat()) for p in folder.glob(pattern) if p.is_file()]
        left = [(p, s) for p, s in found if s.st_uid == os.getuid() and str(p) not in used]
        if left:
            figures = f"{len(left)} of {size_name(sum(s.st_size for _, s in left))}"
            # By its owner: root may delete what is in use by others.
            found_by = f"-maxdepth 1 -name '{pattern}' -uid {os.getuid()}"
            cure = f"find {folder} {found_by} -delete  # when no job of yours runs here"
            yield note(f"killed jobs have left files {pattern}", cure, figures)


def _mapped(folder: Path) -> set[str]:
    """Return the files in ``folder`` that a process which may be looked at has mapped."""
    found = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):  # it has ended, or is another user's
            found |= set(re.findall(rf"{re.escape(str(folder))}/\S+", maps.read_text()))
    return found


# -- folders ----------------------------------------------------------------------------------


def look_at_checkpoints(asked: str) -> Iterator[Finding]:
    """Write a file where checkpoints are to go, as they are written, and say how that went."""
    folder = Path(asked).absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent  # a checkpoint makes those below
    kind, mounted = kind_of(folder.resolve())
    where = f"{shown(asked)} ({kind}, mounted at {mounted})"
    if not folder.is_dir():
        text = f"checkpoints cannot go to {shown(asked)}: {shown(folder)} is no folder"
        yield problem(text, "distgrad doctor --checkpoints ANOTHER_FOLDER")
        return
    free = shutil.disk_usage(folder).free
    figures = f"{size_name(free)} free"
    try:
        seconds = _write(folder)
    except OSError as error:
        yield problem(
            f"{where} cannot be written: {error.strerror or error}", _cure(error), figures
        )
        return
    network = ", shared by several hosts" if kind in NETWORK else ""
    figures += f", {size_name(_TRIAL)} written, synced and renamed in {spell_seconds(seconds)}"
    yield ok(f"checkpoints can go to {where}{network}", figures)
    if free < _LITTLE:
        text = f"{where} has little room: a checkpoint of AdamW takes 12 bytes a parameter"
        yield note(text, f"du -sh {shown(asked)}/* | sort -h  # and df -h", size_name(free))
    if kind in PASSING:
        text = f"what is in {where} is gone {PASSING[kind]}"
        yield note(text, "distgrad doctor --checkpoints A_FOLDER_ON_A_DISK")


def _write(folder: Path) -> float:
    """Return the seconds that a file takes until the disk holds it under its name."""
    with tempfile.TemporaryDirectory(prefix=".distgrad-doctor-", dir=folder) as made:
        data = os.urandom(_TRIAL)  # nothing that a file system could leave out
        path = Path(made) / "trial"
        since = perf_counter()
        with replacing(path, durable=True) as file:
            file.write(data)
        folders.sync(path.parent)
        seconds = perf_counter() - since
        with replacing(path, durable=True) as file:  # over a file that is there
            file.write(data[::-1])
        if path.read_bytes() != data[::-1]:
            raise OSError(errno.EIO, "what was written over a file is not what is read")
    return seconds


def _cure(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "df -h .; quota -s  # free some room, or name a folder on another disk"
    return "ls -ld .; id  # choose a folder of your own on a healthy disk: --checkpoints FOLDER"


def look_at_tunings() -> Iterator[Finding]:
    """Say which file of measured thresholds is read."""
    path = tuning.path_of(os.environ)
    if path is None:
        yield ok(f"no file of tunings is read ({tuning.VARIABLE}=off)")
        return
    found, warning = tuning.stored(os.environ)
    if warning:
        yield problem(warning, f"export {tuning.VARIABLE}=off  # or let it name a file of tunings")
    elif found:
        clusters = f"{len(found)} cluster{'s' if len(found) > 1 else ''}"
        yield ok(f"{shown(path)} has tunings of {clusters}")
    else:
        yield ok(f"defaults: {shown(path)} is not there (distgrad bench -n N --tune makes it)")
