"""Sharded training (ZeRO, Rajbhandari et al. 2020): ranks share out what moves the parameters.

Each rank sums, clips and moves its slice of every bucket; then the values are brought to all, under
the next forward pass, and waited for where they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias

from distgrad.autograd.layout import FlatLayout, Mover
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.comm import Started
from distgrad.kinds import whole
from distgrad.parallel.shards import ShardPosition, current_shard
from distgrad.parallel.world import World
from distgrad.parallel.zero_cut import Wanted, cut
from distgrad.parallel.zero_memory import Memory, Pages, allocate, allocate_pages
from distgrad.parallel.zero_share import Share, check_alone
from distgrad.parallel.zero_told import Report, Told, count_of

Stage: TypeAlias = Literal[0, 1, 2, 3]


def at_once(ranks: int) -> int:
    """Return how many buckets are on their way while backward runs, if gradients are not kept.

    So many fill the wire. The rounds of a ring of many ranks are short, and need more of them.
    """
    return max(8, ranks // 16)


_STAGES = """0 (every rank moves all parameters), 1 (ranks share out optimizer state), 2 (and \
gradients) or 3 (and parameters)"""
ZeroStage: TypeAlias = Annotated[int, whole(0, 3)._replace(words=_STAGES)]


class Shares:
    """The buckets of one model, shared out; ``Ranks`` to those who clip and move."""

    def __init__(
        self,
        world: World,
        algorithm: str,
        stage: int,
        fleeting: Callable[..., Share],
        *,
        look: bool,
    ) -> None:
        self._fleeting = fleeting  # makes a Share of what is fetched when it is used
        self.world, self.comm, self.algorithm, self.stage = world, world.comm, algorithm, stage
        self.look = look
        """Whether the squares of a batch's sums are wanted as soon as they are there."""
        self.memory: Memory
        self._pages: list[Pages] = []  # of values that are fetched
        self.told: Told
        self.buckets: list[Share] = []
        self._reports: list[Report] = []
        self.decided = False
        """Whether it is known who owns what; then the cut stays."""
        self.backward_runs = self.gives_back = False
        """Whether a backward pass is under way, and one has begun before: values may leave then."""
        self.flying: list[Started] = []
        """Values on their way."""
        self._begun: ShardPosition | None = None  # the shard whose backward pass began last
        self._uneven: dict[int, bool] = {}  # by the number of shards that have samples
        # Others wait for the slice of a rank that has nothing more to do.
        world.comm.transport.state.before_leaving.append(partial(_complete, self.flying))

    def allocate(self, parts: Sequence[Sequence[tuple[str, Tensor]]]) -> None:
        """Make the memory of the buckets that will be added; collective."""
        specs = [(sum(p.size for _, p in part), part[0][1].dtype) for part in parts]
        comm = self.comm
        # In one node that has the values once, there is nothing to be gained by having fewer.
        if self.stage < 3 or comm.topology.one_node:
            self.memory = allocate(comm, specs)
        if self.stage == 3 and not (comm.topology.one_node and self.memory.common):
            self.memory, self._pages = allocate_pages(comm, specs)
        count = sum(count_of([p for _, p in part]) for part in parts)
        self.told = Told(comm, self.algorithm, count, common=self.memory.common)

    @property
    def fetches(self) -> bool:
        """Whether values are fetched when they are used (zero=3, unless one node has them once)."""
        return bool(self._pages)

    def add(self, name: str, params: Sequence[Tensor], layout: FlatLayout) -> Share:
        """Share out one more bucket."""
        if self.fetches:
            share = self._fleeting(self, name, params, layout, self._pages[len(self.buckets)])
        else:
            values = self.memory.arrays[len(self.buckets)]
            share = Share(self, name, params, layout, values)
        self.buckets.append(share)
        return share

    def decide(self) -> None:
        """Cut the buckets for the optimizers that hold their parameters now.

        Errors: GradError for one that cannot move a part of them.
        """
        if self.decided:
            return
        wanted = []
        for share in self.buckets:
            needs = [{m.needs for m in _movers(p)} for p in share.params]
            for p in share.params:
                for mover in _movers(p):
                    check_alone(mover)
            whole = ["parameters" in found for found in needs]
            wanted.append(Wanted(share.layout.slots, whole, share.values.itemsize))
        for share, slices in zip(self.buckets, cut(wanted, self.world.size), strict=True):
            share.take(slices)
        self.decided = True
        start, self._reports = 0, []
        for share in self.buckets:
            count = count_of(share.params)
            share.report_in(self.told.numbers[start : start + count], start)
            self._reports.append(share.report)
            start += count

    # -- to those who clip, move and average ------------------------------------------------------

    def add_up_(self, numbers: Array) -> None:
        """Sum ``numbers``, of which all but one rank has zeros, over the ranks."""
        self.told.add_up_(numbers)

    def send_values(self) -> None:
        """Start to bring what was moved to all ranks: in forward order, as it will be read."""
        sent = []
        for share in reversed(self.buckets):
            if share.stale and not share.fetched_when_read:
                sent.append(share)
            share.stale = False
        works = self.memory.start([(s.values, s.slices, s.name) for s in sent])
        for share, work in zip(sent, works, strict=True):
            if work.done:
                continue
            share.sent(work)
            if not work.done and work not in self.flying:
                self.flying.append(work)

    @contextmanager
    def values_here(self) -> Iterator[None]:
        """Have all values on all ranks."""
        with ExitStack() as stack:
            for share in reversed(self.buckets):
                stack.enter_context(share.here())
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Let all parameters be written to, on all ranks alike; after an exception they are not."""
        with self.values_here():
            private = [share.values.copy() for share in self.buckets]
        for share, array in zip(self.buckets, private, strict=True):
            share.point_to(array)
        try:
            yield
        except BaseException:
            for share in self.buckets:
                share.point_to(share.values)
            raise
        self.assign([*zip(self.buckets, private, strict=True)])
        for share in self.buckets:
            share.point_to(share.values)

    def assign(self, values: Sequence[tuple[Share, Array]]) -> None:
        """Let buckets have values that are the same on all ranks; collective."""
        for share, array in values:
            share.settle()
            share.fill(array)
        self.written()
        for share, _ in values:
            share.release()

    def written(self) -> None:
        """Return when all have written what is the same on all ranks; they may read it then."""
        self.memory.start([])
        self.comm.start_barrier(name="parameters were given values").wait()

    def optimizer_stepped(self, optimizer: Any) -> None:
        """Bring what an optimizer has moved to all ranks."""
        groups = optimizer.param_groups
        moved = {id(p) for g in groups for p in g["params"] if p.grad is not None}
        for share in self.buckets:
            if not moved.isdisjoint(share.members):
                share.changed()
        self.send_values()

    def poll(self) -> None:
        """Let what is on its way come nearer."""
        if self.flying:
            self.flying[:] = [work for work in self.flying if not work.poll()]

    # -- to the reducer ---------------------------------------------------------------------------

    def agree(self) -> bool | None:
        """Have all ranks know who used what, and (``look``) whether all sums are finite numbers.

        They know the squares of every block, too: what gradients are clipped by.
        """
        return self.told.agree(self.look, self._reports)

    def summed(self) -> None:
        """Give back what memory the sums of a batch took, if little is to be kept (zero=2, 3)."""
        # With zero=1 it would cost a GPT on two hosts 1 % of its step: pages come back one by one.
        if self.stage >= 2:
            self.comm.transport.state.drop_scratch()

    def restart(self) -> None:
        """Forget what was told of a batch that was left unfinished."""
        self.decide()
        self.told.restart()
        for share in self.buckets:
            share.report.restart()

    def backward_started(self) -> None:
        """Note that values are needed by a backward pass from here on, each where it says so."""
        self.backward_runs = True
        self._begun = current_shard()
        if not self.keeps:
            self.gives_back = True
        for share in self.buckets:
            share.release()

    def backward_finished(self) -> None:
        """Note that no backward pass needs the values any more."""
        for share in self.buckets:
            share.release(unpin=True)
        self.backward_runs = False

    @property
    def keeps(self) -> bool:
        """Whether fetched values stay for what this rank does next in its batch.

        Fetching is collective, and ranks may have different numbers of shards of a batch: then all
        fetch each bucket once, in the order of its first use, until the backward pass of their last
        shard, which is the same on all of them.
        """
        position = current_shard()
        if position is None or (position.last and self.backward_runs):
            return False
        present = min(position.total, self.world.shards)
        if present not in self._uneven:
            counts = [max(1, min(run.stop, present) - run.start) for run in self.world.runs]
            self._uneven[present] = len(set(counts)) > 1
        return self._uneven[present]

    @property
    def all_come_by(self) -> bool:
        """Whether all ranks come to where this one is, before their last backward pass begins.

        Where they have different numbers of shards they do until the first one's backward pass.
        """
        position = current_shard()
        return not self.keeps or (
            position is not None and position.first and position is not self._begun
        )


def _complete(works: list[Started]) -> None:
    for work in works:
        work.wait()


def _movers(p: Tensor) -> Iterable[Mover]:
    return [m for m in getattr(p, "_movers", ()) if m.optimizer() is not None]
