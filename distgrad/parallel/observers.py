"""Who else may look at gradients: each shard's own, before they are summed, and each batch's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import GradError
from distgrad.nn import Module
from distgrad.parallel.world import World


class GradientObserver(Protocol):
    """Sees gradients on their way; the arrays are buffers in use: look, do not keep or change."""

    def shard_ready(
        self,
        names: Sequence[str],
        gradients: Sequence[Array],
        shard: int,
        weight: float,
        loss_nonfinite: bool,
    ) -> None:
        """See one bucket of a shard's gradients, times its weight."""

    def batch_ready(
        self, gradients: Mapping[str, Array | None], finite: bool | None, world: World | None
    ) -> None:
        """See the batch's gradients, before clipping; None for parameters nobody used.

        Called on every rank of ``world`` at the same place, so collectives are allowed. ``finite``
        is the verdict on the gradients and losses (None: the policy did not ask for one).
        """


class Observable:
    """What listens to a model's gradients and can be looked at."""

    def __init__(self) -> None:
        self.observers: list[GradientObserver] = []


class LocalGradients(Observable):
    """The GradListener of a model that is not distributed: every backward pass is a batch."""

    early = False

    def __init__(self, named: Sequence[tuple[str, Tensor]]) -> None:
        super().__init__()
        self._named = list(named)
        for _, p in self._named:
            p._listener = self

    def backward_started(self) -> float:
        """Weigh the pass as it is."""
        return 1.0

    def grad_ready(self, leaf: Tensor) -> None:
        """Wait for the end of the pass."""

    def optimizer_stepped(self, optimizer: object) -> None:
        """Not of interest."""

    def compare(self, name: str, value: float) -> None:
        """There is one rank."""

    def poll(self) -> None:
        """Nothing is on its way."""

    def backward_finished(self) -> None:
        """Show what the parameters hold now, gradients of earlier passes included."""
        grads = {n: None if p.grad is None else p.grad.array for n, p in self._named}
        for observer in self.observers:
            observer.batch_ready(grads, None, None)


def watch(module: Module, observer: GradientObserver) -> None:
    """Show ``observer`` the gradients of ``module``, distributed already, later or never.

    Errors: GradError for a model without parameters that require gradients.
    """
    named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    if not named:
        raise GradError("the model has no parameters that require gradients: nothing to observe")
    source = named[0][1]._listener
    if not isinstance(source, Observable):
        source = LocalGradients(named)
    source.observers.append(observer)


def take_over(named: Sequence[tuple[str, Tensor]]) -> list[GradientObserver]:
    """Return the observers of a model that is about to be distributed."""
    sources = {id(p._listener): p._listener for _, p in named}
    return [o for s in sources.values() if isinstance(s, LocalGradients) for o in s.observers]
