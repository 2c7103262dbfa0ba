"""The ranks' seconds as a table, and what it says: who holds the others up. Numbers only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from distgrad.comm import cores
from distgrad.comm.stacks import spelled
from distgrad.observe.durations import spell_seconds

CULPABLE = 0.2
"""The share of the step's time that must be lost to a rank, or to a network, to be worth naming."""
SLOWER = 2.0
"""How many times slower than the others' a host's network must be."""
_HOSTS = 4  # that are listed
_WORTH_SAYING = 0.005  # of the time
_CURE = "let workers read ahead: DataLoader(…, num_workers=2)"


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
    data: float = 0.0
    """Waited for the loader to read samples."""
    threads: int = 0
    """Of its matrix products; 0 if that is not known."""
    cores: str = ""
    """That it may run on, as the kernel spells them: "0-3,8"; "" if that is not known."""

    @property
    def compute(self) -> float:
        """All the rest: forward, backward, the optimizer."""
        return self.busy - self.data

    @property
    def busy(self) -> float:
        """All in which it was not held up by others: computing and reading data."""
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
            self.data + other.data,
            other.threads,
            other.cores,
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

    def of(self, share: Share) -> tuple[float, float, float, float]:
        """Return the parts of a rank's time: compute, waiting, transfer, data; their sum is 1.

        A check that asks the left neighbour alone does not see for whom that one waits itself, so
        transfer is at most what the rank has that is held up least.
        """
        transfer = min(share.transfer, self.transfer)
        whole = max(share.seconds, 1e-9)
        waiting = share.held_up - transfer
        return share.compute / whole, waiting / whole, transfer / whole, share.data / whole

    def slow(self) -> dict[int, float]:
        """Return the ranks to which much of the time is lost, and how much of it: 0 to 1.

        All ranks take the same time for a step, so one that is busy longer is one the others
        wait for. It is compared with the (lower) median of its peers (see there).
        """
        whole = max(self.seconds, 1e-9)
        usual = self._median("busy", self.peers)
        lost = {r: (s.busy - usual) / whole for r, s in enumerate(self.ranks)}
        return {rank: part for rank, part in lost.items() if part > CULPABLE}

    def slow_readers(self) -> dict[int, float]:
        """Return those of ``slow()`` that lose the time by reading data rather than computing."""
        computing, reading = self.usual, self.usual_data
        return {
            rank: part
            for rank, part in self.slow().items()
            if self.ranks[rank].data - reading > self.ranks[rank].compute - computing
        }

    @cached_property
    def peers(self) -> Sequence[int]:
        """The ranks with which others are compared: all, so that at most half are slow.

        Or, where those are faster, the ones with the most cores: of three ranks of which two share
        a core, it is the two that are slow.
        """
        everyone = range(len(self.ranks))
        rooms = cores.room(self.places)
        most = [rank for rank in everyone if rooms[rank] == max(rooms)]
        return min((everyone, most), key=lambda ranks: self._median("busy", ranks))

    @cached_property
    def places(self) -> tuple[cores.Place, ...]:
        """Where the ranks compute."""
        return tuple(cores.Place(share.host, share.cores, share.threads) for share in self.ranks)

    @property
    def usual(self) -> float:
        """Seconds that most ranks compute, or less."""
        return self._median("compute", self.peers)

    @property
    def usual_data(self) -> float:
        """Seconds that most ranks read data, or less."""
        return self._median("data", self.peers)

    def _median(self, what: str, ranks: Sequence[int]) -> float:
        return lower_median([getattr(self.ranks[rank], what) for rank in ranks])

    @property
    def data_matters(self) -> bool:
        """Whether all ranks wait for their loaders a good part of the time."""
        return self.usual_data > CULPABLE * self.seconds

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
        count = len(self.ranks)
        parts = zip(*map(self.of, self.ranks), strict=True)
        compute, waiting, transfer, data = [sum(part) / count for part in parts]
        said = [f"compute {compute:.0%}"]
        if data >= _WORTH_SAYING or count == 1:
            said.append(f"reading data {data:.0%}")
        if count == 1:
            return f"{spell_seconds(self.step)} a step: {', '.join(said)}"
        hidden = sum(s.hidden for s in self.ranks) / count / max(1, self.ranks[0].steps)
        said += [f"waiting for others {waiting:.0%}", f"transfer {transfer:.0%}"]
        return (
            f"{spell_seconds(self.step)} a step on {spelled(range(count))}: {', '.join(said)} "
            f"({spell_seconds(hidden)} of communication a step hidden under compute)"
        )

    def accusations(self) -> list[str]:
        """Name the slow ranks, those that compute long and those that read; [] if all is well."""
        slow, reading = self.slow(), self.slow_readers()
        computing = {rank: part for rank, part in slow.items() if rank not in reading}
        lines = [self._computes_long(computing)] if computing else []
        lines += [self._reads_long(reading)] if reading else []
        if not reading and self.data_matters:
            lines.append(self._all_read_long())
        return lines

    def _computes_long(self, slow: Mapping[int, float]) -> str:
        steps = max(1, self.ranks[0].steps)
        mine = max(self.ranks[rank].compute for rank in slow) / steps
        means = self.lacks(slow)
        return (
            f"{self._who(slow)} {_verb(slow, 'is', 'are')} slow: "
            f"{spell_seconds(mine)} of computing a step, {spell_seconds(self.usual / steps)} on "
            f"the others: {max(slow.values()):.0%} of the time is lost to it"
            f"{means and f'; {means}'}"
        )

    def _reads_long(self, slow: Mapping[int, float]) -> str:
        steps = max(1, self.ranks[0].steps)
        mine = spell_seconds(max(self.ranks[rank].data for rank in slow) / steps)
        others = spell_seconds(self.usual_data / steps)
        return (
            f"{self._who(slow)} {_verb(slow, 'reads', 'read')} data slowly: {mine} a step, "
            f"the others {others}: {max(slow.values()):.0%} of the time is "
            f"lost to it; look at where its data lies, or {_CURE}"
        )

    def _all_read_long(self) -> str:
        steps, part = max(1, self.ranks[0].steps), self.usual_data / max(self.seconds, 1e-9)
        return (
            f"reading data takes {spell_seconds(self.usual_data / steps)} of a step, "
            f"{part:.0%} of the time: {_CURE}"
        )

    def lacks(self, slow: Mapping[int, float]) -> str:
        """Say that the slow ranks have fewer threads or cores than all others; "" if not."""
        return (
            cores.in_training(self.places, slow)
            or _fewer("thread", [place.threads for place in self.places], slow)
            or _fewer("core", [cores.count(place.cores) for place in self.places], slow)
        )

    def _who(self, ranks: Mapping[int, float]) -> str:
        hosts = _on(dict.fromkeys(self.ranks[rank].host for rank in ranks))
        return f"{spelled(ranks)} ({hosts})"


def _fewer(what: str, count: Sequence[int], slow: Mapping[int, float]) -> str:
    mine = {count[rank] for rank in slow}
    others = {count[rank] for rank in range(len(count)) if rank not in slow}
    if len(mine) != 1 or len(others) != 1 or not 0 < min(mine) < min(others):
        return ""
    (few,), (many,) = mine, others
    verb = _verb(slow, "it computes", "they compute")
    return f"{verb} with {few} {what}{'' if few == 1 else 's'}, the others with {many}"


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


def lower_median(seconds: Sequence[float]) -> float:
    """Return the (lower) median."""
    return sorted(seconds)[(len(seconds) - 1) // 2]


def _verb(ranks: Mapping[int, float], one: str, several: str) -> str:
    return one if len(ranks) == 1 else several


def _on(hosts: Sequence[str] | Mapping[str, object]) -> str:
    names = [*hosts]
    more = f" and {len(names) - _HOSTS} more" if len(names) > _HOSTS else ""
    return f"host{'s' if len(names) > 1 else ''} {', '.join(names[:_HOSTS])}{more}"


def _mbit(rate: float) -> str:
    return f"{rate * 8e-6:.0f}"
