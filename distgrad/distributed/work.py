"""What ``async_op=True`` returns: a collective under way, and what is to be done when it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.comm import Started
from distgrad.errors import CommError


class Work:
    """A collective under way; what it is to change is not to be touched before ``wait``."""

    def __init__(self, started: Sequence[Started], finish: Callable[[], Any] | None = None) -> None:
        self._started, self._finish = started, finish

    def wait(self) -> bool:
        """Return, always True, when the tensors hold what was asked for."""
        for started in self._started:
            started.wait()
        self._end()
        return True

    def is_completed(self) -> bool:
        """Advance without waiting; return whether the tensors hold what was asked for."""
        done = [started.poll() for started in self._started]
        if not all(done):
            return False
        self._end()
        return True

    def poll(self) -> bool:
        """Return ``is_completed()``: what a communication hook's Future asks."""
        return self.is_completed()

    def _end(self) -> None:
        finish, self._finish = self._finish, None
        if finish is not None:
            finish()


def run(async_op: bool, started: Started, finish: Callable[[], Any] | None = None) -> Work | None:
    """Return the work if ``async_op``; else wait for it."""
    if async_op:
        return Work([started], finish)
    started.wait()
    if finish is not None:
        finish()
    return None


def array_of(tensor: Any) -> Array:
    """Return the memory of a Tensor or array; CommError for anything else."""
    if isinstance(tensor, Tensor):
        array = tensor.array
        # What a Tensor has instead inside a captured step refuses, and names the line.
        return array if isinstance(array, np.ndarray) else np.asarray(array)
    if isinstance(tensor, np.ndarray):
        return tensor
    raise CommError(
        f"a collective takes Tensors and arrays, which it changes in place; got a "
        f"{type(tensor).__name__}: objects go by all_gather_object, numbers as dg.Tensor([x])"
    )


def buffer_of(array: Array, *, changes: bool = True) -> tuple[Array, Callable[[], Any] | None]:
    """Return memory that a collective can change, and how it gets from there to the array.

    With ``changes`` off this rank's array keeps what it has. Errors: CommError for a read-only one.
    """
    if changes and not array.flags.writeable:
        raise CommError(
            "a collective is to change a tensor in place whose memory is read-only; pass a copy. "
            "(Parameters are read-only with zero=1 or more: inside `with ddp.writing():` they "
            "are not)"
        )
    if array.flags.carray:
        return array, None
    buffer = np.array(array, order="C")
    return buffer, (lambda: fill("the tensor", array, buffer)) if changes else None


def fill(what: str, into: Array, found: Array) -> None:
    """Copy what has come to where it is expected; CommError if it does not fit."""
    if into.shape != found.shape or into.dtype != found.dtype:
        raise CommError(
            f"{what} is {into.dtype} {into.shape}, but what came for it is {found.dtype} "
            f"{found.shape}; make it alike"
        )
    into[...] = found
