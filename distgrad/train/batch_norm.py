"""BatchNorm's running statistics anew: for weights that no batch has passed through (averages)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from distgrad.arguments import explained
from distgrad.autograd.mode import no_grad
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.data import Batch, DataLoader
from distgrad.errors import ShapeError
from distgrad.nn import Module
from distgrad.nn.batchnorm import _BatchNorm
from distgrad.optim import AveragedModel
from distgrad.optim.swa import UPDATE_BN
from distgrad.parallel import current_shard
from distgrad.parallel.exchange import exchange_of
from distgrad.parallel.statistics import StatisticsBuffer


@explained
def update_bn(loader: Iterable[Any], model: Module | AveragedModel) -> None:
    """Renew BatchNorm's running statistics: the mean over all batches of ``loader``.

    Of a DataLoader's batches each rank passes its shards through the model, and the statistics are
    the weighted mean over all shards, as in training; a loader left half-way is read whole.
    Otherwise a batch is the model's input, or a tuple that begins with it, and every rank passes
    all of them: give all ranks the same. InstanceNorm's statistics follow as in training. Errors:
    ShapeError for a batch of anything else, or for a shard without its batch.
    """
    follow = [m for m in model.modules() if m.statistics]
    norms = [m for m in follow if isinstance(m, _BatchNorm)]
    if not norms:
        return
    training = model.training
    observers, momenta = [m._observer for m in follow], [m.momentum for m in norms]
    buffer = StatisticsBuffer(follow)
    model.train(True)
    for norm in norms:
        norm.momentum = None  # the plain mean
    try:
        with no_grad():
            batches = loader.whole() if isinstance(loader, DataLoader) else loader
            for n, batch in enumerate(batches):
                if n == 0:
                    _forget(norms)
                if isinstance(batch, Batch):
                    buffer.watch()
                    _pass_shards(batch, model, buffer)
                else:
                    for m in follow:
                        m._observer = None  # the statistics go into the module, not to the bridge
                    model(_input(batch))
    finally:
        for m, observer in zip(follow, observers, strict=True):
            m._observer = observer
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.train(training)


def _pass_shards(batch: Batch, model: Module | AveragedModel, buffer: StatisticsBuffer) -> None:
    world = batch.world
    exchange = exchange_of(world, batch.total)
    buffer.buffer.restart()
    for shard in batch.shards:
        position = world.position
        buffer.open(position.shard, position.empty)
        model(shard[0])
        buffer.gather(position.weight)
        if not position.empty:
            buffer.buffer.add(exchange, position.shard)
    buffer.buffer.start(exchange)
    buffer.finish()


def _forget(layers: Iterable[_BatchNorm]) -> None:
    for layer in layers:
        for buffer in (layer.running_mean, layer.running_var, layer.num_batches_tracked):
            buffer.array[...] = 0


def _input(batch: Any) -> Array | Tensor:
    found = batch[0] if isinstance(batch, list | tuple) else batch
    if not isinstance(found, np.ndarray | Tensor):
        raise ShapeError(
            f"update_bn takes a DataLoader, or batches of arrays; got a {type(found).__name__}"
        )
    if current_shard() is not None:
        raise ShapeError(
            "update_bn was given shards of batches, which are others on each rank, and so would be "
            "the statistics: pass the DataLoader itself"
        )
    return found


UPDATE_BN.append(update_bn)  # for optim.swa_utils.update_bn
