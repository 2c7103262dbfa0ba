"""Fashion-MNIST: 70,000 real 28x28 images of ten kinds of clothes, wherever they may lie.

Source: H. Xiao, K. Rasul, R. Vollgraf, 2017, MIT license,
https://github.com/zalandoresearch/fashion-mnist.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from distgrad.data.datasets import ArrayDataset
from distgrad.data.download import fetch_files, sha256
from distgrad.data.idx import read_idx
from distgrad.errors import DataError
from distgrad.files import shown

_WHAT = "Fashion-MNIST"
_FOLDER = "fashion-mnist"
_MOST_BYTES = 1 << 26  # of a file, and of what is in it: 26 and 47 million for the largest

# The files of the official server (their MD5 are in its README).
_CHECKSUMS = {
    "train-images-idx3-ubyte.gz": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
    ),
    "train-labels-idx1-ubyte.gz": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
    ),
}


@dataclass(frozen=True)
class _Source:
    """Where the files come from; tests put a server of their own here."""

    # The server has no HTTPS; the checksums stand for the content.
    url: str = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
    checksums: Mapping[str, str] = field(default_factory=lambda: _CHECKSUMS)
    system: Path = Path("/usr/share/datasets/fashion-mnist")  # Debian's package


def fashion_mnist(
    root: str | os.PathLike[str] | None = None,
    download: bool = True,
    *,
    _source: _Source | None = None,
) -> tuple[ArrayDataset, ArrayDataset]:
    """Return (train, test): images float32 (n, 1, 28, 28) in 0..1, labels int64 (n,) in 0..9.

    ``root`` is the folder that holds the four files, gzipped or not, and the only place looked at
    if given. Else they are looked for in $DISTGRAD_DATA/fashion-mnist, $DISTGRAD_DATA, the cache
    ($XDG_CACHE_HOME or ~/.cache)/distgrad/fashion-mnist and /usr/share/datasets/fashion-mnist, and
    downloaded into the cache (30 MB; one process a node does, the others wait). Files in the cache
    must have the official SHA-256, others must be well-formed. Raises DataError, naming the file
    and the cure, if they cannot be had.
    """
    source = _source or _Source()
    if root is not None:
        if missing := _missing(Path(root)):
            raise DataError(
                f"{shown(root)} does not hold {_WHAT}: {', '.join(missing)} not there (with or "
                "without .gz); name another folder, or leave `root` out: it is found or downloaded"
            )
        return _read(Path(root))
    cache = _cache()
    folders = [*_given(), cache, source.system]
    for folder in folders:
        if not _missing(folder):
            if folder == cache:
                _verify(cache, source.checksums)
            return _read(folder)
    reason = "downloading was switched off"
    if download:
        try:
            fetch_files(cache, source.checksums, source.url, _WHAT, most=_MOST_BYTES)
        except DataError as error:
            reason = str(error)
        else:
            _verify(cache, source.checksums)
            return _read(cache)
    raise _not_found(folders, cache, source, reason)


def _given() -> list[Path]:
    given = os.environ.get("DISTGRAD_DATA")
    return [Path(given) / _FOLDER, Path(given)] if given else []


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "distgrad" / _FOLDER


def _missing(folder: Path) -> list[str]:
    return [name for name in _CHECKSUMS if _find(folder, name) is None]


def _find(folder: Path, name: str) -> Path | None:
    for candidate in (folder / name, folder / name.removesuffix(".gz")):
        try:
            if candidate.is_file():
                return candidate
        except OSError:
            return candidate  # whoever reads it says what is wrong
    return None


def _verify(cache: Path, checksums: Mapping[str, str]) -> None:
    # Damage in the cache is reported, not repaired: who wrote there may have had a reason.
    for name, checksum in checksums.items():
        path = cache / name
        if path.is_file():
            reason = _damage(path, checksum)
            if reason:
                raise DataError(
                    f"{path} is damaged: {reason}; delete it, and it will be downloaded again"
                )


def _damage(path: Path, checksum: str) -> str:
    try:
        found = sha256(path, most=_MOST_BYTES)
    except OSError as error:
        return str(error)
    return "" if found == checksum else f"its SHA-256 is not {checksum}"


def _read(folder: Path) -> tuple[ArrayDataset, ArrayDataset]:
    return _read_half(folder, "train"), _read_half(folder, "t10k")


def _read_half(folder: Path, half: str) -> ArrayDataset:
    images_path = _find(folder, f"{half}-images-idx3-ubyte.gz")
    labels_path = _find(folder, f"{half}-labels-idx1-ubyte.gz")
    if images_path is None or labels_path is None:
        raise DataError(f"the {half} files of {_WHAT} vanished from {folder}: start again")
    images, labels = (read_idx(path, most=_MOST_BYTES) for path in (images_path, labels_path))
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28):
        raise DataError(
            f"{images_path} holds {images.dtype} of shape {images.shape}, not uint8 images of "
            f"28x28: it is not {_WHAT}"
        )
    if labels.dtype != np.uint8 or labels.shape != images.shape[:1] or np.any(labels > 9):
        raise DataError(
            f"{labels_path} holds {labels.dtype} of shape {labels.shape}, not one label 0 to 9 for "
            f"each of the {len(images)} images of {images_path.name}"
        )
    pixels = images[:, None].astype(np.float32)  # n 1 28 28
    pixels /= 255
    return ArrayDataset(pixels, labels.astype(np.int64))


def _not_found(folders: list[Path], cache: Path, source: _Source, reason: str) -> DataError:
    return DataError(
        f"{_WHAT} is not on this machine, and {reason}. Provide it in one "
        f"of three ways:\n"
        f"  1. put its four files ({', '.join(source.checksums)}) into a folder and set "
        f"DISTGRAD_DATA to it\n"
        f"  2. on Debian or Ubuntu: apt install dataset-fashion-mnist ({source.system})\n"
        f"  3. run once with a network (from {source.url}), or copy {cache} from a machine that "
        f"has one\n"
        f"Looked in: {', '.join(map(str, folders))}"
    )
