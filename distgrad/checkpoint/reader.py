"""Reading checkpoints back, every byte verified before anything is handed out.

Plain reads only, no memory maps. Knows nothing of what the arrays mean.
"""

import hashlib
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from distgrad.checkpoint import folders
from distgrad.checkpoint.manifest import NAME, File, Manifest, Tensor
from distgrad.errors import CheckpointError


@dataclass(frozen=True)
class Checkpoint:
    """One verified checkpoint: ``arrays[section][name]`` are read-only arrays."""

    path: Path
    step: int
    meta: dict[str, Any]
    arrays: dict[str, dict[str, NDArray[Any]]]


def load(folder: str | os.PathLike[str]) -> Checkpoint:
    """Read one checkpoint folder (``…/step-000123``).

    Raises CheckpointError, naming the file, unless sizes, SHA-256, tensor names, shapes and dtypes
    are all as the manifest says, and the manifest as it was written.
    """
    path = Path(folder)
    try:
        manifest = Manifest.from_bytes(_read(path / NAME))
        arrays = {
            section: _load_file(path / f"{section}.safetensors", file)
            for section, file in manifest.files.items()
        }
    except CheckpointError as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be used: {error}; take an older one, or a copy"
        ) from error
    return Checkpoint(path=path, step=manifest.step, meta=dict(manifest.meta), arrays=arrays)


def exists(folder: str | os.PathLike[str]) -> bool:
    """Return whether ``folder`` holds a checkpoint, whole or damaged."""
    path = Path(folder)
    return path.is_dir() and bool(folders.complete(path))


def newest(
    folder: str | os.PathLike[str], *, warn: Callable[[str], None] | None = None
) -> Checkpoint | None:
    """Read the newest checkpoint in ``folder`` that is whole; None where there is none at all.

    Calls ``warn`` (default: ``warnings.warn``) with each damaged one that it skips, and why.
    Raises CheckpointError if there are checkpoints and none is whole.
    """
    say = warn or (lambda message: warnings.warn(message, stacklevel=3))
    try:
        candidates = folders.complete(Path(folder))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(
            f"the checkpoint folder {folder} cannot be read: {error}; name another folder"
        ) from error
    reasons = []
    for _, path in candidates:
        try:
            return load(path)
        except CheckpointError as error:
            reasons.append(str(error))
            say(f"skipped: {error}")
    if not reasons:
        return None
    raise CheckpointError(
        f"none of the {len(reasons)} checkpoints in {folder} can be used; restore a copy, or "
        "start anew in another folder:\n  " + "\n  ".join(reasons)
    )


def _load_file(path: Path, expected: File) -> dict[str, NDArray[Any]]:
    data = _read(path)
    if len(data) != expected.size:
        raise CheckpointError(
            f"{path.name} has {len(data):,} bytes; {expected.size:,} were written (cut short?)"
        )
    if hashlib.sha256(data).hexdigest() != expected.sha256:
        raise CheckpointError(f"{path.name} is damaged: its bytes do not match their SHA-256")
    arrays = _parse(path.name, data)
    found = {name: Tensor(array.dtype.name, array.shape) for name, array in arrays.items()}
    if found != expected.tensors:
        raise CheckpointError(f"{path.name} does not hold the tensors that the manifest lists")
    return {name: arrays[name] for name in expected.tensors}  # in the order they were given


def _parse(name: str, data: bytes) -> dict[str, NDArray[Any]]:
    # Imported here: `import distgrad` must stay light.
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.numpy import load as from_safetensors  # noqa: PLC0415

    try:
        arrays: dict[str, NDArray[Any]] = from_safetensors(data)
    except SafetensorError as error:
        raise CheckpointError(f"{name} is no safetensors file: {error}") from error
    return arrays


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path.name} is missing") from None
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}") from error
