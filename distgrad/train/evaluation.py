"""A model in evaluation mode, and what it says of each sample of a loader, from all ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

from distgrad.autograd.mode import no_grad
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.comm import Communicator
from distgrad.data import Batch, DataLoader
from distgrad.errors import DistgradError
from distgrad.parallel import DistributedDataParallel, ShardSum, current_shard
from distgrad.parallel.reducer import Reduction
from distgrad.train.metrics import Metric, measured, named

Join: TypeAlias = Callable[[list[Array]], Array]
"""Makes one array of a rank's arrays, one for each shard that it has walked."""


@contextmanager
def evaluating(ddp: DistributedDataParallel) -> Iterator[None]:
    """Have the model in evaluation mode inside ``with``, without gradients, with all parameters.

    Collective with zero=3.
    """
    modes = [(m, m.training) for m in ddp.module.modules()]
    ddp.module.eval()
    try:
        # Summoned once: what zero=3 has on other ranks would be fetched for every batch.
        with no_grad(), ddp.summon_full_parameters():
            yield
    finally:
        for m, training in modes:
            m.training = training


def means(
    ddp: DistributedDataParallel,
    batches: Iterable[Batch],
    loss_fn: Callable[[Tensor, Any], Tensor],
    metrics: Mapping[str, Metric],
    reduction: Reduction,
) -> dict[str, float]:
    """Return the mean loss and metrics over all samples of ``batches``, the same on every rank.

    With ``reduction="sum"`` the loss is the sum. Errors: DistgradError if there is no sample.
    """
    sums = ShardSum(ddp.world, "loss", "samples", *map(named, metrics))
    with evaluating(ddp):
        for batch in batches:
            for *inputs, target in batch.shards:
                output = ddp.module(*inputs)
                n = _samples(target)
                loss = float(loss_fn(output, target)) * (n if reduction == "mean" else 1)
                sums.add(loss=loss, samples=n, **measured(metrics, output, target, 1))
    found = sums.result()
    count = found["samples"]
    if not count:
        raise DistgradError(
            "evaluate: the loader gave no sample; look at its data set and drop_last"
        )
    loss = found["loss"] / count if reduction == "mean" else found["loss"]
    return {"loss": loss, **{name: found[named(name)] / count for name in metrics}}


def predictions(ddp: DistributedDataParallel, batches: Iterable[Batch], inputs: int | None) -> Any:
    """Return the model's outputs for all samples of ``batches``, in their order, on every rank.

    Errors: DistgradError for outputs that do not join.
    """
    outputs: list[Any] = []
    counts: list[int] = []  # of this rank's samples in each batch
    with evaluating(ddp):
        for batch in batches:
            counts.append(0)
            for sample in batch.shards:
                position = current_shard()
                count = 0 if position is None else position.count
                outputs.append(_checked(ddp.module(*_inputs(sample, inputs)), count))
                counts[-1] += count
    comm = ddp.world.comm
    everyones = np.stack(comm.all_gather_arrays(np.asarray(counts, np.int64), name="predict"))
    if not everyones.sum():
        raise DistgradError(
            "predict: the loader gave no sample; look at its data set and drop_last"
        )
    return _joined(outputs, lambda arrays: _in_order(comm, arrays, everyones))


def _samples(target: Any) -> int:
    """Return of how many samples these are the targets."""
    if isinstance(target, Tensor | np.ndarray):
        return len(target)
    position = current_shard()  # of a tuple or a mapping, the length says nothing
    return len(target) if position is None else position.count


def check_order(loader: DataLoader) -> None:
    """Refuse a loader whose order is none to go by. Errors: DistgradError."""
    if loader.shuffle:
        raise DistgradError(
            "predict: outputs come in the loader's order, and this one shuffles: make another over "
            "the same data with shuffle=False"
        )
    for one in (loader.sampler, getattr(loader.batch_sampler, "sampler", None)):
        if hasattr(one, "num_replicas"):
            raise DistgradError(
                f"predict: outputs come in the loader's order, and a {type(one).__name__} gives "
                f"each rank its own, with samples twice: leave the sampler out, the ranks share "
                f"the batches anyway"
            )


def _inputs(sample: Any, inputs: int | None) -> Sequence[Any]:
    """Return what of a sample the model is given."""
    values = sample if isinstance(sample, list | tuple) else [sample]
    wanted = max(1, len(values) - 1) if inputs is None else inputs
    if not 1 <= wanted <= len(values):
        raise DistgradError(f"predict: inputs={inputs} of a sample's {len(values)} arrays")
    return values[:wanted]


def _checked(output: Any, count: int) -> Any:
    """Return what the model gave, if its arrays have a row for each of ``count`` samples."""

    def look(arrays: list[Array]) -> Array:
        (array,) = arrays
        if not array.ndim or len(array) != count:
            raise DistgradError(
                f"predict: the model's output has the shape {array.shape} for {count} samples: its "
                f"first axis must be theirs, so that outputs can be put in the samples' order"
            )
        return array

    return _joined([output], look)


def _joined(outputs: Sequence[Any], join: Join) -> Any:
    """Return one structure of those of all shards, its arrays joined."""
    first = outputs[0]
    if isinstance(first, Tensor | np.ndarray):
        return join([o.array if isinstance(o, Tensor) else o for o in outputs])
    if isinstance(first, Mapping):
        return {key: _joined([o[key] for o in outputs], join) for key in first}
    if isinstance(first, list | tuple):
        parts = [_joined(part, join) for part in zip(*outputs, strict=True)]
        named = hasattr(first, "_fields")
        return type(first)(*parts) if named else type(first)(parts)
    raise DistgradError(
        f"predict: the model's output has a {type(first).__name__} in it; it takes Tensors, and "
        f"tuples, lists and mappings of them"
    )


def _in_order(comm: Communicator, arrays: list[Array], counts: Array) -> Array:
    """Return all ranks' rows in the loader's order, ``counts[rank, batch]`` of them at a time."""
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        raise DistgradError(
            f"predict: outputs for one sample differ in their shapes, {sorted(shapes)}: no array "
            f"holds them all; pad them, or walk the loader yourself"
        )
    found = comm.all_gather_arrays(np.concatenate(arrays), name="predict")
    ends = counts.cumsum(axis=1)
    pieces = [
        found[rank][ends[rank, batch] - counts[rank, batch] : ends[rank, batch]]
        for batch in range(counts.shape[1])
        for rank in range(comm.size)  # of a batch rank r has the samples before those of r + 1
    ]
    return np.concatenate(pieces)
