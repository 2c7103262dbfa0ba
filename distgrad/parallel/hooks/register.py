"""Puts a communication hook in the place of each bucket's sum, and looks after what it does."""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Sequence
from functools import partial
from types import GeneratorType
from typing import Any, TypeAlias
from weakref import ReferenceType, WeakKeyDictionary, ref

import numpy as np

from distgrad.autograd.layout import FlatLayout
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.comm import Part, Work
from distgrad.comm.group import Group
from distgrad.comm.message import Steps
from distgrad.errors import CommError
from distgrad.parallel.agreement import compare
from distgrad.parallel.bucket import Bucket
from distgrad.parallel.exchange import Exchange
from distgrad.parallel.future import Future, Pending
from distgrad.parallel.hooks.bucket import GradBucket
from distgrad.parallel.hooks.state import HookState, state_type
from distgrad.parallel.world import World

Hook: TypeAlias = Callable[[Any, GradBucket], Any]
"""``hook(state, bucket)``: see DistributedDataParallel.register_comm_hook."""


class CommHook:
    """One model's hook and its state, at the place where the sums of its buckets start."""

    def __init__(
        self, world: World, state: Any, hook: Hook, buckets: Sequence[Bucket], left_out: bool
    ) -> None:
        if not callable(hook):
            raise CommError(
                f"register_comm_hook(state, hook): the hook is a {type(hook).__name__}, not a "
                f"function of (state, bucket)"
            )
        self.world, self.state, self.hook = world, state, hook
        self.name = str(getattr(hook, "__name__", type(hook).__name__))
        """What it is called in messages."""
        self._given: list[GradBucket] = []  # of the batch that is being summed
        self._check_state()
        ask: Callable[[], dict[str, Any]] = getattr(state, "settings", dict)
        compare(world, {"register_comm_hook": [self.name, ask()]})
        for number, bucket in enumerate(buckets):
            bucket.gradients.transfer = partial(
                self._start,
                number,
                len(buckets),
                bucket,
                FlatLayout.of(p.shape for p in bucket.params),
                left_out,
            )

    def _check_state(self) -> None:
        """Refuse what the hook cannot work with, now and not in its first batch."""
        kind = state_type(self.hook)
        if kind is not None and not isinstance(self.state, kind):
            raise CommError(
                f"the hook {self.name} has its settings and its memory in a {kind.__name__}, got "
                f"{self.state if self.state is None else type(self.state).__name__}: "
                f"register_comm_hook(hooks.{kind.__name__}(…), {self.name})"
            )
        if isinstance(self.state, HookState):
            if _is_taken(self.state):
                raise CommError(
                    f"the {type(self.state).__name__} belongs to another model's hook, whose "
                    f"batches it counts and whose errors it keeps; make one for each model"
                )
            _HOOK_OF[self.state] = ref(self)

    def alone(self) -> bool:
        """Whether the gradients of the next batch stay with their rank; the same on all ranks."""
        ask: Callable[[], bool] | None = getattr(self.state, "alone", None)
        return ask is not None and ask()

    def batch_over(self, left_out: bool) -> None:
        """Let the state count the batch, or take back what it remembers of one left out."""
        for bucket in self._given if left_out else ():
            for undo in bucket.undo:
                undo()
        self._given.clear()
        tell: Callable[[], None] = getattr(self.state, "batch_over", lambda: None)
        tell()

    def _start(
        self,
        number: int,
        count: int,
        bucket: Bucket,
        layout: FlatLayout,
        left_out: bool,
        exchange: Exchange,
        parts: Sequence[Part],
    ) -> Pending:
        if exchange.alone:
            return exchange.start(parts, bucket.gradients.local, bucket.gradients.name)
        if number == 0:
            self._given.clear()  # of a batch that was left unfinished
        given = GradBucket(
            number,
            count,
            bucket.names,
            bucket.params,
            layout,
            exchange,
            parts,
            bucket.gradients.local,
            left_out,
        )
        self._given.append(given)
        found = self.hook(self.state, given)
        if isinstance(found, GeneratorType):
            found = _Rounds(self.name, given, exchange, found)
        elif isinstance(found, np.ndarray | Tensor):
            array, found = np.asarray(found), Future()
            found.set_result(array)
        elif not hasattr(found, "wait"):
            raise CommError(
                f"the hook {self.name} returned {type(found).__name__} for {given.name}; return "
                f"the array of the sums, something with wait(), or make it a generator: `yield "
                f"from bucket.all_reduce(array)`"
            )
        flags = None if given.whole is not None else given.start_flags()
        return HookedSum(self.name, given, found, flags)


def _is_taken(state: HookState) -> bool:
    held = _HOOK_OF.get(state)
    if held is not None and held() is not None:
        gc.collect()  # a model that nobody holds any more may be there still
    return held is not None and held() is not None


_HOOK_OF: WeakKeyDictionary[HookState, ReferenceType[CommHook]] = WeakKeyDictionary()


class _Rounds:
    """A hook's steps, run as one collective: its first message is the check that all are in it."""

    def __init__(
        self,
        hook: str,
        bucket: GradBucket,
        exchange: Exchange,
        steps: Generator[Any, None, Any],
    ) -> None:
        comm = exchange.comm
        bucket.group = Group(comm.transport)
        self._hook, self._result = hook, None
        sort = f"{bucket.parameters()[0].dtype} x {sum(p.array.size for p in bucket.parameters())}"
        self._work = Work(
            bucket.group,
            f"{hook} '{bucket.name}' {sort}",
            self._run(steps),
            everyone=True,
            timeout=comm.timeout,
        )

    def _run(self, steps: Generator[Any, None, Any]) -> Steps:
        while True:
            try:
                requests = next(steps)
            except StopIteration as over:
                self._result = over.value
                return
            if not isinstance(requests, Sequence):
                raise CommError(
                    f"the hook {self._hook} yields a {type(requests).__name__}: communicate with "
                    f"`yield from bucket.all_reduce(array)`, and `return` an array of its own"
                )
            yield requests

    def poll(self) -> bool:
        """Advance without waiting; True once all rounds are over."""
        return self._work.poll()

    def wait(self) -> Any:
        """Return what the hook returned when all rounds are over."""
        self._work.wait()
        return self._result

    def value(self) -> Any:
        """Return what the hook returned."""
        return self._result


class HookedSum:
    """A bucket whose sum is the hook's: in flight until it and the flags are there."""

    def __init__(self, hook: str, bucket: GradBucket, found: Any, flags: Pending | None) -> None:
        self._hook, self._bucket, self._found, self._flags = hook, bucket, found, flags
        # Futures of other libraries can only be waited for.
        self._polled = isinstance(found, Pending)
        self._over = False

    def poll(self) -> bool:
        """Advance without waiting; True once the bucket holds the sum."""
        if self._over:
            return True
        flagged = self._flags is None or self._flags.poll()
        if not flagged or not self._polled or not self._found.poll():
            return False
        self._finish()
        return True

    def wait(self) -> None:
        """Return when the bucket holds the sum."""
        if self._over:
            return
        self._found.wait()
        if self._flags is not None:
            self._flags.wait()
        self._finish()

    def _finish(self) -> None:
        self._over = True
        if self._bucket.whole is not None:
            return
        self._bucket.check_all_run(self._hook)
        value = self._found.value() if hasattr(self._found, "value") else None
        found: Array = np.asarray(self._bucket.buffer() if value is None else value)
        self._bucket.write(found, self._hook)
