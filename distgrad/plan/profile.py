"""What a step of a model looks like: its buckets, and the moment each gradient is ready."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from distgrad.autograd.tensor import GradListener, Tensor
from distgrad.errors import GradError, ShapeError
from distgrad.nn import Module
from distgrad.parallel.bucket import cut
from distgrad.parallel.ddp import BUCKET_MB

FORWARD = 1 / 3
"""Forward's share of forward and backward, if nothing was measured: backward has two products for
each one of forward."""


@dataclass(frozen=True)
class Bucket:
    """What is summed at once: ``nbytes`` of gradients, some for flags included."""

    name: str
    nbytes: int
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Profile:
    """One rank's step, in seconds, without anybody to talk to."""

    forward: float
    backward: float
    optimizer: float
    """Clipping included."""
    ready: tuple[tuple[str, float], ...]
    """Each parameter and when, after backward began, its gradient was final; in that order."""
    sizes: tuple[tuple[str, int], ...]
    """Each parameter and its bytes, in the model's order."""
    buckets: tuple[Bucket, ...]
    times: tuple[float, ...] = ()
    """Of each step that was measured, forward and backward; () if none was."""

    reads: tuple[tuple[str, float], ...] = ()
    """Each parameter and when, after forward began, its module was first called; if measured."""

    @property
    def measured(self) -> bool:
        """Whether it was taken from real steps."""
        return bool(self.times)

    @property
    def step(self) -> float:
        """The whole step."""
        return self.forward + self.backward + self.optimizer

    @property
    def nbytes(self) -> int:
        """Bytes of all parameters."""
        return sum(size for _, size in self.sizes)

    def first_read(self) -> dict[str, float]:
        """Each parameter and when, after forward began, it is first read.

        Where that was not measured, parameters are taken to be read in the model's order, at a pace
        that goes with their bytes.
        """
        found, before = {}, 0
        for name, size in self.sizes:
            found[name] = self.forward * before / max(1, self.nbytes)
            before += size
        return found | dict(self.reads)

    def slower(self, factor: float) -> Profile:
        """Return the profile of a rank that takes ``factor`` times as long for everything."""
        return replace(
            self,
            forward=self.forward * factor,
            backward=self.backward * factor,
            optimizer=self.optimizer * factor,
            ready=tuple((name, at * factor) for name, at in self.ready),
            reads=tuple((name, at * factor) for name, at in self.reads),
        )


def make_buckets(
    named: Sequence[tuple[str, Tensor]], bucket_mb: float = BUCKET_MB
) -> tuple[Bucket, ...]:
    """Cut parameters as DistributedDataParallel does, by its own function."""
    parts = cut([(n, p) for n, p in named if p.requires_grad], int(bucket_mb * 2**20))
    found = []
    for i, part in enumerate(parts):
        item = part[0][1].dtype.itemsize
        nbytes = sum(p.array.nbytes for _, p in part) + len(part) * item
        found.append(Bucket(f"bucket {i}", nbytes, tuple(name for name, _ in part)))
    return tuple(found)


def of_shapes(
    named: Sequence[tuple[str, Tensor]],
    compute: float,
    *,
    optimizer: float = 0.0,
    bucket_mb: float = BUCKET_MB,
) -> Profile:
    """Make a profile from sizes: ``compute`` seconds of forward and backward, spread by bytes.

    Backward goes through the parameters from the last to the first. One that is used twice (tied
    weights) has to be measured. Errors: ShapeError for no parameters or no time.
    """
    named = [(n, p) for n, p in named if p.requires_grad]
    if not named or compute <= 0:
        raise ShapeError(
            f"a profile needs parameters that require gradients and a time above 0, got "
            f"{len(named)} and {compute:g} s"
        )
    sizes = tuple((n, p.array.nbytes) for n, p in named)
    total, backward = sum(size for _, size in sizes), compute * (1 - FORWARD)
    ready, gone = [], 0
    for name, size in reversed(sizes):
        gone += size
        ready.append((name, backward * gone / total))
    return Profile(
        compute * FORWARD,
        backward,
        optimizer,
        tuple(ready),
        sizes,
        make_buckets(named, bucket_mb),
    )


