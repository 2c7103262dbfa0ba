"""Fetching files once a node, however many processes ask; never a half-written one under its name.

Knows nothing of MPI: processes meet at a lock file in the cache folder.
"""

import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from distgrad.errors import DataError
from distgrad.files import open_regular, read_all, replacing

_SILENCE = 30.0  # seconds without a byte before a server is given up
_PATIENCE = 3600.0  # seconds to wait for another process's download
_SAY_AFTER = 3.0  # seconds of waiting before saying so
_BLOCK = 1 << 18
_MOST_SAID = 1 << 12  # bytes that the lock file may say


def fetch_files(
    folder: Path, checksums: Mapping[str, str], url: str, what: str, *, most: int
) -> None:
    """Download into ``folder`` the files of ``checksums`` (name: SHA-256) that it lacks.

    ``url`` is the address of the folder they come from, ``what`` the data set's name in messages;
    no file may have more than ``most`` bytes.
    One process downloads, the others wait for it. Raises DataError, naming the file, for a network
    that fails, a checksum that differs, or a folder that cannot be written; a process that waited
    for one that failed fails the same way instead of trying again.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder / ".lock", what) as turn:
            missing = [name for name in checksums if not (folder / name).exists()]
            if missing and turn.failure:
                raise DataError(turn.failure)
            for left in folder.glob(".*.part"):
                left.unlink()  # its writer is dead: we hold the lock
            try:
                for name in missing:
                    _fetch(folder / name, f"{url.rstrip('/')}/{name}", checksums[name], most)
            except DataError as error:
                turn.end(str(error))
                raise
            turn.end("")
    except OSError as error:
        raise DataError(
            f"{what} cannot be stored in {folder}: {error}; free some room, or set XDG_CACHE_HOME "
            "to a folder on a local disk that you may write to"
        ) from error


def sha256(path: Path, most: int) -> str:
    """Return the SHA-256 of a file, in hexadecimal; raises OSError for over ``most`` bytes."""
    with open_regular(path) as file:
        return hashlib.sha256(read_all(file, most)).hexdigest()


class _Turn:
    """What the lock file says: how many turns there were, and how the last one failed."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.number, self.failure = 0, ""

    def read(self) -> None:
        # Whatever else somebody left in the file counts as no turn, and goes with the next one.
        text = os.pread(self.file.fileno(), _MOST_SAID, 0).decode(errors="replace")
        number, _, failure = text.partition("\n")
        is_number = number.isdecimal() and len(number) < 10
        self.number, self.failure = (int(number), failure) if is_number else (0, "")

    def end(self, failure: str) -> None:
        said = f"{self.number + 1}\n{failure}".encode(errors="backslashreplace")
        os.ftruncate(self.file.fileno(), 0)
        os.pwrite(self.file.fileno(), said[:_MOST_SAID], 0)


@contextmanager
def _lock(path: Path, what: str) -> Iterator[_Turn]:
    """Hold the lock; ``failure`` is set if somebody tried and failed while this process waited."""
    with open_regular(path, "rb+", flags=os.O_CREAT, links=False) as file:
        turn = _Turn(file)
        turn.read()
        before = turn.number
        started, said = time.monotonic(), False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waited = time.monotonic() - started
            if waited > _PATIENCE:
                raise DataError(
                    f"another process has held {path} for {waited:.0f} s while downloading {what}: "
                    "end it, or set XDG_CACHE_HOME to another folder"
                )
            if waited > _SAY_AFTER and not said:
                print(
                    f"waiting for another process to download {what}", file=sys.stderr, flush=True
                )
                said = True
            time.sleep(0.05)
        turn.read()
        if turn.number == before:
            turn.failure = ""  # it failed before we came; the network may be back
        try:
            yield turn
        finally:  # dying gives the lock back; closing would not, if a child has it open, too
            fcntl.flock(file, fcntl.LOCK_UN)


def _fetch(path: Path, url: str, checksum: str, most: int) -> None:
    digest, size, began = hashlib.sha256(), 0, time.monotonic()
    with replacing(path, f".{path.name}.part", durable=True) as file:
        for block in _blocks(url, path.name):
            size += len(block)
            if size > most:
                raise DataError(f"{url} sends more than {most:,} bytes: that is another file")
            if time.monotonic() - began > _PATIENCE:
                raise DataError(f"{url} sent {size:,} bytes in {_PATIENCE:.0f} s: too slow")
            file.write(block)
            digest.update(block)
        if digest.hexdigest() != checksum:
            raise DataError(
                f"{url} has SHA-256 {digest.hexdigest()} instead of {checksum}: the download was "
                "damaged, or the server answers with something else; try again, or over another "
                "network"
            )


def _blocks(url: str, name: str) -> Iterator[bytes]:
    """Yield what ``url`` holds, with a progress bar; only the network's errors pass here."""
    # Imported here: `import distgrad` must stay light.
    import http.client  # noqa: PLC0415
    import urllib.request  # noqa: PLC0415

    from rich import progress  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    request = urllib.request.Request(url, headers={"User-Agent": "distgrad"})
    done = 0
    try:
        with urllib.request.urlopen(request, timeout=_SILENCE) as response:
            size = response.length
            columns = (
                progress.BarColumn(),
                progress.DownloadColumn(),
                progress.TransferSpeedColumn(),
            )
            with progress.Progress(name, *columns, console=Console(stderr=True)) as bar:
                task = bar.add_task(name, total=size)
                while block := response.read1(_BLOCK):  # what has come, or a trickle never ends
                    done += len(block)
                    bar.update(task, advance=len(block))
                    yield block
    # Timeouts and URLError are OSErrors; a redirection to no address is a ValueError.
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise DataError(f"{url} cannot be downloaded: {error}") from error
    if size is not None and done != size:
        raise DataError(f"{url} was cut short after {done:,} of {size:,} bytes: try again")
