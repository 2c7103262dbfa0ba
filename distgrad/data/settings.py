"""The settings of a DataLoader: which go together, and those of PyTorch that mean nothing here."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from distgrad.errors import DataError


class NotGiven:
    """A setting that was left out, where None has a meaning of its own."""

    def __repr__(self) -> str:
        return "left out"


NOT_GIVEN: Final = NotGiven()


FIXED = {"dataset", "batch_size", "global_batch_size", "shuffle", "drop_last", "num_workers"}
FIXED |= {"prefetch_factor", "persistent_workers", "timeout", "world"}
"""What of a DataLoader cannot be set once its order is made."""


@dataclass(frozen=True)
class Background:
    """How samples are read ahead of the loop."""

    workers: int
    prefetch: int
    persistent: bool
    timeout: float


def check_sizes(global_batch_size: Any, batch_size: Any, batch_sampler: Any) -> None:
    """Raise DataError unless one of the three says what a batch is."""
    if global_batch_size is not None and not isinstance(batch_size, NotGiven):
        raise DataError(
            f"global_batch_size={global_batch_size} and batch_size={batch_size}: give one. Both "
            f"count the samples of all ranks together; with global_batch_size a batch is walked by "
            f"`for x, y in batch.shards`, with batch_size the loader gives `for x, y in loader`"
        )
    if global_batch_size is None and isinstance(batch_size, NotGiven) and batch_sampler is None:
        raise DataError("say how many samples a batch has: global_batch_size= or batch_size=")
    number = batch_size if global_batch_size is None else global_batch_size
    name = "batch_size" if global_batch_size is None else "global_batch_size"
    if number is None or isinstance(number, NotGiven):
        return
    try:
        whole = operator.index(number)
    except TypeError:
        raise DataError(f"{name}={number!r}: a whole number of samples, 1 or more") from None
    if name == "batch_size" and whole < 1:
        raise DataError(f"{name}={number!r}: a whole number of samples, 1 or more")


def check_samplers(sampler: Any, batch_sampler: Any, others: Mapping[str, object]) -> None:
    """Raise DataError for a sampler beside what it decides itself."""
    for name, given in (("sampler", sampler), ("batch_sampler", batch_sampler)):
        decides = ["shuffle"] if name == "sampler" else [*others, "sampler"]
        found = {**others, "sampler": sampler is not None}
        both = [other for other in decides if found[other]]
        if given is not None and both:
            raise DataError(
                f"{name}= decides about {both[0]}= itself: leave that out (a random order of its "
                f"own is dg.data.RandomSampler)"
            )


def check_stream(sampler: Any, batch_sampler: Any, shuffle: object) -> None:
    """Raise DataError for what cannot be asked of a stream (an IterableDataset)."""
    if sampler is not None or batch_sampler is not None or shuffle:
        raise DataError(
            "an IterableDataset has an order of its own: leave out shuffle=, sampler= and "
            "batch_sampler=, or shuffle in its __iter__"
        )


def background(
    num_workers: int, prefetch_factor: int | None, persistent_workers: bool, timeout: float
) -> Background:
    """Return how to read ahead. Errors: DataError for settings that do not go together."""
    if isinstance(num_workers, bool) or not _is_whole(num_workers) or num_workers < 0:
        raise DataError(f"num_workers={num_workers!r}: a number of processes, 0 or more")
    if not isinstance(timeout, int | float) or timeout < 0:
        raise DataError(f"timeout={timeout!r}: seconds, 0 to wait for ever")
    if not num_workers and (prefetch_factor is not None or persistent_workers or timeout):
        raise DataError(
            "prefetch_factor=, persistent_workers= and timeout= are about worker processes: ask "
            "for some with num_workers="
        )
    if prefetch_factor is not None and (not _is_whole(prefetch_factor) or prefetch_factor < 1):
        raise DataError(f"prefetch_factor={prefetch_factor!r}: batches for each worker, 1 or more")
    return Background(num_workers, prefetch_factor or 2, persistent_workers, timeout)


def check_single(dataset: Any, is_stream: bool, single: bool, drop_last: bool) -> None:
    """Raise DataError for what is no data set, and for drop_last where there are no batches."""
    if single and drop_last:
        raise DataError(
            "batch_size=None takes samples one by one: there is no last batch for drop_last=True"
        )
    if not is_stream and not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise DataError(
            f"a data set has len() and samples by number, dataset[0]; a {type(dataset).__name__} "
            f"has not: make a list of it, or subclass IterableDataset for a stream"
        )


def _is_whole(number: object) -> bool:
    try:
        operator.index(number)  # type: ignore[arg-type]  # that is the question
    except TypeError:
        return False
    return True


def check_foreign(multiprocessing_context: Any, in_order: bool, pin_memory_device: str) -> None:
    """Take what changes nothing here, and refuse the rest."""
    context = multiprocessing_context
    method = context if isinstance(context, str | None) else context.get_start_method()
    if method not in (None, "fork", "spawn", "forkserver"):
        raise DataError(
            f"multiprocessing_context={method!r} is no way to start a process; leave it out"
        )
    if method == "fork":
        raise DataError(
            "multiprocessing_context='fork': workers are never forks of a rank, which may hang or "
            "corrupt memory once MPI runs; leave it out"
        )
    if not in_order:
        raise DataError("in_order=False: batches come in order, so that a run can be repeated")
    if pin_memory_device not in ("", "cpu"):
        raise DataError(
            f"pin_memory_device={pin_memory_device!r}: there are no GPUs here; leave it out"
        )