def blocks(parameters: int, layers: int = 12) -> list[tuple[str, Tensor]]:
    """Return parameters of a transformer's shape, without memory behind them.

    ``layers`` blocks of matrices w × 3w, w × w, w × 4w and 4w × w; embeddings are left out.
    """
    if layers < 1 or parameters < layers:
        raise ShapeError(f"{parameters} parameters cannot be cut into {layers} layers")
    named = []
    for i in range(layers):
        size = parameters * (i + 1) // layers - parameters * i // layers
        bounds = [size * part // 12 for part in (0, 3, 4, 8, 12)]
        for matrix, a, b in zip(("qkv", "project", "up", "down"), bounds, bounds[1:], strict=False):
            if b > a:
                named.append((f"blocks.{i}.{matrix}", without_memory((b - a,))))
    return named


def without_memory(shape: tuple[int, ...]) -> Tensor:
    """Return a float32 parameter of this shape that takes up none."""
    return Tensor(np.broadcast_to(np.float32(0), shape), requires_grad=True)


class _Moments:
    """A GradListener that writes down when each gradient is final, and passes all on."""

    def __init__(self, named: Sequence[tuple[str, Tensor]], inner: GradListener | None) -> None:
        self._names = {p: name for name, p in named}
        self._inner = inner
        self.early = inner is not None and inner.early
        self.step_began = self.began = 0.0  # the step, and its backward pass
        self.ready: list[tuple[str, float]] = []

    def backward_started(self) -> float:
        """Start the watch."""
        weight = 1.0 if self._inner is None else self._inner.backward_started()
        self.began = time.perf_counter()
        self.ready = []
        return weight

    def grad_ready(self, leaf: Tensor) -> None:
        """Write it down."""
        if self._inner is not None:
            self._inner.grad_ready(leaf)
        self.ready.append((self._names[leaf], time.perf_counter() - self.began))

    def poll(self) -> None:
        """Pass it on."""
        if self._inner is not None:
            self._inner.poll()

    def backward_finished(self) -> None:
        """Pass it on."""
        if self._inner is not None:
            self._inner.backward_finished()

    def optimizer_stepped(self, optimizer: object) -> None:
        """Pass it on."""
        if self._inner is not None:
            self._inner.optimizer_stepped(optimizer)

    def compare(self, name: str, value: float) -> None:
        """Pass it on."""
        if self._inner is not None:
            self._inner.compare(name, value)


@contextmanager
def _listening(named: Sequence[tuple[str, Tensor]]) -> Iterator[_Moments]:
    before = [p._listener for _, p in named]
    moments = _Moments(named, before[0] if before else None)
    for _, p in named:
        p._listener = moments
    try:
        yield moments
    finally:
        for (_, p), listener in zip(named, before, strict=True):
            p._listener = listener


def measure(
    model: Module,
    loss: Callable[[], Tensor],
    update: Callable[[], None],
    *,
    steps: int = 5,
    bucket_mb: float = BUCKET_MB,
) -> Profile:
    """Run real steps on this rank alone and return their medians.

    ``loss()`` runs forward and returns the loss, ``update()`` clips, moves and zeroes gradients.
    A model that is distributed already, in a world of one, is measured with what that costs. The
    first step is not counted. Errors: GradError if backward reaches no parameter.
    """
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    times: list[tuple[float, float, float]] = []
    moments: list[list[tuple[str, float]]] = []
    with _listening(named) as watch:

        def step() -> None:
            watch.step_began = start = time.perf_counter()
            loss().backward()
            stop = time.perf_counter()
            update()
            times.append((watch.began - start, stop - watch.began, time.perf_counter() - stop))
            moments.append(watch.ready)

        step()
        reads = _reads(model, named, watch, step)
        forth = times[-1][0]
        del times[:], moments[:]
        for _ in range(steps):
            step()
    if not moments[-1]:
        raise GradError("backward reached none of the model's parameters: nothing to plan")
    forward, backward, optimizer = (
        statistics.median(column) for column in zip(*times, strict=True)
    )
    by_name: dict[str, list[float]] = {}
    for name, at in chain.from_iterable(moments):
        by_name.setdefault(name, []).append(at)
    ready = {name: statistics.median(column) for name, column in by_name.items()}
    return Profile(
        forward,
        backward,
        optimizer,
        tuple(sorted(ready.items(), key=lambda item: item[1])),
        tuple((n, p.array.nbytes) for n, p in named),
        make_buckets(named, bucket_mb),
        times=tuple(forth + back for forth, back, _ in times),
        reads=tuple((name, at / forth * forward) for name, at in reads.items()),
    )


def _reads(
    model: Module,
    named: Sequence[tuple[str, Tensor]],
    watch: _Moments,
    step: Callable[[], None],
) -> dict[str, float]:
    """Run a step and return when, after it began, the module of each parameter was first called."""
    name_of = {p: name for name, p in named}
    found: dict[str, float] = {}

    def called(module: Module, args: object) -> None:
        for p in module.parameters(recurse=False):
            if p in name_of:
                found.setdefault(name_of[p], time.perf_counter() - watch.step_began)

    handles = [module.register_forward_pre_hook(called) for module in model.modules()]
    try:
        step()
    finally:
        for handle in handles:
            handle.remove()
    return found
