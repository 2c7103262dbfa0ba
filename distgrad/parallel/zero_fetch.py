"""Parameters that are here while they are used (zero=3 between nodes): fetched, and given back.

Modules fetch their own before their forward pass; the backward pass does again where a closure is
about to read them (autograd/absent.py), and whoever reads one elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from distgrad.autograd.absent import come, leave
from distgrad.autograd.flat import held
from distgrad.autograd.layout import FlatLayout, Place
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.nn import Module
from distgrad.parallel.zero import Shares
from distgrad.parallel.zero_arrival import await_
from distgrad.parallel.zero_memory import Pages
from distgrad.parallel.zero_share import Share
from distgrad.parallel.zero_views import has_view

_TOGETHER = (
    ", which zero=3 fetches on all ranks or on none: to read weights on one rank alone, or use "
    "them by the rank's data, do it inside `with ddp.summon_full_parameters():` on every rank"
)


class Fleeting(Share):
    """A bucket whose values are here while a module uses them; of the rest of the time, a part.

    A module gathers the buckets of its own parameters before its forward pass; the backward pass
    does again, where a closure is about to read them. What is read elsewhere stays until backward
    is over: code that holds it finds it as it was.
    """

    fetched_when_read = True
    ranks: Shares

    def __init__(
        self,
        shares: Shares,
        name: str,
        params: Sequence[Tensor],
        layout: FlatLayout,
        pages: Pages,
    ) -> None:
        super().__init__(shares, name, params, layout, pages.array)
        self._pages = pages
        self.users: set[int] = set()
        """The modules that own its parameters."""
        self._present, self._pinned = True, False
        self._inside = self._summoned = 0  # forward passes of users, and ``here``, under way
        self._finished: set[int] = set()  # users whose forward pass is over

    def entered(self) -> None:
        """Have the values for the forward pass of a user."""
        self.bring()
        self._inside += 1

    def left(self, user: int, kept: Any) -> None:
        """Note that the forward pass of a user is over, and give the values back after the last.

        They stay if there are views of them in ``kept``, which others may read.
        """
        self._inside -= 1
        if not self._leaves:
            return
        if self.ranks.all_come_by and has_view(kept, self.values, self.params):
            self._pinned = True
        self._finished.add(user)
        if self._finished >= self.users:
            self._finished.clear()
            self.release()

    def arrive(self, tensor: Tensor) -> None:
        """Return when the values may be read; outside of its module they stay then."""
        del tensor  # they come together
        self.bring()
        if self._leaves and not self._inside and self.ranks.all_come_by:
            self._pinned = True

    def detached(self, tensor: Tensor) -> Array:
        """Return a copy of the values, which may be kept."""
        self.bring()
        copy = held(tensor).copy()
        copy.flags.writeable = False  # what is written to it no parameter would have
        return copy

    def changed(self) -> None:
        """Note that the own values were written, and those of the others are old."""
        self.stale, self._pinned = True, False
        self.gradients_change()
        self._give_back()

    def fill(self, values: Array) -> None:
        """Have values that are the same on all ranks, while nobody reads them."""
        self._reserve()
        super().fill(values)
        self._come()
        for p in self.params:
            await_(p)

    def point_to(self, values: Array) -> None:
        """Let the parameters be views of ``values``."""
        super().point_to(values)
        if values is self.values:
            for p in self.params:
                await_(p)

    def assign(self, places: Sequence[Place], arrays: Sequence[Array]) -> None:
        """Let some parameters have values that are the same on all ranks; collective."""
        self.settle()
        self._reserve()
        super().assign(places, arrays)
        if not self._present:
            self._pages.leave(*self._kept)

    def release(self, *, unpin: bool = False) -> None:
        """Keep the own values alone, unless somebody uses the others or may do so soon."""
        if unpin:
            self._inside = 0
            self._pinned &= self.ranks.keeps  # ranks with one shard more have not come so far
        used = self._pinned or self._inside or self._summoned
        if self.ranks.gives_back and not used and not self.ranks.keeps:
            self._give_back()

    @contextmanager
    def here(self) -> Iterator[None]:
        """Have all values on this rank, and give them back when they are no longer needed."""
        self.bring()
        self._summoned += 1
        try:
            yield
        finally:
            self._summoned -= 1
            self.release()

    def bring(self) -> None:
        """Have the values that other ranks keep; collective."""
        if self._present:
            return
        what = self.values, self.slices, f"{self.name}{_TOGETHER}"
        for work in self.ranks.memory.start([what], self._ready):
            work.wait()
        self._come()
        self._finished.clear()

    @property
    def _leaves(self) -> bool:
        """Whether all ranks are where values may leave when their users have run.

        Before the first backward pass, and inside ``here``, a rank may use them by itself. A
        forward pass that backward makes again does not end their use.
        """
        return self.ranks.gives_back and not self._summoned and not self.ranks.backward_runs

    def _ready(self) -> None:
        """Have memory for what this rank receives; all ranks have given back what they will."""
        for part in self.ranks.memory.received(self.slices):
            self._pages.reserve(part)

    def _reserve(self) -> None:
        if self.leads:
            self._pages.reserve(slice(0, self.layout.size))

    @property
    def _kept(self) -> list[slice]:
        self.ranks.decide()
        return self.ranks.memory.kept(self.slices)

    def _come(self) -> None:
        self._present = True
        self._pages.come()
        come(self.values)

    def _give_back(self) -> None:
        if self._present and self.ranks.world.size > 1:
            self._present = False
            leave(self.values, self)
            self._pages.leave(*self._kept)


def fetch_for(shares: Shares, module: Module) -> None:
    """Let every module under ``module`` have the buckets of its own parameters when it runs."""
    of = {id(p): share for share in shares.buckets for p in share.params}
    for user in module.modules():
        own = [of.get(id(p)) for p in user.parameters(recurse=False)]
        fleeting = [s for s in dict.fromkeys(own) if isinstance(s, Fleeting)]
        if fleeting:
            _watch(user, fleeting)


def _watch(user: Module, buckets: Sequence[Fleeting]) -> None:
    for bucket in buckets:
        bucket.users.add(id(user))

    def before(*_: Any) -> None:
        for bucket in buckets:
            bucket.entered()

    def after(_: Module, inputs: Any, output: Any) -> None:
        for bucket in buckets:
            bucket.left(id(user), [output, vars(user)])

    user.register_forward_pre_hook(_OfThisModel(before))
    user.register_forward_hook(_OfThisModel(after))


class _OfThisModel:
    """A hook that copies of its module do without: they have all their values."""

    whose = "zero=3, which brings parameters when they are used: take zero=1 or 2, or none"

    def __init__(self, hook: Callable[..., None]) -> None:
        self._hook = hook

    def __call__(self, *args: Any) -> None:
        self._hook(*args)

    def __reduce__(self) -> Any:
        return _OfThisModel, (_nothing,)


def _nothing(*_: Any) -> None:
    """Do nothing."""
