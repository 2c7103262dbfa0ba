"""What is on its way: anything with ``poll`` and ``wait``, and PyTorch's Future over it.

It knows nothing of gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from distgrad.errors import CommError


@runtime_checkable
class Pending(Protocol):
    """Something that completes: a collective in flight, a hook's rounds, a Future."""

    def poll(self) -> bool:
        """Advance without waiting; True once it is complete."""

    def wait(self) -> Any:
        """Return when it is complete."""


class Future:
    """A value that will be there: ``torch.futures.Future``, driven by whoever polls it.

    ``Future(work, value)`` is complete when the work is; without a work ``set_result`` completes
    it. Nothing runs by itself: callbacks of ``then`` run where it is polled or waited for.
    """

    def __init__(self, work: Pending | None = None, value: Any = None) -> None:
        self._work, self._value = work, value
        self._set = False
        self._callback: Callable[[Future], Any] | None = None
        self._before: Future | None = None

    def set_result(self, result: Any) -> None:
        """Complete it with ``result``."""
        self._set, self._value = True, result

    def then(self, callback: Callable[[Future], Any]) -> Future:
        """Return the Future of ``callback(self)``, which is called when this one is complete.

        If that is a Future itself, or a work in flight, it is waited for as well.
        """
        after = Future()
        after._before, after._callback = self, callback
        return after

    def poll(self) -> bool:
        """Advance without waiting; True once the value is there."""
        if self._before is not None:
            if not self._before.poll():
                return False
            self._continue(self._before)
        if self._work is not None and self._work.poll():
            self._complete(self._work)
        return self._set

    def done(self) -> bool:
        """Return whether the value is there, as ``poll``."""
        return self.poll()

    def wait(self) -> Any:
        """Return the value when it is there. Errors: CommError if nothing will complete it."""
        if self._before is not None:
            self._before.wait()
            self._continue(self._before)
        if self._work is not None:
            self._work.wait()
            self._complete(self._work)
        return self.value()

    def value(self) -> Any:
        """Return the value. Errors: CommError if it is not there."""
        if not self._set:
            raise CommError("a Future without a result: call set_result(value), or make it of work")
        return self._value

    def _continue(self, before: Future) -> None:
        callback, self._before, self._callback = self._callback, None, None
        assert callback is not None
        found = callback(before)
        if isinstance(found, Pending):
            self._work = found
        else:
            self.set_result(found)

    def _complete(self, work: Pending) -> None:
        self._work = None
        self.set_result(work.value() if isinstance(work, Future) else self._value)
