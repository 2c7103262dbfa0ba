"""What every verb of the communicator stands on: who this rank is, and how a work begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from distgrad.comm.checks import Checks
from distgrad.comm.group import Group
from distgrad.comm.message import Steps
from distgrad.comm.transport import Transport
from distgrad.comm.work import Work
from distgrad.errors import CommError

T = TypeVar("T")


class ResultWork(Work, Generic[T]):
    """A collective in flight that ends with a ``result``."""

    __slots__ = ("_result",)

    def __init__(
        self,
        group: Group,
        what: str,
        steps: Steps,
        result: Callable[[], T],
        *,
        everyone: bool | None,
        timeout: float,
    ) -> None:
        self._result = result
        super().__init__(group, what, steps, everyone=everyone, timeout=timeout)

    @property
    def result(self) -> T:
        """What came of it. Raises CommError as long as it is not complete."""
        if not self.done:
            raise CommError(f"{self._where()} is not complete: wait() before you take its result")
        return self._result()


class Verbs:
    """The base of the verbs, over all ranks of ``transport``."""

    transport: Transport
    timeout: float
    rank: int
    size: int
    _check: Checks

    def _start(self, group: Group, what: str, steps: Steps, *, everyone: bool = True) -> Work:
        return Work(group, what, steps, everyone=everyone, timeout=self.timeout)

    def _start_for(
        self, group: Group, what: str, steps: Steps, result: Callable[[], T]
    ) -> ResultWork[T]:
        return ResultWork(group, what, steps, result, everyone=True, timeout=self.timeout)
