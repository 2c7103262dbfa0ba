"""A bucket: parameters and gradients as views of two flat arrays, and the sum over the shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from distgrad.autograd.flat import bind_, held
from distgrad.autograd.layout import FlatBuffer, FlatLayout
from distgrad.autograd.memory import in_a_row
from distgrad.autograd.parts import PartialGradient
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.comm import KnownSum, Part, SharedArray, TreeSum, nodes_of
from distgrad.parallel.exchange import Exchange
from distgrad.parallel.future import Pending
from distgrad.parallel.world import World
from distgrad.parallel.zero import Shares
from distgrad.parallel.zero_memory import OwnPages
from distgrad.parallel.zero_share import Share

_LITTLE = 64  # of a bucket what part is not worth a sum of its own


class ShardedBuffer:
    """A flat array that every shard fills and whose sum over all shards every rank gets.

    ``local`` is the current shard's; behind its ``size`` values lie ``flags`` more, which are
    summed with them (who used which parameter). ``kept`` are arrays of shards that were filled in
    earlier batches and not handed in yet (``no_sync``). ``shared`` is memory for ``local`` that the
    ranks of the node share, ``own`` such of this rank, zeros. With a ``share`` each rank gets the
    sum of its slice alone.
    """

    def __init__(
        self,
        size: int,
        flags: int,
        dtype: str,
        name: str,
        shared: SharedArray | None = None,
        share: Share | None = None,
        own: Array | None = None,
    ) -> None:
        self.name = name
        self.size = size
        self.shared = shared  # held: as long as it is, sums over ``local`` need no copies
        self.share = share
        self._pages: OwnPages | None = None
        if shared is not None:
            self.local: Array = shared.own
        elif share is not None and share.ranks.stage >= 2:
            self._pages = OwnPages(size + flags, dtype)
            self.local = self._pages.array
        else:
            self.local = np.zeros(size + flags, dtype) if own is None else own
        self.flags: Array = self.local[size:]
        """The extra values, one per member."""
        self.kept: dict[int, Array] = {}
        self.work: Pending | None = None
        self.transfer: Callable[[Exchange, Sequence[Part]], Pending] | None = None
        """What starts the sum of a rank's parts into ``local`` in the exchange's place: a hook."""
        self.after: Callable[[], None] | None = None
        """What is called when ``local`` holds the sum, which is in a cache then."""
        self._sum: TreeSum | None = None
        self._whole: int | None = None  # the summand that ``local`` is, where a rank has no others
        self._usual: tuple[Exchange, KnownSum] | None = None  # by which it was summed then
        self._only = [self.local]
        self._lent: list[Array] = []  # copies in use by the sum
        self._pool: list[Array] = []  # and free ones: a fresh array costs twice a reused one

    # -- over several batches -------------------------------------------------------------------

    def keep(self, shard: int) -> None:
        """Put ``local`` aside as what ``shard`` has gathered so far."""
        self.kept[shard] = self._copy()

    def take_up(self, shard: int) -> bool:
        """Fill ``local`` with what ``shard`` had gathered; False if that is nothing."""
        found = self.kept.pop(shard, None)
        if found is not None:
            np.copyto(self.local, found)
            self._pool.append(found)
        return found is not None

    def forget(self) -> None:
        """Drop what was kept."""
        self._pool += self.kept.values()
        self.kept.clear()

    # -- the sum --------------------------------------------------------------------------------

    def restart(self) -> None:
        """Drop the sum of a batch that was left unfinished (an exception, a ``break``)."""
        self._sum = self._whole = None
        if self._lent:
            self._pool += self._lent
            self._lent = []

    def add(self, exchange: Exchange, shard: int) -> None:
        """Take ``local`` as summand ``shard``; it may be written to afterwards."""
        if exchange.only == shard:
            self._whole = shard
            return
        # An odd summand is added to its neighbour at once, an even one has to wait for it; but
        # nothing is written to ``local`` after the last one.
        last = shard == exchange.last
        waits = not last and (shard % 2 == 0 or shard == exchange.run.start)
        array = self._lend(self._copy()) if waits else self.local
        # The last sums go where the total will be, so that no rank has to copy its part there.
        self._summed(exchange).add(shard, array, keep=last)

    def start(self, exchange: Exchange, *, at_once: bool = False) -> None:
        """Start the sum over all shards, those kept included, into ``local``.

        ``at_once``: it is waited for next.
        """
        if self._whole is not None and not self.kept:
            if self.transfer is None and not exchange.alone:
                usual, self._whole = self._usual, None
                if usual is None or usual[0] is not exchange:
                    slices = None if self.share is None else self.share.summed
                    usual = exchange, exchange.know(self.local, self.name, slices)
                    self._usual = usual
                known = usual[1]
                self.work = (known.at_once if at_once else known.start)(self._only, self.local)
                return
            parts: Sequence[Part] = [(0, self._whole, self.local)]
        else:
            parts = self._parts(exchange)
        self._sum = self._whole = None
        if self.share is not None:
            self.work = exchange.scatter(parts, self.local, self.share.summed, self.name)
        elif self.transfer is None:
            self.work = exchange.start(parts, self.local, self.name)
        else:
            self.work = self.transfer(exchange, parts)

    def poll(self) -> bool:
        """Let the sum come nearer; whether ``local`` holds it."""
        if self.work is None:
            return True
        if not self.work.poll():
            return False
        self.wait()
        return True

    def wait(self) -> None:
        """Wait until ``local`` holds the sum."""
        if self.work is not None:
            self.work.wait()
            self.work = None
            if self._lent:
                self._pool += self._lent
                self._lent = []
            if self.after is not None:
                self.after()
            if self._pages is not None:
                self.give_back()

    def give_back(self) -> None:
        """Give back the memory of sums that other ranks have, if asked to (zero=2 and more)."""
        if self._pages is not None and self.share is not None:
            self._pool.clear()
            self._pages.keep(self.share.own, slice(self.size, self.local.size))

    def _parts(self, exchange: Exchange) -> Sequence[Part]:
        summed = self._summed(exchange)
        if self._whole is not None:
            summed.add(self._whole, self.local, keep=True)
        for shard in sorted(self.kept):  # of batches that had more shards: behind all others
            summed.add(shard, self._lend(self.kept.pop(shard)))
        return summed.parts

    def _summed(self, exchange: Exchange) -> TreeSum:
        if self._sum is None:
            self._sum = TreeSum(exchange.run)
        return self._sum

    def _copy(self) -> Array:
        copy = self._pool.pop() if self._pool else np.empty_like(self.local)
        np.copyto(copy, self.local)
        return copy

    def _lend(self, array: Array) -> Array:
        self._lent.append(array)
        return array


def cut(named: Sequence[tuple[str, Tensor]], bucket_bytes: int) -> list[list[tuple[str, Tensor]]]:
    """Cut parameters, the last (which backward finishes first) first, into neighbours for buckets.

    A bucket holds one dtype and at least one parameter. It has up to ``bucket_bytes``, and at the
    end no more than half of what is left, though always a quarter bucket. A larger parameter has a
    bucket of its own, with what little comes before it.
    """
    # What is summed last has nothing to hide under, and with zero=1 is what forward waits for.
    left = sum(p.array.nbytes for _, p in named)
    parts: list[list[tuple[str, Tensor]]] = []
    filled = most = 0
    for name, p in reversed(named):
        count = p.array.nbytes
        full = filled + count > most and filled > bucket_bytes // _LITTLE
        if not filled or p.dtype != parts[-1][0][1].dtype or full:
            parts.append([])
            filled, most = 0, min(bucket_bytes, max(bucket_bytes // 4, left // 2))
        parts[-1].append((name, p))
        filled, left = filled + count, left - count
    return parts


def make_buckets(
    world: World, parts: Sequence[Sequence[tuple[str, Tensor]]], shares: Shares | None = None
) -> list[Bucket]:
    """Return the buckets of ``parts``, their gradients in memory that a node's ranks share.

    Gradients that are not kept whole (zero=2 and more) have memory of their own: a part of it can
    be given back.
    """
    most = max(len(nodes_of(run)) for run in world.runs)
    sizes = [sum(p.size for _, p in part) + len(part) for part in parts]
    specs = [(n, part[0][1].dtype, most) for n, part in zip(sizes, parts, strict=True)]
    if shares is not None:
        shares.allocate(parts)
    whole = shares is None or shares.stage < 2
    shared = world.comm.share(specs) if whole else None
    none: list[None] = [None] * len(parts)
    own: Sequence[Array | None] = none
    values: Sequence[Array | None] = none
    if whole and shared is None:
        own = in_a_row([(n, dtype) for n, dtype, _ in specs], np.zeros)
    if shares is None:
        flags = map(len, parts)
        values = in_a_row([(n - k, d) for (n, d, _), k in zip(specs, flags, strict=True)])
    memory = zip(shared or none, own, values, strict=True)
    return [
        Bucket(i, part, *arrays, shares)
        for i, (part, arrays) in enumerate(zip(parts, memory, strict=True))
    ]


@contextmanager
def whole_gradients(buckets: Sequence[Bucket]) -> Iterator[None]:
    """Have the sums of gradients that were shared out on all ranks, inside ``with``; collective.

    What is changed inside stays changed where the rank moves it.
    """
    parts = [(b, p.grad) for b in buckets for p in b.params if isinstance(p.grad, PartialGradient)]
    shared = dict.fromkeys(bucket for bucket, _ in parts)
    for bucket in shared:
        bucket.gather_sums()
    for _, gradient in parts:
        gradient.__class__ = Tensor  # type: ignore[assignment]
    try:
        yield
    finally:
        for _, gradient in parts:
            gradient.__class__ = PartialGradient
        for bucket in shared:
            if bucket.share is not None:
                bucket.share.gradients_change()
            bucket.gradients.give_back()


class Bucket:
    """Neighbouring parameters, reduced as one array."""

    def __init__(
        self,
        index: int,
        named: Sequence[tuple[str, Tensor]],
        shared: SharedArray | None,
        own: Array | None,
        values: Array | None,
        shares: Shares | None = None,
    ) -> None:
        """``own`` is memory for gradients if none is shared, ``values`` for what no rank shares."""
        self.names, self.params = [n for n, _ in named], [p for _, p in named]
        layout = FlatLayout.of(p.shape for p in self.params)
        dtype = self.params[0].dtype
        ends = " … ".join(dict.fromkeys((self.names[0], self.names[-1])))
        name = f"bucket {index} ({ends})"
        self.share = None if shares is None else shares.add(name, self.params, layout)
        count = len(named)
        self.gradients = ShardedBuffer(layout.size, count, dtype.str, name, shared, self.share, own)
        if self.share is not None:
            values = self.share.values
        assert values is not None
        self.values = values
        buffer = FlatBuffer(layout, self.values, self.gradients.local, self.share)
        self.places = bind_(self.params, buffer)
        self._partial: list[PartialGradient] = []
        if self.share is not None:
            self.share.places, self.share.sums = self.places, self.gradients.local
            if shared is not None:
                shared.after.append(self.share.summed_slice)
            self._partial = [PartialGradient.at(place) for place in self.places]
        self.views = [place.gradient for place in self.places]
        self.previous: Array | None = None
        self._none: Sequence[bool] = (False,) * count
        self.had: Sequence[bool] = self._none  # which parameters had gradients before the batch
        self.unfinished = count

    def begin(self) -> None:
        """Keep what the user left in the gradients, to add the sum to it."""
        self.had = self._none
        for p in self.params:
            if p.grad is not None:
                self._keep_previous()
                break

    def _keep_previous(self) -> None:
        self.had = [p.grad is not None for p in self.params]
        kept = [np.zeros(p.shape, p.dtype) if p.grad is None else held(p.grad) for p in self.params]
        self.previous = np.concatenate([k.reshape(-1) for k in kept])[self.own]

    def open(self, shard: int, empty: bool) -> bool:
        """Start from what ``shard`` has gathered in earlier batches: nothing, as a rule.

        Returns whether one of its losses was not finite.
        """
        # An empty shard's gradients count for nothing, so what was gathered stays aside.
        if empty or not (self.gradients.kept and self.gradients.take_up(shard)):
            for p in self.params:
                p.grad = None
            return False
        for p, view, used in zip(self.params, self.views, self.used, strict=True):
            p.grad = Tensor(view) if used else None
        return bool(np.isnan(self.gradients.flags).any())

    def fill(self, loss_nonfinite: bool) -> None:
        """Complete this shard's gradients: zeros, flagged, for parameters it did not use.

        A shard whose loss is not finite flags NaN, for all ranks to see.
        """
        flags = self.gradients.flags
        flags.fill(np.nan if loss_nonfinite else 1.0)
        for i, p in enumerate(self.params):
            if p.grad is None:
                self.views[i][...] = 0
                if not loss_nonfinite:
                    flags[i] = 0

    @property
    def own(self) -> slice:
        """The values whose sums this rank has."""
        return slice(0, self.gradients.size) if self.share is None else self.share.own

    @property
    def used(self) -> list[bool]:
        """Which parameters some shard used; known once the sum is there."""
        return [flag != 0 for flag in self.gradients.flags.tolist()]

    def gather_sums(self) -> None:
        """Have all sums on all ranks, until the memory is given back; collective."""
        if self.share is not None:
            self.share.gather_(self.gradients.local[: self.gradients.size], 0)

    def finish(self, left_out: bool) -> None:
        """Set the gradients; parameters used by no shard have none, as after no backward.

        If the batch is ``left_out`` they are what the user had left before it.
        """
        if self.previous is not None:
            if self.share is not None:
                self.share.gradients_change()
            sums = self.gradients.local[self.own]
            np.add(0 if left_out else sums, self.previous, out=sums)
            self.previous = None
        flags, partial = self.gradients.flags.tolist(), self._partial
        if partial and not left_out and 0.0 not in flags:  # the usual case
            for p, part in zip(self.params, partial):  # noqa: B905 - strict=True costs more
                p.grad = part
            return
        for i, p in enumerate(self.params):
            if not (self.had[i] or (flags[i] and not left_out)):
                p.grad = None
            elif partial:
                p.grad = partial[i]
            elif p.grad is None or p.grad.array is not self.views[i]:
                p.grad = Tensor(self.views[i])
