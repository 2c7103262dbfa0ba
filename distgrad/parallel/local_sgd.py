"""Training that communicates every so many steps: local SGD, post-local SGD and DiLoCo.

Between two averages each rank moves weights of its own with an optimizer of its own; nothing is
sent. Averages are canonical sums, so all ranks leave one with the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import CheckpointError, DistgradError
from distgrad.kinds import Count, Decay, Positive, Size
from distgrad.nn import Parameter
from distgrad.parallel.ddp import DistributedDataParallel
from distgrad.parallel.hooks.plain import PostLocalSGDState, post_localSGD_hook
from distgrad.parallel.per_rank import check_ranks, gather, own
from distgrad.parallel.world import World, current_world

_PIECE = 1 << 20  # numbers in one sum: its messages stay eager, and several are in flight


class PeriodicModelAverager:
    """Averages parameters over the ranks every ``period`` steps, from step ``warmup_steps`` on.

    Local SGD has no warm-up; post-local SGD (Lin et al. 2020) trains as usual for some time and
    needs ``ddp.register_comm_hook(PostLocalSGDState(start_localSGD_iter=warmup_steps),
    post_localSGD_hook)`` to end that at the same step. ``process_group`` is not used.
    Errors: ShapeError for a period below 1 or a negative warm-up.
    """

    def __init__(
        self,
        period: Size,
        warmup_steps: Count = 0,
        process_group: None = None,
        *,
        world: World | None = None,
    ) -> None:
        del process_group
        self.period, self.warmup_steps, self.step = period, warmup_steps, 0
        self._world = world

    def average_parameters(self, params: Iterable[Tensor] | Iterable[Mapping[str, Any]]) -> None:
        """Count a step and, if it is time, replace ``params`` by the ranks' mean; collective.

        They are Tensors or an optimizer's groups; all that require gradients, and floating-point
        buffers given with them (``[*model.parameters(), *model.buffers()]`` for BatchNorm's).
        """
        late = self.step - self.warmup_steps
        if late >= 0 and late % self.period == 0:
            average(self._world or current_world(), _tensors(params))
        self.step += 1


class PostLocalSGDOptimizer:
    """``optim``, followed at each step by ``averager.average_parameters``: PyTorch's wrapper."""

    def __init__(self, optim: Any, averager: PeriodicModelAverager) -> None:
        self.optim, self.averager = optim, averager
        self.param_groups = optim.param_groups

    def __getattr__(self, name: str) -> Any:
        """Everything else is the optimizer's."""
        if name == "optim":  # while it is copied
            raise AttributeError(name)
        return getattr(self.optim, name)

    def step(self, closure: Any = None) -> Any:
        """Move this rank's parameters; average them with the other ranks', if it is time."""
        loss = self.optim.step() if closure is None else self.optim.step(closure)
        self.averager.average_parameters(self.param_groups)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state and the averager's ``step``."""
        return {**self.optim.state_dict(), "step": self.averager.step}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a state. Errors: DistgradError if the averager's step is not in it."""
        if "step" not in state_dict:
            raise DistgradError(
                "the state has no 'step' of the averager: save PostLocalSGDOptimizer.state_dict(), "
                "or load it into .optim and set .averager.step"
            )
        self.optim.load_state_dict({k: v for k, v in state_dict.items() if k != "step"})
        self.averager.step = int(state_dict["step"])


class DiLoCo:
    """Trains each rank by itself and takes an outer step every ``every`` steps (Douillard 2023).

    θ are the weights all ranks had in common last. Δ = θ - mean of the ranks' weights is taken for
    a gradient, by which θ moves with Nesterov's momentum: u ← μ u + Δ, θ ← θ - η (Δ + μ u), with
    η = ``outer_lr`` and μ = ``outer_momentum``; all ranks go on from θ. η = 1, μ = 0 is local SGD.
    ``optimizer`` is the inner one, whose state stays with its rank. BatchNorm's statistics are
    averaged at the outer steps. It registers a hook, so the model can have no other; its weights
    are not compared between ranks. Errors: CommError if it has one; ShapeError for settings out of
    their range.
    """

    def __init__(
        self,
        ddp: DistributedDataParallel,
        optimizer: Any,
        outer_lr: Positive = 0.7,
        outer_momentum: Decay = 0.9,
        every: Size = 500,
    ) -> None:
        if not isinstance(ddp, DistributedDataParallel):
            raise DistgradError(
                f"DiLoCo(ddp, optimizer) needs the DistributedDataParallel of the model, got a "
                f"{type(ddp).__name__}: DiLoCo(dg.DistributedDataParallel(model), optimizer)"
            )
        ddp.register_comm_hook(PostLocalSGDState(), post_localSGD_hook)
        self.world, self.optimizer = ddp.world, optimizer
        self.outer_lr, self.outer_momentum, self.every = outer_lr, outer_momentum, every
        self.steps = 0
        """Inner steps so far."""
        self._params = [p for p in ddp.module.parameters() if p.requires_grad]
        self._buffers = [b for _, b in ddp.module.named_buffers()]
        self._common = [p.array.copy() for p in self._params]  # θ
        self._momentum = [np.zeros_like(theta) for theta in self._common]  # u

    def __getattr__(self, name: str) -> Any:
        """Everything else is the inner optimizer's."""
        if name == "optimizer":
            raise AttributeError(name)
        return getattr(self.optimizer, name)

    def step(self, closure: Any = None) -> Any:
        """Move this rank's parameters; every so many times all ranks' go on from common ones."""
        loss = self.optimizer.step() if closure is None else self.optimizer.step(closure)
        self.steps += 1
        if self.steps % self.every == 0:
            self.outer_step()
        return loss

    def outer_step(self) -> None:
        """Take the outer step now, as before an evaluation or at the end; collective."""
        average(self.world, [*self._params, *self._buffers])
        eta, mu = self.outer_lr, self.outer_momentum
        for p, theta, u in zip(self._params, self._common, self._momentum, strict=True):
            delta = theta - p.array
            np.add(mu * u, delta, out=u)
            np.subtract(theta, eta * (delta + mu * u), out=theta)
            p.array[...] = theta

    def state_dict(self) -> dict[str, Any]:
        """Return this rank's state, its weights included; ``gather`` returns that of all."""
        return {
            "rank": self.world.rank,
            "size": self.world.size,
            "steps": self.steps,
            "outer": {"common": list(self._common), "momentum": list(self._momentum)},
            "own": {
                "optimizer": self.optimizer.state_dict(),
                "weights": [p.array for p in self._params],
                "buffers": [b.array for b in self._buffers],
            },
        }

    def gather(self, world: World) -> dict[str, Any]:
        """Return the state of all ranks, on every rank; collective."""
        state = self.state_dict()
        return state | {"rank": None, "own": gather(world, state["own"], "DiLoCo")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of this rank, or of all. Errors: CheckpointError if it is none."""
        of_all = check_ranks(state, self.world, "DiLoCo", "steps", "outer", "own")
        mine = own(state["own"], self.world.rank) if of_all else state["own"]
        pairs = [
            (self._common, state["outer"]["common"]),
            (self._momentum, state["outer"]["momentum"]),
            ([p.array for p in self._params], mine["weights"]),
            ([b.array for b in self._buffers], mine["buffers"]),
        ]
        for targets, saved in pairs:
            shapes = [t.shape for t in targets], [np.shape(array) for array in saved]
            if shapes[0] != shapes[1]:
                raise CheckpointError(
                    f"the DiLoCo was saved with another model: it has arrays of {shapes[1]}, this "
                    f"one of {shapes[0]}"
                )
        self.steps = int(state["steps"])
        self.optimizer.load_state_dict(mine["optimizer"])
        for targets, saved in pairs:
            for target, array in zip(targets, saved, strict=True):
                target[...] = array


def average(world: World, tensors: Iterable[Tensor]) -> None:
    """Replace floating-point tensors by their means over the ranks, in place; collective."""
    arrays = [t.array for t in tensors if t.array.dtype.kind in "fc"]
    works, flats = [], []
    for dtype in dict.fromkeys(a.dtype for a in arrays):
        same = [a for a in arrays if a.dtype == dtype]
        flat = np.concatenate([a.reshape(-1) for a in same])
        flats.append((same, flat))
        for start in range(0, flat.size, _PIECE):
            piece = flat[start : start + _PIECE]
            works.append(
                world.comm.start_all_reduce(piece, canonical=True, name="average of weights")
            )
    for work in works:
        work.wait()
    for same, flat in flats:
        np.divide(flat, world.size, out=flat)
        _spread(flat, same)


def _spread(flat: Array, arrays: Iterable[Array]) -> None:
    start = 0
    for array in arrays:
        array[...] = flat[start : start + array.size].reshape(array.shape)
        start += array.size


def _tensors(params: Iterable[Any]) -> list[Tensor]:
    """Return the Tensors of parameters or groups: those that are trained, and buffers."""
    given: list[Any] = []
    lone = isinstance(params, Tensor) or not isinstance(params, Iterable)
    for entry in [params] if lone else params:
        given += entry["params"] if isinstance(entry, Mapping) else [entry]
    wrong = [t for t in given if lone or not isinstance(t, Tensor)]
    if wrong:
        raise TypeError(
            f"average_parameters takes model.parameters() or optimizer.param_groups; got a "
            f"{type(wrong[0]).__name__}{'' if lone else ' among them'}"
        )
    return [t for t in given if t.requires_grad or not isinstance(t, Parameter)]
