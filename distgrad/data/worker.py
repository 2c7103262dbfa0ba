"""A worker process of a DataLoader: reads shards until the rank that started it is gone.

It is a fresh Python, no fork of the rank: MPI, threads and locks stay where they are.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import random
import signal
import threading
import traceback
from multiprocessing import spawn
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from distgrad.autograd import stream
from distgrad.data import pipes, recipe
from distgrad.data.recipe import WorkerInfo
from distgrad.data.workers import Reader
from distgrad.parallel import world


def main(reads: int, writes: int) -> None:
    """Serve the rank at the other end of the pipes, descriptors ``reads`` and ``writes``."""
    # Ctrl-C reaches the rank, which lets its workers go.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    world.in_worker = True
    messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
    listener = threading.Thread(target=_listen, args=(reads, messages), daemon=True)
    listener.start()
    made: Reader | Exception = RuntimeError("no data set was sent")
    while True:
        kind, ticket, content = messages.get()
        if kind == "recipe":
            parts = _opened(content)
            _answer(writes, (ticket, "ready", None))
            made = parts if isinstance(parts, Exception) else _made(parts, content)
            continue
        try:
            if isinstance(made, Exception):
                raise made
            answer: tuple[int, str, Any] = (ticket, "value", _read(made, content))
        except Exception as error:
            answer = (ticket, "error", _spelled(error))
        _answer(writes, answer)


def _answer(writes: int, answer: tuple[int, str, Any]) -> None:
    try:
        pipes.send(writes, _packed(*answer))
    except pipes.Closed:
        os._exit(0)


def _packed(ticket: int, kind: str, content: Any) -> list[Any]:
    """Return a message whose first part says what it is, so that it is known before the rest."""
    try:
        parts = pipes.pickled(content)
    except Exception as error:  # samples that cannot leave the process, for whatever reason
        kind, parts = "error", pipes.pickled(_spelled(error))
    return [json.dumps([ticket, kind]).encode(), *parts]


def _listen(reads: int, messages: queue.SimpleQueue[Any]) -> None:
    """Take messages while the main thread reads samples; the rank's end is this process's end."""
    while True:
        try:
            messages.put(pipes.unpickled(pipes.receive(reads)))
        except pipes.Closed:
            os._exit(0)


def _opened(settings: dict[str, Any]) -> list[Any] | Exception:
    """Share the memory in which the rank has put its data set."""
    try:
        return pipes.from_shared_memory(settings["file"], settings["places"])
    except OSError as error:
        return error


def _made(parts: list[Any], settings: dict[str, Any]) -> Reader | Exception:
    """Make this worker's own copy of the data set; an error is told for each job."""
    try:
        preparation = settings["preparation"]
        if b"__main__" not in bytes(parts[0]):
            for key in ("init_main_from_path", "init_main_from_name"):
                preparation.pop(key, None)  # nothing in it is the script's own
        spawn.prepare(preparation)
        made, initialise = pipes.unpickled(parts)
        if settings["threads"]:  # as many as the rank has: the bits of products depend on it
            threadpool_limits(limits=settings["threads"], user_api="blas")
        stream.manual_seed(settings["seed"])
        number, of = settings["id"], settings["num_workers"]
        recipe.own_worker = WorkerInfo(number, of, settings["seed"] + number, made.dataset)
        if initialise is not None:
            initialise(number)
    except Exception as error:
        return error
    reader: Reader = made
    return reader


def _read(made: Reader, job: Any) -> tuple[int, Any]:
    """Do the job, with the random numbers of its place."""
    stream.seed.set(job.seed)
    # Python's and NumPy's own generators know no shard. A worker begins each with them anew, or
    # workers would draw alike, and otherwise in every run.
    words = np.random.SeedSequence((job.seed, job.source, *job.place)).generate_state(4)
    random.seed(words.tobytes())
    np.random.seed(words)  # noqa: NPY002 (what data sets of others draw from)
    return made.work(job)


def _spelled(error: Exception) -> tuple[bytes, str]:
    """Return an exception as the rank can raise it again (b"" if it cannot), and its traceback."""
    text = "".join(traceback.format_exception(error))
    try:
        data = pickle.dumps(error)
        pickle.loads(data)
    except Exception:  # whatever its own __init__ or __reduce__ raises: the text is what counts
        data = b""
    return data, text
