"""A step on the virtual clock: plain DDP, or ZeRO's stages, by any algorithm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from distgrad.comm import ALL_REDUCE, AUTO
from distgrad.errors import ShapeError
from distgrad.optim.norms import BLOCK
from distgrad.parallel.zero import at_once
from distgrad.plan.clock import Clock, Flight
from distgrad.plan.network import Machine
from distgrad.plan.profile import Bucket, Profile
from distgrad.plan.schedule import SCHEDULES, Layout, Phases, check, chosen, exchange

STRATEGIES = ("ddp", "zero=1", "zero=2", "zero=3")
"""By stage: what is cut over the ranks is nothing, optimizer state, gradients, parameters."""
_STEPS = 3  # gathers of one step run under the next: the last of these is as all that follow


@dataclass(frozen=True)
class Prediction:
    """One step, in seconds, of a rank among ``ranks``."""

    strategy: str
    algorithm: str
    """The one that runs: what "auto" has taken."""
    ranks: int
    step: float
    compute: float
    """The same step of as many processes that do not talk."""
    sums: float
    """Of ``step``, what the core does for collectives."""
    events: int

    @property
    def efficiency(self) -> float:
        """Compute over step; above 1 if the ranks share work that each would do alone."""
        return self.compute / self.step

    @property
    def exposed(self) -> float:
        """What talking adds to the step, not hidden under compute."""
        return max(0.0, self.step - self.compute)


def predict(
    profile: Profile,
    machine: Machine,
    *,
    zero: int = 0,
    algorithm: str = AUTO,
    canonical: bool = False,
    jitter: float = 0.0,
) -> Prediction:
    """Return the step of a model on a machine.

    ``zero`` is the stage, 0 plain DDP; ``jitter`` the standard deviation of a rank's compute time,
    as a part of it: all wait for the slowest. ``canonical`` as in ``comm.choose``.
    Errors: ShapeError for a stage that does not exist, CommError for an algorithm without schedule.
    """
    if zero not in range(len(STRATEGIES)):
        raise ShapeError(f"zero={zero!r}: the stages are 0 (plain), 1, 2 and 3")
    layout = Layout(machine.nodes, machine.ranks_per_node)
    name = chosen(algorithm, layout, canonical=canonical)
    slowest = 1 + jitter * largest_of(machine.ranks)
    step = _Step(profile.slower(machine.turns * slowest), machine, name, zero)
    before, busy = 0.0, 0.0
    for _ in range(_STEPS):
        before, busy = step.clock.now, step.clock.busy
        step.run()
    return Prediction(
        STRATEGIES[zero],
        name,
        machine.ranks,
        step.clock.now - before,
        profile.step * machine.turns,
        step.clock.busy - busy,
        step.clock.events,
    )


class _Step:
    """A step, again and again; what is gathered at its end arrives under the next."""

    def __init__(self, profile: Profile, machine: Machine, algorithm: str, zero: int) -> None:
        self.profile, self.zero = profile, zero
        self.clock = Clock(machine)
        self._layout = Layout(machine.nodes, machine.ranks_per_node)
        self._schedule = SCHEDULES[algorithm]
        self._check = check(self._layout, everyone=not ALL_REDUCE[algorithm].left_only)
        self._meet = check(self._layout, everyone=True)
        self._fetches = zero == 3 and machine.nodes > 1
        """Whether parameters are there while they are used alone; one node has them once anyway."""
        self._once = machine.ranks_per_node > 1
        """Whether the ranks of a node have the parameters in common."""
        self._phases: dict[tuple[object, float], Phases] = {}
        self._gathers: dict[int, Flight] = {}  # by the bucket's index
        self._reads = sorted(_first_reads(profile), key=lambda read: read[1])

    def run(self) -> None:
        """Go through forward, backward and the optimizer."""
        self._forward()
        self._backward()
        clock, layout = self.clock, self._layout
        if self.zero and layout.ranks > 1:
            told = self._summed(self._schedule.all_reduce, _told(self.profile))
            clock.wait([clock.start("what the ranks' parts are", told)])
        if self._once and self.zero:  # until nobody reads what is written now
            clock.wait([clock.start("before parameters are written", self._meet)])
        clock.compute(self.profile.optimizer / (layout.ranks if self.zero else 1))
        if self.zero and not self._fetches:
            for index, _ in self._reads:
                self._gather(index)

    def _forward(self) -> None:
        gone = 0.0
        for index, at in self._reads if self.zero else []:
            self.clock.compute(at - gone)
            gone = at
            self.clock.poll()
            self._need(index)
        self.clock.compute(self.profile.forward - gone)

    def _backward(self) -> None:
        clock, profile = self.clock, self.profile
        buckets = profile.buckets
        missing = [len(bucket.parameters) for bucket in buckets]
        bucket_of = {name: i for i, b in enumerate(buckets) for name in b.parameters}
        flights: list[Flight] = []
        gone = 0.0
        self._fetch(0)
        for name, at in profile.ready:
            clock.compute(at - gone)
            gone = at
            missing[bucket_of[name]] -= 1
            while len(flights) < len(buckets) and not missing[len(flights)]:
                self._make_room(flights)
                flights.append(self._sum(buckets[len(flights)]))
                self._fetch(len(flights))
            clock.poll()
        clock.compute(profile.backward - gone)
        for bucket in buckets[len(flights) :]:
            self._make_room(flights)
            flights.append(self._sum(bucket))
        for flight in flights:
            clock.wait([flight])

    def _make_room(self, flights: Sequence[Flight]) -> None:
        """Wait until so few are on their way as stages 2 and 3 let be before the next starts."""
        if self.zero >= 2:
            for flight in [f for f in flights if not f.done][: 1 - at_once(self._layout.ranks)]:
                self.clock.wait([flight])

    def _sum(self, bucket: Bucket) -> Flight:
        collective = self._schedule.reduce_scatter if self.zero else self._schedule.all_reduce
        return self.clock.start(bucket.name, self._summed(collective, bucket.nbytes))

    def _fetch(self, index: int) -> None:
        """Have the parameters of a bucket for backward, if stage 3 has dropped them in forward."""
        if self._fetches and index < len(self.profile.buckets):
            self._need(index)

    def _gather(self, index: int) -> None:
        bucket = self.profile.buckets[index]
        phases = self._meet + exchange(bucket.nbytes, self._layout, once=self._once)
        self._gathers[index] = self.clock.start(bucket.name, phases)

    def _need(self, index: int) -> None:
        """Wait for a bucket's parameters, which stage 3 asks for here alone."""
        if self._fetches:
            self._gather(index)
        flight = self._gathers.pop(index, None)
        if flight is not None:
            self.clock.wait([flight])

    def _summed(self, collective: Callable[[float, Layout], Phases], nbytes: float) -> Phases:
        key = (collective, nbytes)
        if key not in self._phases:
            self._phases[key] = self._check + collective(nbytes, self._layout)
        return self._phases[key]


def _told(profile: Profile) -> float:
    """Return the bytes of what ranks tell each other of their gradients' parts.

    The square of each block, in double precision, and who used what.
    """
    blocks = sum(-(-size // (4 * BLOCK)) for _, size in profile.sizes)
    return 8.0 * (blocks + len(profile.sizes))


def _first_reads(profile: Profile) -> Iterator[tuple[int, float]]:
    """Yield each bucket's index and when forward first reads one of its parameters."""
    read = profile.first_read()
    for index, bucket in enumerate(profile.buckets):
        yield index, min(read[name] for name in bucket.parameters)


@lru_cache(maxsize=64)
def largest_of(count: int) -> float:
    """Return the expected largest of ``count`` standard normal numbers."""
    if count == 1:
        return 0.0
    # E = ∫ over u in 0..1 of the quantile of u^(1/n), at the middles of equal steps.
    steps = 20_000
    quantile = NormalDist().inv_cdf
    return float(np.mean([quantile(((k + 0.5) / steps) ** (1 / count)) for k in range(steps)]))
