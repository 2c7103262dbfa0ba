"""Writing a checkpoint so that at every instant a complete one lies in the folder.

Everything goes into a temporary folder beside the final one, each file synced, the manifest last;
one rename makes it a checkpoint. Plain writes only, so that NFS and Lustre serve as well.
"""

import errno
import hashlib
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distgrad.arguments import explained
from distgrad.autograd.tensor import Tensor
from distgrad.checkpoint import folders, section
from distgrad.checkpoint.manifest import (
    DTYPES,
    MOST_STEPS,
    NAME,
    SECTION,
    ArraySpec,
    File,
    Manifest,
    is_name,
)
from distgrad.errors import CheckpointError
from distgrad.files import shown
from distgrad.tracing import traced

Sections = Mapping[str, Mapping[str, NDArray[Any]]]

_CURES = {
    errno.ENOSPC: "free some room, keep fewer checkpoints, or choose a folder on another disk",
    errno.EDQUOT: "free some of your quota, keep fewer checkpoints, or choose another folder",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f), or choose another file system",
    errno.ENOTDIR: "a file is in the way: choose another folder, or move the file",
    errno.EEXIST: "a file is in the way: choose another folder, or move the file",
}
_RIVAL = {errno.ENOENT, errno.ESTALE, errno.EEXIST, errno.ENOTEMPTY}
"""What happens to a folder that only this process knows if another one tampers with it."""
_NO_ACCESS = "choose a folder on a healthy disk that you may write to"


_turn = threading.Lock()  # the threads of a process have one number, and so one temporary folder


@traced("checkpoint")
@explained
def save(
    folder: str | os.PathLike[str],
    *,
    step: int,
    arrays: Sections,
    meta: Mapping[str, Any],
    keep: int = 3,
) -> Path:
    """Write one checkpoint into ``folder/step-…`` and return its path.

    ``arrays`` maps section names (file names: letters, digits, ``_``, ``-``) to named arrays (or
    Tensors, as a ``state_dict`` has them) of any shape and layout; ``meta`` is JSON (None, bool,
    int, float, str, list, dict with string keys) and comes back exactly, NaN and infinities
    included. The ``keep`` newest checkpoints stay, this one always among them; while it is
    written, there must be room for one more.

    Raises CheckpointError, with the older checkpoints untouched, for arguments that cannot be
    stored and for a folder that cannot be written (full disk, no permission, a file in the way).
    """
    _check_numbers(step, keep)
    if not isinstance(meta, Mapping):
        raise CheckpointError(f"meta is a {type(meta).__name__}; it must be a dict, as {{}}")
    arrays = {title: _of_tensors(named) for title, named in arrays.items()}
    _check_arrays(arrays)
    final = folders.as_path(folder) / folders.name_of(step)
    # Built before anything is touched: meta that cannot be stored costs nothing.
    Manifest(step=step, meta=meta, files={}).to_bytes()
    with _turn:
        _save(final, step, arrays, meta)
        _prune(final, step, keep)
    return final


def _save(final: Path, step: int, arrays: Sections, meta: Mapping[str, Any]) -> None:
    temporary = folders.passing("tmp", final)
    has_begun = False
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        folders.sweep(final.parent)
        temporary.mkdir()
        has_begun = True
        _write_all(temporary, step, arrays, meta)
        _publish(temporary, final)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)  # what stays is swept by the next save
        if isinstance(error, OSError):
            raise _unwritable(final, arrays, error, has_begun) from error
        raise


@explained
def prepare(folder: str | os.PathLike[str]) -> None:
    """Make ``folder`` if need be and try to write into it: better now than after an hour.

    Raises CheckpointError if that fails.
    """
    path = folders.as_path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as probe:
            probe.write(b"distgrad")
    except OSError as error:
        cure = _CURES.get(error.errno or 0, _NO_ACCESS)
        raise CheckpointError(
            f"checkpoints cannot be written into {shown(path)}: {error.strerror or error}; {cure}"
        ) from error


