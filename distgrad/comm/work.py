"""A collective in flight: drives an algorithm's generator and watches over the wait.

It knows nothing of what the algorithm computes.
"""

from __future__ import annotations

from itertools import chain
from time import perf_counter

from distgrad.comm import fork
from distgrad.comm.fingerprint import agree
from distgrad.comm.group import Group
from distgrad.comm.message import Request, Steps
from distgrad.comm.patience import Patience
from distgrad.comm.rank_state import Notice
from distgrad.errors import CommError, MismatchError, PeerFailedError
from distgrad.tracing import tracer

_BRIEF = 0.05  # seconds without a message that are no matter for patience


class Work:
    """A collective that has been started: the check that all are in it, then its steps.

    All collectives of a rank that are in flight progress while any of them is waited for, so
    ranks may wait for them in different orders. One thread at a time may drive a rank's works.
    """

    __slots__ = (
        "_arrived",
        "_error",
        "_state",
        "_steps",
        "_timeout",
        "_waiting",
        "done",
        "group",
        "number",
        "what",
    )

    def __init__(
        self, group: Group, what: str, steps: Steps, *, everyone: bool | None, timeout: float
    ) -> None:
        """Start it; ``everyone`` as in fingerprint.agree, ``timeout`` in seconds as in ``wait``.

        With None for everyone the steps themselves check who is in it.
        """
        self.group = group
        self.what = what
        self.number = group.number
        self.done = False
        self._timeout = timeout
        self._arrived = 0.0  # when the check was passed
        check = () if everyone is None else agree(group, what, everyone=everyone)
        self._steps = chain(check, self._note_arrival(), steps)
        self._waiting: list[Request] = []
        self._error: BaseException | None = None
        self._state = state = group.transport.state
        state.works.append(self)
        state.times.one_more()
        if (listener := tracer.get()) is not None:
            listener.started(group.transport.context, self.number, what)
        self.poll()

    def poll(self) -> bool:
        """Advance as far as possible without waiting; True once the collective is complete.

        Raises CommError (or a subclass) if the collective failed.
        """
        if self.done:
            return True
        if self._error is not None:
            raise self._error
        # Alone in its world, a child may be what its parent was.
        if fork.generation != self._state.generation and self._state.size > 1:
            raise CommError(
                f"{self._where()} was called in a process that this rank has forked; a child is no "
                "rank, so it may compute and load data, but not train or communicate: do that in "
                "the rank itself"
            )
        waiting = self._waiting
        try:
            while True:
                while waiting:
                    if not waiting[-1].test():
                        return False
                    waiting.pop()
                    self._state.completed += 1
                waiting.extend(next(self._steps))
        except StopIteration:
            self.done = True
            self._leave()
            self.group.close()
            if (listener := tracer.get()) is not None:
                listener.completed(self.group.transport.context, self.number)
            return True
        except BaseException as error:  # even Ctrl-C: the generator is gone, so the work is
            self._fail(error)
            raise

    def soon(self) -> bool:
        """Advance without waiting, as a sum inside a node may; True if it is complete."""
        return self.poll()

    def wait(self) -> None:
        """Return when the collective is complete.

        Raises CommTimeoutError after the communicator's timeout without progress, PeerFailedError
        when a rank it needs has left, MismatchError when the ranks do not call the same collective.
        """
        if not self.done:
            self.wait_on(perf_counter())

    def wait_on(self, begun: float, arrived: float | None = None) -> None:
        """Wait as ``wait`` does; count all since ``begun``, where ``arrived`` is known already."""
        transport, state = self.group.transport, self._state
        since, completed = 0.0, -1
        patience: Patience | None = None
        while not self.poll():
            if len(state.works) > 1:
                for work in list(state.works):
                    work.poll()
            now = perf_counter()
            if completed != state.completed:
                since, completed = now, state.completed
                continue
            try:
                # After the poll: what this rank sees itself says more than what others report.
                if state.departed or state.failures:
                    self._check_peers()
                transport.back_off(now - since)
                if transport.timed and now - since > _BRIEF:
                    patience = patience or Patience(transport, self._name(), self._timeout)
                    patience.idle(now - since, self._peers)
            except CommError as error:
                self._fail(error)
                raise
        state.times.held_up(self.what, begun, self._arrived if arrived is None else arrived)

    def _note_arrival(self) -> Steps:
        """Note that all ranks have come, and let works that were started earlier go on first."""
        self._arrived = perf_counter()
        # They are wanted earlier. Their checks may have come with this one's; what they send must
        # not stand behind what this one sends.
        for work in [*self._state.works]:
            if work is self:
                break
            work.poll()
        yield from ()

    def _leave(self) -> None:
        """Be in flight no longer."""
        self._state.works.remove(self)
        self._state.times.one_less()

    def _fail(self, error: BaseException) -> None:
        """Remember the failure and tell the other ranks, who would wait for ever otherwise."""
        transport, state = self.group.transport, self._state
        self._error = error
        if hasattr(error, "add_note") and not isinstance(error, CommError):
            error.add_note(f"in {self._where()}")
        if self in state.works:
            self._leave()
        state.failed_works.append(self)
        if isinstance(error, Exception):
            progress = {transport.context: (self.number, list[int]())}
            transport.announce(Notice(state.rank, type(error).__name__, progress, _text_of(error)))

    def _check_peers(self) -> None:
        """Raise if a rank has failed or left that this collective needs; first what began it."""
        transport, state = self.group.transport, self._state
        reports = [
            n for n in [*state.failures] if transport.context in n.progress and self._needs(n)
        ]
        relayed = [n for n in reports if n.kind == PeerFailedError.__name__]
        if len(relayed) == len(reports):
            for rank, notice in [*state.departed.items()]:
                if self._needs(notice):
                    state.peer_error = PeerFailedError(
                        f"{self._where()} cannot complete: rank {rank} has left the job without "
                        "taking part in it; every rank must call the same collectives (look for a "
                        f"return, break or sys.exit() that only rank {rank} reached)"
                    )
                    raise state.peer_error
        for notice in [n for n in reports if n not in relayed] + relayed:
            kind = MismatchError if notice.kind == MismatchError.__name__ else PeerFailedError
            state.peer_error = kind(
                f"{self._where()} cannot complete: rank {notice.rank} reports: {notice.text}"
            )
            raise state.peer_error

    def _needs(self, notice: Notice) -> bool:
        """Whether this collective waits for something the rank that spoke will never do."""
        transport = self.group.transport
        return notice.rank in transport.members and notice.missing(transport.context, self.number)

    def _peers(self) -> set[int]:
        """Return the ranks of the world that this collective waits for; all if MPI alone knows."""
        members = self.group.transport.members
        awaited = {members[r.peer] for r in self._waiting if not r.test()}
        return awaited - {self._state.rank} or set(members)

    def _where(self) -> str:
        return f"{self._state.label} {self._name()}"

    def _name(self) -> str:
        return f"collective {self.number} ({self.what})"


def _text_of(error: Exception) -> str:
    return str(error) if isinstance(error, CommError) else f"{type(error).__name__}: {error}"
