"""Reading checkpoints back, every byte verified before anything is handed out.

Plain reads only, no memory maps: of regular files in the checkpoint's own folder, each as large as
the manifest says before it is read. Knows nothing of what the arrays mean.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from distgrad import files
from distgrad.arguments import explained
from distgrad.checkpoint import folders, section, strict
from distgrad.checkpoint.manifest import NAME, Manifest
from distgrad.errors import CheckpointError
from distgrad.files import shown


@dataclass(frozen=True)
class Checkpoint:
    """One verified checkpoint: ``arrays[section][name]`` are read-only arrays."""

    path: Path
    step: int
    meta: dict[str, Any]
    arrays: dict[str, dict[str, NDArray[Any]]]


@explained
def load(folder: str | os.PathLike[str]) -> Checkpoint:
    """Read one checkpoint folder (``…/step-000123``).

    Raises CheckpointError, naming the file, unless sizes, SHA-256, tensor names, shapes and dtypes
    are all as the manifest says, and the manifest as it was written.
    """
    path = folders.as_path(folder)
    try:
        with _opened(path) as here:
            with _file(here, NAME) as file:
                manifest = Manifest.from_bytes(files.read_all(file, strict.MOST_BYTES))
            _check_step(path, manifest.step)
            arrays = {}
            for name, expected in manifest.files.items():
                with _file(here, f"{name}.safetensors") as file:
                    arrays[name] = section.read(file, f"{name}.safetensors", expected)
    except CheckpointError as error:
        raise CheckpointError(
            f"checkpoint {shown(path)} cannot be used: {error}; take an older one, or a copy"
        ) from error
    return Checkpoint(path=path, step=manifest.step, meta=dict(manifest.meta), arrays=arrays)


@explained
def exists(folder: str | os.PathLike[str]) -> bool:
    """Return whether ``folder`` holds a checkpoint, whole or damaged.

    Raises CheckpointError if it cannot be looked at.
    """
    return bool(_candidates(folder))


@explained
def newest(
    folder: str | os.PathLike[str], *, warn: Callable[[str], None] | None = None
) -> Checkpoint | None:
    """Read the newest checkpoint in ``folder`` that is whole; None where there is none at all.

    Calls ``warn`` (default: ``warnings.warn``) with each damaged one that it skips, and why.
    Raises CheckpointError if there are checkpoints and none is whole.
    """
    say = warn or (lambda message: warnings.warn(message, stacklevel=3))
    reasons = []
    for _, path in _candidates(folder):
        try:
            return load(path)
        except CheckpointError as error:
            reasons.append(str(error))
            say(f"skipped: {error}")
    if not reasons:
        return None
    raise CheckpointError(
        f"none of the {len(reasons)} checkpoints in {shown(folder)} can be used; restore a copy, "
        "or start anew in another folder:\n  " + "\n  ".join(reasons)
    )


def _candidates(folder: str | os.PathLike[str]) -> list[tuple[int, Path]]:
    try:
        return folders.complete(folders.as_path(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(
            f"the checkpoint folder {shown(folder)} cannot be read: {error}; name another folder"
        ) from error


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Hold the folder open: what is read lies in it, even if it is renamed meanwhile."""
    try:
        here = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise CheckpointError(f"the folder cannot be read: {error.strerror}") from error
    try:
        yield here
    finally:
        os.close(here)


@contextmanager
def _file(here: int, name: str) -> Iterator[BinaryIO]:
    try:
        # Never a link: what a checkpoint consists of is what lies in its folder.
        with files.open_regular(name, folder=here, links=False) as file:
            yield file
    except FileNotFoundError:
        raise CheckpointError(f"{name} is missing") from None
    except OSError as error:
        raise CheckpointError(f"{name} cannot be read: {error.strerror or error}") from error


def _check_step(path: Path, step: int) -> None:
    named = folders.step_of(path.name)
    if named not in (None, step):
        raise CheckpointError(f"{NAME} is that of step {step}, and the folder's name says {named}")