def _write_all(folder: Path, step: int, arrays: Sections, meta: Mapping[str, Any]) -> None:
    files = {}
    for title, named in arrays.items():
        data = section.write(named)
        _write(folder / f"{title}.safetensors", data)
        # Hashed in memory, not read back: damage on the way to the disk is found as well.
        files[title] = File(
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            tensors={name: ArraySpec(a.dtype.name, a.shape) for name, a in named.items()},
        )
    _write(folder / NAME, Manifest(step=step, meta=meta, files=files).to_bytes())
    folders.sync(folder)


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _publish(temporary: Path, final: Path) -> None:
    """Give the finished folder its name; one at the same step steps aside, still readable."""
    aside = final.with_name(final.name + folders.OLD)
    if final.is_dir():
        if aside.exists():
            folders.discard(aside)  # `final` took its place long ago
        os.rename(final, aside)
        folders.sync(final.parent)
    os.rename(temporary, final)
    folders.sync(final.parent)


def _prune(final: Path, step: int, keep: int) -> None:
    kept = {step}
    try:
        found = folders.complete(final.parent)
    except OSError as error:  # as with one that cannot be deleted: the new checkpoint is safe
        warnings.warn(f"old checkpoints could not be deleted: {error}", stacklevel=3)
        return
    for other, path in found:
        if path == final:
            continue
        # Newest first, and a replaced one after its successor: that one has taken its place.
        if other not in kept and len(kept) < keep:
            kept.add(other)
        else:
            folders.discard(path)


def _check_numbers(step: int, keep: int) -> None:
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step <= MOST_STEPS:
        raise CheckpointError(f"step is {step!r}; it must be an int, 0 or more, of 63 bits")
    if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
        raise CheckpointError(f"keep is {keep!r}; it must be an int, 1 or more")


def _of_tensors(named: Any) -> Any:
    if not isinstance(named, Mapping):
        return named  # refused below
    return {name: a.array if isinstance(a, Tensor) else a for name, a in named.items()}


def _check_arrays(arrays: Sections) -> None:
    for title, named in arrays.items():
        if not isinstance(title, str) or not SECTION.fullmatch(title):
            raise CheckpointError(
                f"section {title!r} cannot be a file name: use letters, digits, '_' and '-'"
            )
        if not isinstance(named, Mapping):
            raise CheckpointError(
                f"section {title!r} is a {type(named).__name__}; it must map names to arrays"
            )
        for name, array in named.items():
            _check_array(f"{title}: {name!r}", name, array)


def _check_array(where: str, name: str, array: NDArray[Any]) -> None:
    # NumPy makes scalars of 0-d arrays as soon as one computes with them; both are stored alike.
    if not isinstance(array, (np.ndarray, np.generic)):
        raise CheckpointError(f"{where} is a {type(array).__name__}: store np.asarray(…) of it")
    if array.dtype.name not in DTYPES or not array.dtype.isnative:
        raise CheckpointError(
            f"{where} is {array.dtype!r}, which a checkpoint cannot hold: convert it to one of "
            f"{', '.join(sorted(DTYPES))} in native byte order"
        )
    if not isinstance(name, str) or not is_name(name):
        raise CheckpointError(f"{where} is no name that safetensors can hold: choose another")


def _unwritable(final: Path, arrays: Sections, error: OSError, has_begun: bool) -> CheckpointError:
    if has_begun and error.errno in _RIVAL:
        return CheckpointError(
            f"checkpoint {shown(final)} was not written: another process is writing into (or "
            f"deleting from) this folder ({error}); give each run a folder of its own"
        )
    needed = sum(array.nbytes for named in arrays.values() for array in named.values())
    cure = _CURES.get(error.errno or 0, _NO_ACCESS)
    return CheckpointError(
        f"checkpoint {shown(final)} cannot be written ({needed:,} bytes of arrays and their names "
        f"needed{_room(final.parent)}): {error}; {cure}. Older checkpoints are untouched"
    )


def _room(folder: Path) -> str:
    try:
        return f", {shutil.disk_usage(folder).free:,} bytes free"
    except OSError:
        return ""  # the folder itself is the trouble, and the message says which
