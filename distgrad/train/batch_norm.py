"""BatchNorm's running statistics anew: for weights that no batch has passed through (averages)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from distgrad.autograd.mode import no_grad
from distgrad.autograd.tensor import Array, Tensor
from distgrad.errors import ShapeError
from distgrad.nn import Module
from distgrad.nn.batchnorm import _BatchNorm
from distgrad.optim import AveragedModel


def update_bn(loader: Iterable[Any], model: Module | AveragedModel) -> None:
    """Renew BatchNorm's running statistics: the mean over all batches of ``loader``.

    A batch is the model's input, or a tuple that begins with it. All ranks must be given the same
    batches: the statistics are not reduced. InstanceNorm's follow as in training. Errors:
    ShapeError for a batch of anything else.
    """
    follow = [m for m in model.modules() if m.statistics]
    norms = [m for m in follow if isinstance(m, _BatchNorm)]
    if not norms:
        return
    training = model.training
    observers, momenta = [m._observer for m in follow], [m.momentum for m in norms]
    model.train(True)
    for m in follow:
        m._observer = None  # the statistics go into the module, not to the bridge
    for norm in norms:
        norm.momentum = None  # the plain mean
    try:
        with no_grad():
            for n, x in enumerate(map(_input, loader)):
                if n == 0:
                    _forget(norms)
                model(x)
    finally:
        for m, observer in zip(follow, observers, strict=True):
            m._observer = observer
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.train(training)


def _forget(layers: Iterable[_BatchNorm]) -> None:
    for layer in layers:
        for buffer in (layer.running_mean, layer.running_var, layer.num_batches_tracked):
            buffer.data[...] = 0


def _input(batch: Any) -> Array | Tensor:
    found = batch[0] if isinstance(batch, list | tuple) else batch
    if not isinstance(found, np.ndarray | Tensor):
        raise ShapeError(
            f"update_bn takes batches of arrays; got a {type(found).__name__}. For distgrad's "
            f"DataLoader pass (shard for batch in loader for shard in batch.shards)"
        )
    return found
