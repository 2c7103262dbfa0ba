"""The ranks' seconds as a table, and what it says: who holds the others up. Numbers only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distgrad.comm.stacks import spelled

CULPABLE = 0.2
"""The share of the step's time that must be lost to a rank, or to a network, to be worth naming."""
SLOWER = 2.0
"""How many times slower than the others' a host's network must be."""
_HOSTS = 4  # that are listed


@dataclass(frozen=True)
class Share:
    """What became of one rank's time: ``seconds`` in ``steps``, on the wall."""

    host: str
    steps: int
    seconds: float
    waiting: float
    """Held up in a collective until the others had come to it."""
    transfer: float
    """Held up in a collective to which all had come."""
    hidden: float
    """Of communication under way while the rank computed; a part of ``compute``."""

    @property
    def compute(self) -> float:
        """All the rest: forward, backward, the optimizer, reading data."""
        return self.seconds - self.held_up

    @property
    def held_up(self) -> float:
        """In collectives."""
        return self.waiting + self.transfer

    def plus(self, other: Share) -> Share:
        """Return the sum of two stretches of time."""
        return Share(
            self.host,
            self.steps + other.steps,
            self.seconds + other.seconds,
            self.waiting + other.waiting,
            self.transfer + other.transfer,
            self.hidden + other.hidden,
        )


@dataclass(frozen=True)
class Shares:
    """The time of all ranks, in rank order."""

    ranks: tuple[Share, ...]

    @property
    def seconds(self) -> float:
        """The longest a rank took; ranks that train together take the same time."""
        return max(share.seconds for share in self.ranks)

    @property
    def step(self) -> float:
        """Seconds a step."""
        return self.seconds / max(1, self.ranks[0].steps)

    @property
    def transfer(self) -> float:
        """Seconds of transfer no rank can be without: who is held up least waits for nobody."""
        return min(share.held_up for share in self.ranks)

    def of(self, share: Share) -> tuple[float, float, float]:
        """Return the parts of a rank's time: compute, waiting, transfer; their sum is 1.

        A check that asks the left neighbour alone does not see for whom that one waits itself, so
        transfer is at most what the rank has that is held up least.
        """
        transfer = min(share.transfer, self.transfer)
        whole = max(share.seconds, 1e-9)
        return share.compute / whole, (share.held_up - transfer) / whole, transfer / whole

    def slow(self) -> dict[int, float]:
        """Return the ranks to which much of the time is lost, and how much of it: 0 to 1.

        All ranks take the same time for a step, so one that computes longer is one the others
        wait for. It is compared with the (lower) median of all, so that at most half are slow.
        """
        whole = max(self.seconds, 1e-9)
        lost = {r: (s.compute - self.usual) / whole for r, s in enumerate(self.ranks)}
        return {rank: part for rank, part in lost.items() if part > CULPABLE}

    @property
    def usual(self) -> float:
        """Seconds that most ranks compute, or less."""
        return sorted(share.compute for share in self.ranks)[(len(self.ranks) - 1) // 2]

    @property
    def network_matters(self) -> bool:
        """Whether transfers hold all ranks up for a good part of the time, on three hosts or more.

        Of two hosts nobody can say which of them is the slow one.
        """
        hosts = {share.host for share in self.ranks}
        return len(hosts) > 2 and self.transfer > CULPABLE * self.seconds

    def plus(self, other: Shares) -> Shares:
        """Return the sum of two stretches of time."""
        return Shares(tuple(a.plus(b) for a, b in zip(self.ranks, other.ranks, strict=True)))

    # -- as words -------------------------------------------------------------------------------

    def described(self) -> str:
        """Say where the time went, on the average of the ranks."""
        parts = [self.of(share) for share in self.ranks]
        compute, waiting, transfer = (sum(p) / len(parts) for p in zip(*parts, strict=True))
        hidden = sum(s.hidden for s in self.ranks) / len(self.ranks) / max(1, self.ranks[0].steps)
        return (
            f"{spell(self.step)} a step on {spelled(range(len(self.ranks)))}: compute "
            f"{compute:.0%}, waiting for others {waiting:.0%}, transfer {transfer:.0%} "
            f"({spell(hidden)} of communication a step hidden under compute)"
        )

    def accusation(self) -> str:
        """Name the slow ranks; "" if there are none."""
        slow = self.slow()
        if not slow:
            return ""
        steps = max(1, self.ranks[0].steps)
        mine = max(self.ranks[rank].compute for rank in slow) / steps
        verb = "is" if len(slow) == 1 else "are"
        hosts = _on(dict.fromkeys(self.ranks[r].host for r in slow))
        return (
            f"{spelled(slow)} ({hosts}) {verb} slow: "
            f"{spell(mine)} of computing a step, {spell(self.usual / steps)} on the others: "
            f"{max(slow.values()):.0%} of the time is lost to it"
        )


def slow_hosts(rates: Mapping[str, float]) -> dict[str, float]:
    """Return the hosts whose network is much slower than the others', with its rate.

    Of two nobody can say; of more, at most half are slow.
    """
    if len(rates) < 3:
        return {}
    return {host: rate for host, rate in rates.items() if rate < median_rate(rates) / SLOWER}


def median_rate(rates: Mapping[str, float]) -> float:
    """Return the (upper) median."""
    return sorted(rates.values())[len(rates) // 2]


def network_accusation(rates: Mapping[str, float]) -> str:
    """Name the hosts with a slow network; "" if there are none."""
    slow = slow_hosts(rates)
    if not slow:
        return ""
    rate, others = min(slow.values()), median_rate(rates)
    return (
        f"the network of {_on(slow)} is slow: {_mbit(rate)} Mbit/s, the others' {_mbit(others)}; "
        "all ranks wait for what passes it"
    )


def host_rates(pairs: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """Return each host's rate from those of pairs (from, to): that of its slower direction.

    A direction is as fast as the fastest pair it is in: a slow pair may be the other one's fault.
    """
    rates: dict[str, float] = {}
    for host in dict.fromkeys(host for pair in pairs for host in pair):
        sent = [rate for (source, _), rate in pairs.items() if source == host]
        received = [rate for (_, target), rate in pairs.items() if target == host]
        rates[host] = min(max(way) for way in (sent, received) if way)
    return rates


def spell(seconds: float) -> str:
    """Return seconds as words: 3.1 ms, 2.40 s."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def _on(hosts: Sequence[str] | Mapping[str, object]) -> str:
    names = [*hosts]
    more = f" and {len(names) - _HOSTS} more" if len(names) > _HOSTS else ""
    return f"host{'s' if len(names) > 1 else ''} {', '.join(names[:_HOSTS])}{more}"


def _mbit(rate: float) -> str:
    return f"{rate * 8e-6:.0f}"
