"""What a rank does while nothing comes: it asks who else waits, warns once, and names the culprit.

The left neighbour in a ring may itself wait for another. Ranks that wait listen to each other, so
whoever does not answer is the one all wait for. One rank speaks for all, and shows where in their
code the others are. It knows nothing of what is waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from distgrad.comm import guard, stacks
from distgrad.comm.neighbours import stopped
from distgrad.comm.rank_state import Notice
from distgrad.comm.stacks import RollCall
from distgrad.comm.transport import Transport
from distgrad.errors import CommError, CommTimeoutError

_ANSWER = 1.0  # seconds the others have to answer; they listen every 50 ms while they wait
_TOLD = 4  # silent ranks of which it is said what is known


def check_timeout(timeout: float) -> None:
    """Raise CommError for a time that is over before it has begun, or never is: NaN."""
    if not timeout > 0:
        raise CommError(
            f"timeout={timeout}: a rank must be given more than 0 seconds to come; math.inf waits "
            "for ever"
        )


def check_warning(warn_after: float) -> None:
    """Raise CommError for a time that no wait can reach: 0 or less, or NaN."""
    if not warn_after > 0:
        raise CommError(
            f"warn_after={warn_after}: seconds of waiting, more than 0, after which it is said for "
            "whom; math.inf says nothing"
        )


class Patience:
    """One wait of one rank for the collective that ``where`` describes.

    Towards the time at which something is to be said (the warning, then the end) the ranks that
    wait say so; then one of them, which speaks for all, asks everyone for the stack.
    """

    def __init__(self, transport: Transport, where: str, timeout: float) -> None:
        self._transport, self._state = transport, transport.state
        self._where, self._timeout = where, timeout
        self._begun = perf_counter()
        warn = self._state.warn_after
        self._due = [warn, timeout] if timeout > warn else [timeout]
        self._answers: dict[int, Notice] = {}
        self._announced = 0.0
        self._prepare()

    def _prepare(self) -> None:
        """Get ready for what is due next."""
        due = self._due[0]
        self._margin = min(_ANSWER, due / 4)
        self._lead = min(self._margin + stacks.SECONDS, 0.9 * due)
        self._again = self._margin / 2  # seconds between two announcements, however many ask
        self._asked: float | None = None
        self._speaks: bool | None = None
        self._roll_call: RollCall | None = None

    def idle(self, seconds: float, peers: Callable[[], set[int]]) -> None:
        """Go on waiting: nothing has come for so many seconds.

        ``peers`` tells the ranks of the world from which, or to which, something should. Raises
        CommTimeoutError, which names who is missing, when the time is up.
        """
        now, soon = perf_counter(), seconds > self._due[0] - self._lead
        if not soon:
            if self._asked is not None:
                self._prepare()
        elif self._asked is None:
            self._asked = now
            self._announce(now, peers(), asks=True)
        if self._state.asked and now - self._announced > self._again:
            self._announce(now, peers())
        if self._asked is None or now - self._asked < self._margin:
            return
        since = self._asked - self._again
        if self._speaks is None:
            silent = self._silent(peers(), since)
            self._speaks = self._is_to_speak(silent, peers(), since)
            if self._speaks:
                self._roll_call = RollCall(self._transport, silent)
        # Another rank that is to speak gets the time to: the job ends with the first that gives up.
        due = self._due[0] if self._speaks else self._due[0] + self._margin
        if seconds > due and now - self._asked >= self._lead:
            self._speak(seconds, self._silent(peers(), since))

    def _speak(self, seconds: float, silent: list[int]) -> None:
        """Warn or give up, if it is this rank's turn to say it."""
        last, speaks, why = len(self._due) == 1, self._speaks, self._why(silent)
        if self._roll_call is not None:
            waiting = {r: notice.text for r, notice in self._answers.items()}
            waiting[self._state.rank] = self._where
            told = [] if last else [f"{self._where} has waited {seconds:.0f} s: {why}"]
            told.append(self._roll_call.report(waiting))
            guard.say("\n".join(told), self._state.label)
        if last:
            self._give_up(why, speaks=bool(speaks))
        self._due.pop(0)
        self._prepare()

    def _announce(self, now: float, peers: set[int], *, asks: bool = False) -> None:
        """Say that this rank waits; ``asks`` the others to say whether they do."""
        self._state.asked, self._announced = False, now
        notice = Notice(self._state.rank, "waiting", {}, self._where, sorted(peers), asks)
        self._transport.announce(notice)

    def _silent(self, peers: set[int], since: float) -> list[int]:
        """Follow who waits for whom to those that have not said since then that they wait."""
        heard = [*self._state.waiting.items()]  # the listener may add one meanwhile
        self._answers = {r: notice for r, (at, notice) in heard if at > since}
        silent, seen, ahead = set(), {self._state.rank}, list(peers)
        while ahead:
            rank = ahead.pop()
            if rank not in seen:
                seen.add(rank)
                if rank in self._answers:
                    ahead.extend(self._answers[rank].waits_for)
                else:
                    silent.add(rank)
        return sorted(silent)

    def _is_to_speak(self, silent: list[int], peers: set[int], since: float) -> bool:
        """Whether this rank tells it: of a thousand whose time is up, one is enough.

        Those that wait for the culprit itself know most; of them, the first one speaks.
        """
        if len(self._due) > 1 and self._state.wanted_at > self._begun:
            return False  # one that came earlier has warned, and shown this rank's stack
        culprits = set(silent)
        known = {r: n.waits_for for r, n in self._answers.items()}
        due = [r for r in known if self._state.asked_at.get(r, 0.0) > since]
        waits_for = {self._state.rank: list(peers)} | {r: known[r] for r in due}
        know = [r for r, ranks in waits_for.items() if not culprits or culprits.intersection(ranks)]
        # Who knows most may have come later, and its time is not up yet.
        return self._state.rank == min(know or waits_for)

    def _give_up(self, why: str, *, speaks: bool) -> None:
        error = CommTimeoutError(
            f"{self._state.label} {self._where} made no progress for {self._timeout:g} s: {why}. "
            "If ranks may be apart that long, allow it with dg.init(timeout=...)"
        )
        if not speaks:
            self._state.peer_error = error  # it is another rank's turn to tell it
        raise error

    def _why(self, silent: list[int]) -> str:
        if not silent:
            others = sorted(self._answers.items())
            listed = ", ".join(f"rank {r} in {notice.text}" for r, notice in others)
            return f"the ranks wait for each other ({listed}); make them call in the same order"
        told = "; ".join(f"rank {r} {self._known_of(r)}" for r in silent[:_TOLD])
        return told + (f"; nor do {len(silent) - _TOLD} more" if len(silent) > _TOLD else "")

    def _known_of(self, rank: int) -> str:
        """Say what is known of a silent rank: its last collective, whether it was stopped."""
        facts = []
        if (met := self._state.seen(rank)) is not None:
            at, number, what = met
            facts.append(f"seen {perf_counter() - at:.0f} s ago in collective {number} ({what})")
        if self._roll_call is not None and self._roll_call.answered(rank):
            return f"is busy elsewhere ({', '.join([*facts, 'its stack is printed'])})"
        facts += filter(None, [stopped(rank)])
        known = ", ".join(facts) or "busy, stopped, or not in any collective"
        return f"does not answer ({known})"
