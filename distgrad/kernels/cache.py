"""Where compiled kernels are kept between runs: a folder of one's own on the node. Imports numba.

A kept kernel is code that will run, so the folder must be one that nobody else can write, and
every file bears the SHA-256 of what is in it. What cannot be kept is compiled anew: the cache may
cost time, never a run. numba's own cache is not used because a cut file of it ends the process.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pickle
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, BinaryIO

import numba
import numpy as np
from llvmlite.binding import add_symbol
from numba.core.compiler import CompileResult
from numba.core.runtime import _nrt_python
from numba.core.serialize import dumps

from distgrad.files import open_regular, read_all, replacing, shown
from distgrad.switches import off

_done: list[str] = []  # the kernels that this process has compiled and kept

_PATIENCE = 60.0  # seconds; a kernel compiles in 1 to 10 s
_MOST = 1 << 26  # bytes of a file; a kernel has some 10,000
_DIGEST = 32  # bytes
_HINT = 120  # bytes that say who holds the lock


def cache_folder() -> Path | None:
    """Return the folder of compiled kernels: in $DISTGRAD_CACHE, or in the node's temp.

    Node-local by default: the processes of a node meet at its lock. None where $DISTGRAD_CACHE says
    off; or (with a warning) if it cannot be written, or if others could put code in it.
    """
    root = os.environ.get("DISTGRAD_CACHE")
    if off(os.environ, "DISTGRAD_CACHE"):
        return None
    try:
        _sources()
        # gettempdir() raises where no folder can be written, as in a read-only container.
        base = Path(root) if root else Path(tempfile.gettempdir()) / f"distgrad-{os.getuid()}"
        folder = base.absolute() / f"numba-{numba.__version__}-{sys.implementation.cache_tag}"
        _make(folder)
        folder = folder.resolve(strict=True)
        _check_private(folder)
        _open_lock(folder).close()
    except (OSError, ValueError) as error:  # ValueError: a NUL in $DISTGRAD_CACHE
        warnings.warn(
            f"compiled kernels are not kept: {error}; or set DISTGRAD_CACHE to another folder of "
            f"your own on this node, below folders that only you and root can write",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return folder


def tally() -> int:
    """Return how many kernels this process has compiled and kept."""
    return len(_done)


class Store:
    """Sealed files in the folder: what comes out is what this version of distgrad put in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._is_writable = True

    def read(self, name: str) -> bytes | None:
        """Return what was kept under ``name``; None if it is not there, old, or not whole."""
        path = self.folder / name
        try:
            with open_regular(path, links=False) as file:
                raw, found = read_all(file, _MOST), os.fstat(file.fileno())
            stamp, digest, body = raw[:_DIGEST], raw[_DIGEST : 2 * _DIGEST], raw[2 * _DIGEST :]
            if len(raw) >= 2 * _DIGEST and stamp != _sources():
                return None  # that of another version of distgrad: this one takes its place
            _check_part(path, found, {os.getuid()})
        except FileNotFoundError:
            return None
        except OSError as error:
            _warn(f"a kept kernel cannot be read and is compiled anew: {path}: {error}")
            return None
        if digest != hashlib.sha256(body).digest():
            _warn(f"a kept kernel was damaged and is compiled anew: {path}")
            return None
        return body

    def write(self, name: str, body: bytes) -> None:
        """Keep ``body``; where that fails, say so once and go on."""
        if not self._is_writable:
            return
        path, part = self.folder / name, f".{os.getpid()}.part"
        try:
            (self.folder / part).unlink(missing_ok=True)  # a killed process's
            # For me alone, not as the umask likes: whoever can write it runs code.
            with replacing(path, part, durable=False, mode=0o600) as file:
                file.write(_sources() + hashlib.sha256(body).digest() + body)
        except OSError as error:
            self._is_writable = False
            _warn(
                f"compiled kernels are not kept: {path}: {error}; free some room, or set "
                f"DISTGRAD_CACHE to another folder of your own"
            )


class KernelCache:
    """The kept versions of one kernel, as numba's dispatcher asks for them."""

    def __init__(self, function: Callable[..., Any], store: Store) -> None:
        self._store, self.cache_path = store, store.folder
        self._name = f"{function.__module__}.{function.__qualname__}".replace("<locals>.", "")
        self._function = function

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return the compiled kernel, or None if it has to be compiled."""
        body = self._store.read(self._file(signature, target.codegen()))
        if body is None:
            return None
        _name_runtime()
        return CompileResult._rebuild(target, *pickle.loads(body))

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep a compiled kernel."""
        if not compiled.lifted and not compiled.library.has_dynamic_globals:
            name = self._file(signature, compiled.library.codegen)
            self._store.write(name, dumps(compiled._reduce()))
            _done.append(self._name)

    def flush(self) -> None:
        """Forget nothing: damaged and old files are replaced one by one."""

    def _file(self, signature: Any, codegen: Any) -> str:
        key = repr((signature, codegen.magic_tuple(), _recipe(self._function))).encode()
        return f"{self._name}-{hashlib.sha256(key).hexdigest()[:16]}"


