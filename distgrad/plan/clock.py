"""A virtual clock: one rank's step, its collectives moving on where distgrad polls them.

All ranks are alike (equal nodes, the same model), so they do the same at the same time: what comes
from another rank was sent when this one sent. So one rank stands for 10,000, exactly. A collective
moves on when a gradient is ready, and while the rank waits; a node's link serves one round after
another; a core does one thing at a time. It knows rounds and bytes, no algorithm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from distgrad.plan.network import Machine
from distgrad.plan.schedule import Phase, Phases


@dataclass
class Flight:
    """A collective under way."""

    name: str
    phases: Phases
    arrives: float = 0.0
    """When what it waits for is there."""
    at: int = 0
    """The phase it is in."""
    left: int = 0
    """Rounds of this phase that are not over."""
    worked: float = 0.0
    """Seconds of what it does after this round that were done while its messages came."""
    done: bool = False

    @property
    def phase(self) -> Phase:
        """The phase it is in."""
        return self.phases[self.at]


@dataclass
class Clock:
    """Virtual time, in seconds, of one rank of a machine."""

    machine: Machine
    now: float = 0.0
    busy: float = 0.0
    """Seconds the core has spent on collectives."""
    events: int = 0
    """Rounds and stretches of equal rounds gone through."""
    flights: list[Flight] = field(default_factory=list)
    _link_free: float = 0.0

    def compute(self, seconds: float) -> None:
        """Let the rank compute; nothing moves on but what the network carries."""
        self.now += seconds

    def start(self, name: str, phases: Phases) -> Flight:
        """Start a collective, as far as it goes without waiting."""
        flight = Flight(name, phases)
        if phases:
            self._work(self.machine.call)
            flight.left = phases[0].rounds
            self._post(flight)
            self.flights.append(flight)
        else:
            flight.done = True
        return flight

    def poll(self) -> None:
        """Move on every collective in flight as far as it goes now."""
        for flight in list(self.flights):
            while not flight.done and flight.arrives <= self.now:
                self._end_round(flight)
        self.flights = [flight for flight in self.flights if not flight.done]

    def wait(self, flights: Sequence[Flight]) -> None:
        """Wait until these are over; the others move on meanwhile."""
        while any(not flight.done for flight in flights):
            self._skip_equal_rounds()
            first = min(self.flights, key=lambda flight: flight.arrives)
            if first.arrives > self.now:
                if first.phase.each_as_it_comes:
                    most = self._receiving(first.phase) * self.machine.turns - first.worked
                    early = most * (1 - 1 / first.phase.messages)
                    first.worked += min(first.arrives - self.now, early)
                self.now = first.arrives
            self.poll()

    # -- rounds -------------------------------------------------------------------------------

    def _post(self, flight: Flight) -> None:
        phase, machine, began = flight.phase, self.machine, self.now
        self._work(self._sending(phase))
        if phase.link:
            # Each message goes as soon as it is made, the last when all is.
            first = began + (self.now - began) / max(1, phase.messages)
            carried = max(first, self._link_free) + phase.link * machine.beta
            self._link_free = max(carried, self.now)
            flight.arrives = self._link_free + machine.latency
        else:
            flight.arrives = self.now + machine.inside_latency

    def _end_round(self, flight: Flight) -> None:
        self.events += 1
        self._work(self._receiving(flight.phase))
        self.now -= flight.worked
        flight.worked = 0.0
        flight.left -= 1
        if not flight.left:
            flight.at += 1
            if flight.at == len(flight.phases):
                flight.done = True
                return
            flight.left = flight.phase.rounds
        self._post(flight)

    def _skip_equal_rounds(self) -> None:
        """Go through the rounds that all flights have left but one each, if there are many.

        In each turn every flight does a round: the turn lasts as long as the link or the core is
        busy with all of them, or as the longest takes by itself.
        """
        rounds = min(flight.left for flight in self.flights) - 1
        if rounds < 1:
            return
        machine, phases = self.machine, [flight.phase for flight in self.flights]
        core = [self._sending(p) + self._receiving(p) for p in phases]
        link = [p.link * machine.beta for p in phases]
        alone = [
            c + n + (machine.latency if p.link else machine.inside_latency)
            for c, n, p in zip(core, link, phases, strict=True)
        ]
        turn = max(sum(core), sum(link), *alone)
        self.events += 1
        self.now += rounds * turn
        self.busy += rounds * sum(core)
        self._link_free += rounds * turn
        for flight in self.flights:
            flight.left -= rounds
            flight.arrives += rounds * turn

    # -- the core -----------------------------------------------------------------------------

    def _work(self, seconds: float) -> None:
        seconds *= self.machine.turns
        self.now += seconds
        self.busy += seconds

    def _sending(self, phase: Phase) -> float:
        m = self.machine
        copied = phase.inside * m.inside_beta / 2 + phase.outside * m.wire_copy / 2
        return phase.messages * m.overhead / 2 + copied + m.adding(phase.before)

    def _receiving(self, phase: Phase) -> float:
        m = self.machine
        copied = phase.inside * m.inside_beta / 2 + phase.outside * m.wire_copy / 2
        return phase.messages * m.overhead / 2 + copied + m.adding(phase.after)
