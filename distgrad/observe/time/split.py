"""TimeSplit: where the time of a distributed training goes, and who holds the others up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from distgrad.comm import cores, gather_json, guard
from distgrad.comm.times import Spent
from distgrad.errors import DistgradError
from distgrad.observe.durations import spell_seconds
from distgrad.observe.time import network
from distgrad.observe.time.table import Share, Shares, network_accusation, slow_hosts
from distgrad.parallel import DistributedDataParallel, World
from distgrad.parallel.numerics import blas_threads

STEPS, SECONDS = 100, 5.0
"""The shortest stretch after which the ranks compare their times: so many steps and seconds."""
_ENOUGH = 1.0  # seconds of training below which nobody is accused
_WARM_UP = 1  # steps that are not counted: kernels compile in the first one


@dataclass(frozen=True)
class _Mark:
    """The counters of this rank at one moment; they only grow."""

    now: float
    waiting: float
    transfer: float
    under_way: float
    data: float


class TimeSplit:
    """Splits each step's time, on every rank: computing, reading data, waiting, transfer.

    ``with TimeSplit(ddp) as split:`` around the training loop, on every rank. A step ends where a
    batch's gradients are summed; with a World instead of a DistributedDataParallel, where
    ``split.step()`` is called. Reading data is what the loop waits for a DataLoader. Only time in
    which a rank is held up counts as waiting or transfer; what is sent while it computes is
    ``hidden``. Every 100 steps (and 5 s) the ranks compare their
    times: if one is to blame for more than 20 % of it, ``say`` gets a line with its name, once,
    until another one is. Where transfers take that much, between three hosts or more, each host's
    network is tested with a few messages of 1 MiB. Leaving the block is collective; ``summary()``
    and ``shares`` are the same on all ranks from then on. After an exception there is none.
    Errors: DistgradError for what is neither of the two.
    """

    def __init__(
        self,
        source: DistributedDataParallel | World,
        *,
        say: Callable[[str], None] | None = None,
    ) -> None:
        ddp = source if isinstance(source, DistributedDataParallel) else None
        if not isinstance(source, DistributedDataParallel | World):
            raise DistgradError(
                f"TimeSplit takes a DistributedDataParallel, whose batches are the steps, or a "
                f"World, with split.step() at the end of each; got a {type(source).__name__}"
            )
        self.world = source if isinstance(source, World) else source.world
        self._listeners = None if ddp is None else ddp.agreement.after_check
        self._state = self.world.comm.transport.state
        self._say = say or (lambda text: guard.say(text, self._state.label))
        self.shares: Shares | None = None
        """The time of all ranks so far, as of the last time they compared it."""
        self.rates: dict[str, float] = {}
        """Bytes per second of each host's network, if it was tested."""
        self.kinds: dict[str, Spent] = {}
        """What each kind of collective has cost this rank, since the block was entered."""
        self.listeners: list[Callable[[int, Shares], None]] = []
        """Called after each comparison, with its number of steps and the ranks' time in them."""
        self.last: Share | None = None
        """What became of this rank's last step; made anew for each."""
        self._skip, self._steps = _WARM_UP + 1, 0
        self._window, self._compared, self._tests_due = STEPS, 0, 1
        self._begun = self._step = self._mark()
        self._named: list[int | str] = []
        self._machine: tuple[int, str] = (0, "")  # BLAS threads and cores, once they are compared

    def __enter__(self) -> TimeSplit:
        if self._listeners is not None:
            self._listeners.append(self.step)
        self._before = {k: Spent(s.count, s.waiting, s.transfer) for k, s in self._kinds()}
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._listeners is not None:
            self._listeners.remove(self.step)
        for name, spent in self._kinds():
            then = self._before.get(name, Spent())
            if spent.count > then.count:
                self.kinds[name] = Spent(
                    spent.count - then.count,
                    spent.waiting - then.waiting,
                    spent.transfer - then.transfer,
                )
        if error is None:
            self._compare(at_end=True)

    def step(self) -> None:
        """End a step; called by the DistributedDataParallel, if the split was made with one."""
        mark = self._mark()
        if self._skip:
            self._skip -= 1
            self._begun = mark
        else:
            self._steps += 1
            self.last = self._between(self._step, mark, 1)
        self._step = mark
        if self._steps == self._window:
            self._compare()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what is done inside: an evaluation, a checkpoint."""
        before = self._mark()
        yield
        after = self._mark()
        self._begun = _later(self._begun, before, after)
        self._step = _later(self._step, before, after)

    def summary(self) -> str:
        """Return where the time went and who held the others up, one to three lines.

        "" if there is nothing to tell: an exception, two steps or fewer.
        """
        if self.shares is None or not self.shares.ranks[0].steps:
            return ""
        lines = [f"time: {self.shares.described()}", *self._accusations(self.shares)]
        return "\n".join(lines)

    def table(self) -> str:
        """Return the split of every rank, and on this rank that of each kind of collective."""
        if self.shares is None:
            return ""
        lines = ["rank  host              ms/step  compute  waiting transfer     data   hidden"]
        for rank, share in enumerate(self.shares.ranks):
            steps = max(1, share.steps)
            parts = "".join(f"{part:9.1%}" for part in self.shares.of(share))
            step, hidden = share.seconds / steps * 1e3, share.hidden / steps * 1e3
            lines.append(f"{rank:4}  {share.host:16.16} {step:8.2f}{parts} {hidden:6.2f} ms")
        for name, spent in self.kinds.items():
            lines.append(
                f"{name}: held up {spent.count} times, {spell_seconds(spent.waiting)} waiting for "
                f"others, {spell_seconds(spent.transfer)} in transfer"
            )
        return "\n".join(lines)

    # -- this rank --------------------------------------------------------------------------------

    def _kinds(self) -> list[tuple[str, Spent]]:
        return [*self._state.times.kinds.items()]

    def _mark(self) -> _Mark:
        now, times = perf_counter(), self._state.times
        return _Mark(now, times.waiting, times.transfer, times.under_way(now), times.data)

    def _between(self, a: _Mark, b: _Mark, steps: int) -> Share:
        waiting, transfer = b.waiting - a.waiting, b.transfer - a.transfer
        hidden = max(0.0, b.under_way - a.under_way - waiting - transfer)
        host, data = self.world.comm.transport.host, b.data - a.data
        return Share(host, steps, b.now - a.now, waiting, transfer, hidden, data, *self._machine)

    # -- all ranks --------------------------------------------------------------------------------

    def _compare(self, *, at_end: bool = False) -> None:
        """Exchange what became of the time since the last exchange; say who is to blame."""
        with self.paused():  # to ask takes milliseconds
            self._machine = blas_threads(), cores.mine()
        mine = self._between(self._begun, self._step, self._steps)
        with self.paused():
            rows = gather_json(self.world.comm, list(vars(mine).values()), "TimeSplit")
            part = Shares(tuple(Share(*row) for row in rows))
            self.shares = part if self.shares is None else self.shares.plus(part)
            self._compared += 1
            judged = self.shares if at_end else part
            # Tests become rarer: they cost time where the network is slow.
            if judged.network_matters and (at_end or self._compared >= self._tests_due):
                self._tests_due = 2 * self._compared
                self.rates = network.measure(self.world.comm, [s.host for s in judged.ranks])
        self._begun, self._steps = self._step, 0
        for listener in self.listeners:
            listener(mine.steps, part)
        # The same numbers on all ranks, so they agree when to meet again.
        self._window = max(STEPS, math.ceil(SECONDS / max(part.step, 1e-6)))
        if not at_end:
            self._name(part)

    def _name(self, part: Shares) -> None:
        """Say who was to blame lately, unless that was the last thing said."""
        accused = self._accusations(part)
        who: list[int | str] = [*part.slow(), *slow_hosts(self.rates)]
        who += ["data"] if part.data_matters else []
        if accused and who != self._named:
            self._named = who
            if self.world.rank == 0:
                steps = part.ranks[0].steps
                self._say("\n".join(f"{text} (the last {steps} steps)" for text in accused))

    def _accusations(self, shares: Shares) -> list[str]:
        if shares.seconds < _ENOUGH:
            return []
        network_is_slow = network_accusation(self.rates) if shares.network_matters else ""
        return [*shares.accusations(), *([network_is_slow] if network_is_slow else [])]


def _later(mark: _Mark, before: _Mark, after: _Mark) -> _Mark:
    """Return the mark moved on by what has happened between two moments."""
    return _Mark(
        mark.now + after.now - before.now,
        mark.waiting + after.waiting - before.waiting,
        mark.transfer + after.transfer - before.transfer,
        mark.under_way + after.under_way - before.under_way,
        mark.data + after.data - before.data,
    )