class Turn:
    """One process of a node at a time compiles; the others wait, and find the result kept."""

    def __init__(self, folder: Path) -> None:
        self._folder: Path | None = folder

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the lock and hold it; after a minute, say who has it and do without."""
        if self._folder is None:
            yield
            return
        try:
            lock = _open_lock(self._folder)
        except OSError as error:
            self._do_without(self._folder, f"cannot be opened: {error}")
            yield
            return
        with lock:
            self._wait(lock, self._folder)
            try:
                yield
            finally:  # dying gives the lock back; closing would not, if a child has it open, too
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(lock, fcntl.LOCK_UN)

    def _wait(self, lock: BinaryIO, folder: Path) -> None:
        began, pause = time.monotonic(), 0.001
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waited = time.monotonic() - began
            except OSError as error:  # a file system without locks
                self._do_without(folder, f"cannot be taken: {error}")
                return
            if waited > _PATIENCE:
                self._do_without(folder, f"has been held for {waited:.0f} s by {_holder(lock)}")
                return
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
        with suppress(OSError):  # a full disk: who holds the lock is a hint, and no more
            os.pwrite(lock.fileno(), f"{os.getpid()} {_place()}".ljust(_HINT).encode(), 0)

    def _do_without(self, folder: Path, why: str) -> None:
        self._folder = None  # nor is it waited for again
        _warn(
            f"the lock of the compiled kernels, {shown(folder / 'lock')}, {why}: this process "
            f"compiles without waiting for others. End that process if it hangs, or set "
            f"DISTGRAD_CACHE to another folder"
        )


def _make(folder: Path) -> None:
    for part in [*reversed(folder.parents), folder]:
        with suppress(FileExistsError):
            if not part.exists():
                part.mkdir(mode=0o700)
                part.chmod(0o700)  # the umask may have taken some of it


def _check_private(folder: Path) -> None:
    """Raise PermissionError unless only this user (and root) can change what ``folder`` holds."""
    mine = {os.getuid()}
    _check_part(folder, folder.stat(), mine)
    # In a container root may bear another number; whoever owns the root folder is trusted anyway.
    trusted = {*mine, 0, Path("/").stat().st_uid}
    for part in folder.parents:
        _check_part(part, part.stat(), trusted, pardon=stat.S_ISVTX)


def _check_part(part: Path, found: os.stat_result, owners: set[int], pardon: int = 0) -> None:
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & pardon:
        raise PermissionError(
            f"{shown(part)} can be written by other users, who could put code of theirs in it: "
            f"chmod go-w {shown(part)}"
        )
    if found.st_uid not in owners:
        raise PermissionError(f"{shown(part)} belongs to another user (number {found.st_uid})")


def _open_lock(folder: Path) -> BinaryIO:
    return open_regular(folder / "lock", "rb+", flags=os.O_CREAT, links=False)


def _holder(lock: BinaryIO) -> str:
    """Describe who wrote its number into the lock last."""
    said = os.pread(lock.fileno(), _HINT, 0).decode("ascii", "replace").strip()
    number, _, place = said.partition(" ")
    try:
        if place != _place():
            raise ProcessLookupError("its number means another process here")
        command = Path(f"/proc/{int(number)}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        state = Path(f"/proc/{int(number)}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        return f"a process that is not to be seen from here (it wrote {said!r})"
    stopped = ", which is stopped" if state in ("T", "t") else ""
    return f"process {number} ({command[:100].strip()!a}){stopped}"


@cache
def _name_runtime() -> None:
    """Tell the linker where the functions of numba's runtime are, which kept kernels call.

    numba's own caches do so by preparing to compile, which costs each process 0.15 s and 40 MB of
    memory; what has to be compiled prepares for that by itself.
    """
    for name, address in _nrt_python.c_helpers.items():
        add_symbol(name if name.startswith("_") else f"NRT_{name}", address)


@cache
def _place() -> str:
    """Return where this process's number means this process: a host, or a container on it."""
    try:
        return f"{os.uname().nodename} {os.readlink('/proc/self/ns/pid')}".replace(" ", "/")
    except OSError:
        return os.uname().nodename


def _recipe(function: Callable[..., Any], *above: object) -> object:
    """Return what a kernel is made of besides its file: those of one factory differ by that.

    What it calls may be a formula from anywhere, and that again use what is global there.
    """
    code, cells = function.__code__, function.__closure__ or ()
    constants = [value for value in code.co_consts if not isinstance(value, CodeType)]
    inside = [_ingredient(cell.cell_contents, *above, function) for cell in cells]
    named = [
        (name, _ingredient(value, *above, function))
        for name in code.co_names
        if _matters(value := function.__globals__.get(name))
    ]
    return function.__qualname__, code.co_code, code.co_names, constants, inside, named


def _matters(value: Any) -> bool:
    """Whether a global is compiled in: a function in Python, a number, numbers."""
    kinds = (FunctionType, int, float, complex, tuple, np.generic, np.ndarray)
    return isinstance(getattr(value, "py_func", value), kinds)


def _ingredient(value: Any, *above: object) -> object:
    value = getattr(value, "py_func", value)  # a kernel
    if isinstance(value, FunctionType):
        return "itself" if value in above else _recipe(value, *above)
    if isinstance(value, np.ndarray):  # its repr leaves out what is in the middle
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        # No part of a kernel: a twin's table, met where an attribute bears the twin's name. What
        # is in it has other addresses in every process.
        return type(value)
    return type(value), value


@cache
def _sources() -> bytes:
    """Return what a kept kernel was made from: a kernel may call one of another file."""
    digest, folder = hashlib.sha256(), Path(__file__).parent
    paths = sorted(folder.glob("*.py"))
    if not paths:  # in an archive, or compiled only
        raise FileNotFoundError(
            f"{shown(folder)} holds no sources of the kernels, which tell one version of distgrad "
            "from another"
        )
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.digest()


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)
