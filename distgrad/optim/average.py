"""Averages of weights: the exponential moving average, and Lookahead around an optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from distgrad.autograd.flat import own_values
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.kinds import Fraction, Steps
from distgrad.optim.flat import FlatParameters
from distgrad.optim.optimizer import Group, Loss, Optimizer
from distgrad.optim.own_state import state_of
from distgrad.optim.run import State


class HasParameters(Protocol):
    """A model, as far as an average of its weights is concerned."""

    def parameters(self) -> Iterable[Tensor]:
        """Return the parameters."""


class ExponentialMovingAverage:
    """An average of the weights that forgets: m ← decay m + (1 - decay) θ (Polyak 1992).

    Call ``update()`` after each step; the first one takes the weights as they are. ``decay`` 0.999
    remembers about 1,000 steps; with ``warmup`` it is at most (1 + n) / (10 + n) after n updates,
    so that the first steps are forgotten soon. Equal weights on all ranks make equal averages.
    Buffers (BatchNorm's statistics) are not averaged. Where ranks share the weights out (zero=1 and
    more) each averages its part, and all other methods are to be called on every rank.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | HasParameters,
        decay: Fraction = 0.999,
        warmup: bool = False,
    ) -> None:
        found = list(params.parameters() if hasattr(params, "parameters") else params)
        if not found:
            raise ShapeError("ExponentialMovingAverage got no parameters; pass the model")
        self.decay, self.warmup = decay, warmup
        self.num_updates = 0
        self._flat = FlatParameters(found, ["average"])

    def update(self) -> None:
        """Take the weights of this moment into the average."""
        decay = self.decay
        if self.warmup:
            decay = min(decay, (1 + self.num_updates) / (10 + self.num_updates))
        for run in self._flat.runs():
            average = run.state["average"]
            if self.num_updates:
                average += (1 - decay) * (run.value - average)
            else:
                average[...] = run.value
        self.num_updates += 1

    @contextmanager
    def average_parameters(self) -> Iterator[None]:
        """Let the model have the averages inside ``with``, and its own weights again after it.

        Before the first update there is no average: the weights stay.
        """
        self._flat.settle()
        own = [own_values(p).copy() for p in self._flat.params]
        self.copy_to()
        try:
            yield
        finally:
            self._flat.settle()
            for p, weights in zip(self._flat.params, own, strict=True):
                own_values(p)[...] = weights
            self._flat.send_values()

    def copy_to(self) -> None:
        """Let the model have the averages for good."""
        for run in self._flat.runs() if self.num_updates else ():
            run.settle()
            run.value[...] = run.state["average"]
        self._flat.send_values()

    def state_dict(self) -> dict[str, Any]:
        """Return the number of updates and the averages, in the order of the parameters."""
        averages = [state["average"] for state in self._flat.whole_state()]
        return {"num_updates": self.num_updates, "averages": averages}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict``. Errors: ShapeError if it belongs to another model."""
        state = state_of(type(self).__name__, state, "averages", "num_updates")
        shapes = [p.shape for p in self._flat.params]
        given = [np.shape(a) for a in state["averages"]]
        if shapes != given:
            raise ShapeError(f"the averages have the shapes {given}, the parameters {shapes}")
        for i, average in enumerate(state["averages"]):
            self._flat.fill_state(i, {"average": average})
        self.num_updates = int(state["num_updates"])


class Lookahead(Optimizer):
    """Every ``k`` steps of ``optimizer``: slow ← slow + alpha (θ - slow), θ ← slow (Zhang 2019).

    An optimizer itself: schedules and the Trainer take it in the other's place, with which it
    shares its groups.
    """

    def __init__(self, optimizer: Optimizer, k: Steps = 5, alpha: Fraction = 0.5) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"Lookahead takes an optimizer, as Lookahead(optim.AdamW(params)); got a "
                f"{type(optimizer).__name__}"
            )
        self.optimizer, self.k, self.alpha = optimizer, k, alpha
        self.defaults, self.param_groups = optimizer.defaults, optimizer.param_groups
        self.count = 0
        self._slow = FlatParameters(self._params(), ["slow"])

    @property
    def state(self) -> Any:
        """The state of the optimizer inside."""
        return self.optimizer.state

    def state_names(self, group: Group) -> list[str]:
        """Return those of the optimizer inside."""
        return self.optimizer.state_names(group)

    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Apply the update of the optimizer inside."""
        self.optimizer.update(value, grad, state, step, group)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Train more parameters. Errors: ShapeError between two meetings with the slow weights."""
        if self.count % self.k:
            raise ShapeError(
                f"Lookahead: add parameters after a multiple of k={self.k} steps; {self.count} "
                f"have been taken"
            )
        self.optimizer.add_param_group(param_group)
        self._slow = FlatParameters(self._params(), ["slow"])

    def step(self, closure: Callable[[], Loss] | None = None) -> Loss | None:
        """Take a step of the optimizer inside, and every k-th time meet the slow weights."""
        # At a round's beginning the slow weights are the fast ones: taken then, and not when this
        # was made, because weights may have been broadcast or loaded since.
        if self.count % self.k == 0:
            for run in self._slow.runs():
                run.state["slow"][...] = run.value
        self.optimizer._inside = True
        try:
            loss = self.optimizer.step(closure)
        finally:
            self.optimizer._inside = False
        self.count += 1
        if self.count % self.k == 0:
            for run in self._slow.runs():
                run.settle()
                slow = run.state["slow"]
                slow += self.alpha * (run.value - slow)
                run.value[...] = slow
                run.changed()  # also of what has no gradient now
        self.optimizer._tell_listeners()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimizer inside, with the slow weights and the step's number."""
        found = self.optimizer.state_dict()
        state = {
            n: {**found["state"].get(n, {}), **slow}
            for n, slow in enumerate(self._slow.whole_state())
        }
        groups = [{**g, "lookahead_count": self.count} for g in found["param_groups"]]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict`` of Lookahead around the same kind of optimizer.

        Errors: ShapeError, with nothing changed, if it does not fit.
        """
        groups = [dict(g) for g in state_dict["param_groups"]]
        state = {int(n): dict(entry) for n, entry in state_dict["state"].items()}
        counts = [g.pop("lookahead_count", None) for g in groups]
        slow = [state.get(n, {}).pop("slow", None) for n in range(len(self._slow.params))]
        if None in counts or any(s is None for s in slow):
            raise ShapeError("the state has no slow weights: it is not that of a Lookahead")
        for n, (weights, p) in enumerate(zip(slow, self._slow.params, strict=True)):
            if np.shape(weights) != p.shape:
                raise ShapeError(
                    f"'slow' of parameter {n} has shape {np.shape(weights)} in the state and "
                    f"{p.shape} here"
                )
        inside = {n: entry for n, entry in state.items() if entry}
        self.optimizer.load_state_dict({"state": inside, "param_groups": groups})
        for n, weights in enumerate(slow):
            self._slow.fill_state(n, {"slow": weights})
        self.count = int(counts[0])

    def _params(self) -> Sequence[Tensor]:
        return [p for g in self.param_groups for p in g["params"]]
