"""Lines at a file's end: in memory for a moment, on disk soon after, none lost to a full disk."""

from __future__ import annotations

import json
import math
import os
import warnings
from pathlib import Path
from typing import Any

from distgrad.errors import DistgradError
from distgrad.files import open_regular, shown

_BLOCK = 1 << 16  # bytes looked through at a time for the last line's end


class Lines:
    """JSON objects, one a line, that are added to ``path`` when ``write`` is called.

    Errors: DistgradError if the file cannot be opened; ``close`` raises it, too, if the disk has
    not taken all lines by then. Until then it is a warning, and the lines wait.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[dict[str, Any]] = []
        self._warned = False
        try:
            self._file = open_regular(path, "r+b", flags=os.O_CREAT)
            self._size = _cut_off(self._file.fileno())
        except OSError as error:
            raise _cannot(path, error) from None

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row, which must not change any more."""
        self._waiting.append(row)

    def write(self) -> None:
        """Hand all rows over to the system: from here on they outlive this process."""
        if self._waiting:
            try:
                self._append("".join(encoded(row) + "\n" for row in self._waiting).encode())
                self._waiting.clear()
            except OSError as error:
                if not self._warned:
                    self._warned = True
                    warnings.warn(
                        f"{_cannot(self.path, error)}; the training goes on, and the lines are "
                        f"kept in memory and tried again",
                        RuntimeWarning,
                        stacklevel=2,
                    )

    def close(self) -> None:
        """Write what is left, to the disk itself."""
        try:
            if self._waiting:
                self._append("".join(encoded(row) + "\n" for row in self._waiting).encode())
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _cannot(self.path, error) from None
        finally:
            self._file.close()

    def _append(self, data: bytes) -> None:
        """Write ``data`` behind what is there, or nothing of it."""
        descriptor, view = self._file.fileno(), memoryview(data)
        try:
            done = 0
            while done < len(view):
                done += os.pwrite(descriptor, view[done:], self._size + done)
        except OSError:
            os.ftruncate(descriptor, self._size)  # to make smaller takes no room
            raise
        self._size += len(data)


def encoded(row: dict[str, Any]) -> str:
    """Return a row as one line of JSON, with words for what JSON has not."""
    try:
        return json.dumps(row, allow_nan=False)
    except ValueError:
        return json.dumps(with_words(row), allow_nan=False)


def with_words(value: Any) -> Any:
    """Return ``value`` with NaN and infinities as words."""
    if isinstance(value, dict):
        return {name: with_words(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_words(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _cut_off(descriptor: int) -> int:
    """Cut off a last line without an end, which a killed process has left; return the size."""
    place = size = os.fstat(descriptor).st_size
    while place > 0:
        start = max(0, place - _BLOCK)
        end = os.pread(descriptor, place - start, start).rfind(b"\n")
        if end >= 0:
            place = start + end + 1
            break
        place = start
    if place < size:
        os.ftruncate(descriptor, place)
    return place


def _cannot(path: Path, error: OSError) -> DistgradError:
    return DistgradError(f"{shown(path)} cannot be written: {error.strerror or error}")
