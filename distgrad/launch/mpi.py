"""A function on ranks that are processes: handed over in a file, shown here, its result taken back.

What is handed over is pickled, which is safe here: the files are in a folder that this user alone
may enter, and ranks are this program's own processes.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import pickle
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from signal import SIGINT
from typing import Any

from distgrad.errors import LaunchError
from distgrad.launch.handover import CALL, Failure, failures, read_result
from distgrad.observe.terminal import Display, Reader, choose, obey, surroundings
from distgrad.observe.terminal.command import VARIABLE as COMMAND
from distgrad.observe.terminal.marks import BY_CALLER
from distgrad.observe.terminal.marks import VARIABLE as LIVE


def launch(function: Callable[..., Any], args: Sequence[Any], ranks: int) -> Any:
    """Run it on ``ranks`` processes; return what it returns on rank 0."""
    call = _pickled(function, (function, tuple(args)))
    with tempfile.TemporaryDirectory(prefix="distgrad-") as folder:
        where = Path(folder)
        with open(where / CALL, "wb") as file:
            pickle.dump([*sys.path], file)  # by which ranks find the modules
            file.write(call)
        status, interrupted = _run(ranks, folder)
        if interrupted:
            raise KeyboardInterrupt("the ranks were interrupted")
        if failed := failures(where):
            _raise(failed[0], ranks)
        if status:
            raise LaunchError(
                f"the job ended with status {status}, and no exception of Python's: what its ranks "
                f"said is above"
            )
        return read_result(where)


def _pickled(function: Callable[..., Any], call: Any) -> bytes:
    has_cloudpickle = find_spec("cloudpickle") is not None
    module = import_module("cloudpickle") if has_cloudpickle else pickle
    name = getattr(function, "__qualname__", repr(function))
    local = getattr(function, "__module__", "__main__") == "__main__" or "<" in name
    if local and not has_cloudpickle:
        raise LaunchError(
            f"'{name}' is defined in a cell, in the script itself or in another function, and only "
            f"cloudpickle can hand it to other processes: pip install 'distgrad[notebook]', put it "
            f"into a module, or take world='simulate'"
        )
    try:
        pickled: bytes = module.dumps(call)
    except Exception as error:  # whatever an object's own __reduce__ raises
        raise LaunchError(
            f"'{name}' or its arguments cannot be handed to other processes "
            f"({type(error).__name__}: {error}): make in it what cannot be pickled"
        ) from error
    return pickled


def _raise(failure: Failure, ranks: int) -> None:
    cause = LaunchError(f"[rank {failure.rank}/{ranks}] failed\n{failure.traceback}")
    raise failure.exception() from cause


def _run(ranks: int, folder: str) -> tuple[int, bool]:
    """Run the job to its end; return its status, and whether it was interrupted."""
    display = choose(os.environ, sys.stderr)
    environment = {**os.environ, COMMAND: ""}  # nobody has typed it
    if display.live:
        environment[LIVE] = BY_CALLER
    program = ["run", "-n", str(ranks), "-m", "distgrad.launch.rank", folder]
    process = subprocess.Popen(
        [sys.executable, "-m", "distgrad.launch.child", str(os.getpid()), *program],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a terminal's Ctrl-C, or a kernel's, comes to this process alone
    )
    presses = 0
    with process, surroundings(os.environ, display):
        show = _Show(process, display)
        while True:
            try:
                while show.more():
                    pass
                display.close(failed=presses > 0)
                return process.wait(), presses > 0
            except KeyboardInterrupt:
                presses += 1
                process.send_signal(SIGINT)  # the second ends the ranks at once


class _Show:
    """Shows what a job says, through Python's streams: a notebook has no others."""

    def __init__(self, process: subprocess.Popen[bytes], display: Display) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._display, self._reader = display, Reader()
        self._errors = process.stderr.fileno()
        self._streams = {process.stdout.fileno(): sys.stdout, self._errors: sys.stderr}
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {way: decoder("replace") for way in self._streams}

    def more(self) -> bool:
        """Show what comes next; return whether there may be more."""
        for way in select.select([*self._streams], [], [])[0]:
            data = os.read(way, 65536)
            if not data:
                del self._streams[way]
            elif way == self._errors:
                for said in self._reader.feed(data):
                    self._take(said)
            else:
                self._write(way, data)
        return bool(self._streams)

    def _take(self, said: bytes | dict[str, Any]) -> None:
        if isinstance(said, bytes):
            self._write(self._errors, said)
        else:
            with contextlib.suppress(LookupError, TypeError, ValueError):  # of another version
                obey(self._display, said)

    def _write(self, way: int, data: bytes) -> None:
        stream = sys.stdout if way != self._errors else sys.stderr
        stream.write(self._decoders[way].decode(data))
        stream.flush()
