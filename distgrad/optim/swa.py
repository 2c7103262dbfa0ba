"""Stochastic weight averaging (Izmailov et al. 2018), by PyTorch's names; see SWALR, too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any, Protocol

import numpy as np

from distgrad.arguments import checked
from distgrad.autograd.apart import apart
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.kinds import Fraction

Average = Callable[[Tensor, Tensor, int], Any]
MultiAverage = Callable[[list[Tensor], list[Tensor], int], Any]

UPDATE_BN: list[Callable[[Iterable[Any], Any], None]] = []
"""The function that renews BatchNorm's statistics, from the layer that knows loaders and ranks."""


class Model(Protocol):
    """What is asked of a model: distgrad's Module has it."""

    training: bool

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output."""

    def modules(self) -> Iterable[Any]:
        """Return the model and all modules below it."""

    def parameters(self) -> Iterable[Tensor]:
        """Return the parameters."""

    def named_parameters(self) -> Iterable[tuple[str, Tensor]]:
        """Return names and parameters."""

    def named_buffers(self) -> Iterable[tuple[str, Tensor]]:
        """Return names and buffers."""

    def state_arrays(self) -> dict[str, Array]:
        """Return the live arrays."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy a state into the model."""

    def train(self, mode: bool = True) -> object:
        """Set training mode."""


def get_swa_avg_fn() -> Average:
    """Return the equal-weights average: m + (θ - m) / (n + 1)."""
    return lambda averaged, current, n: averaged + (current - averaged) / (n + 1)


@checked
def get_ema_avg_fn(decay: Fraction = 0.999) -> Average:
    """Return the exponential moving average: decay m + (1 - decay) θ."""
    return lambda averaged, current, n: decay * averaged + (1 - decay) * current


def get_swa_multi_avg_fn() -> MultiAverage:
    """Return the equal-weights average of lists, which changes the first list's in place."""
    return _multi(get_swa_avg_fn())


@checked
def get_ema_multi_avg_fn(decay: Fraction = 0.999) -> MultiAverage:
    """Return the exponential moving average of lists, which changes the first list's in place."""
    return _multi(get_ema_avg_fn(decay))


def _multi(average: Average) -> MultiAverage:
    def in_place(averaged: list[Tensor], current: list[Tensor], n: int) -> None:
        for mine, its in zip(averaged, current, strict=True):
            mine.array[...] = np.asarray(average(mine, its, n))

    return in_place


def update_bn(loader: Iterable[Any], model: Any, device: Any = None) -> None:
    """``dg.update_bn``: renew BatchNorm's running statistics by a pass over ``loader``."""
    _check_device("update_bn", device)
    UPDATE_BN[0](loader, model)


class AveragedModel:
    """A copy of ``model`` whose parameters are averages of the ones the model has had.

    Call ``update_parameters(model)`` for each model to count in; the first is taken as it is.
    ``avg_fn(averaged, current, number averaged)`` returns the next average, ``multi_avg_fn`` of
    lists changes the first in place; the equal-weights average unless one is given. Buffers are
    copied, or averaged with ``use_buffers``; ``dg.update_bn`` renews BatchNorm's.
    Errors: ShapeError for both functions, or a device that is not the CPU.
    """

    def __init__(
        self,
        model: Model,
        device: Any = None,
        avg_fn: Average | None = None,
        multi_avg_fn: MultiAverage | None = None,
        use_buffers: bool = False,
    ) -> None:
        _check_device("AveragedModel", device)
        if avg_fn is not None and multi_avg_fn is not None:
            raise ShapeError("AveragedModel: give avg_fn or multi_avg_fn, not both")
        self.module = _copied(model)
        self.avg_fn, self.multi_avg_fn = avg_fn, multi_avg_fn
        self.use_buffers = use_buffers
        self.n_averaged = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the averaged model."""
        return self.module(*args, **kwargs)

    @property
    def training(self) -> bool:
        """Whether the copy is in training mode."""
        return self.module.training

    @apart
    def update_parameters(self, model: Model) -> None:
        """Take the weights of this moment into the average."""
        pairs = _pairs(self.module, model, parameters=True)
        buffers = _pairs(self.module, model, parameters=False)
        for mine, its in buffers:
            if self.use_buffers and mine.dtype.kind == "f":
                pairs.append((mine, its))
            else:
                mine.array[...] = its.array
        if not self.n_averaged:
            for mine, its in pairs:
                mine.array[...] = its.array
        else:
            average = self.multi_avg_fn or _multi(self.avg_fn or get_swa_avg_fn())
            average([m for m, _ in pairs], [t for _, t in pairs], self.n_averaged)
        self.n_averaged += 1

    def modules(self) -> Iterable[Any]:
        """Return the copy and all modules below it."""
        return self.module.modules()

    def parameters(self) -> Iterable[Tensor]:
        """Return the averaged parameters."""
        return self.module.parameters()

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Return names and averaged parameters."""
        return ((f"module.{name}", p) for name, p in self.module.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Return names and buffers of the copy."""
        return ((f"module.{name}", b) for name, b in self.module.named_buffers())

    def train(self, mode: bool = True) -> AveragedModel:
        """Set training mode for the copy."""
        self.module.train(mode)
        return self

    def eval(self) -> AveragedModel:
        """Set evaluation mode for the copy."""
        return self.train(False)

    def state_dict(self) -> dict[str, Array]:
        """Return PyTorch's layout: ``n_averaged`` and the copy's state below ``module.``."""
        own = {f"module.{name}": a for name, a in self.module.state_arrays().items()}
        return {"n_averaged": np.array(self.n_averaged, np.int64), **own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict``. Errors: ShapeError if it belongs to another model."""
        if "n_averaged" not in state:
            raise ShapeError("the state has no 'n_averaged': it is not that of an AveragedModel")
        prefix = "module."
        inside = {n.removeprefix(prefix): a for n, a in state.items() if n.startswith(prefix)}
        self.module.load_state_dict(inside)
        self.n_averaged = int(state["n_averaged"])


def _pairs(mine: Model, its: Model, parameters: bool) -> list[tuple[Tensor, Tensor]]:
    """Return (averaged, current) tensors of live memory, outside the tape."""
    if not hasattr(its, "named_parameters"):
        raise TypeError(f"update_parameters takes the model that is trained; got {its!r}")
    own, given = (
        list(m.named_parameters() if parameters else m.named_buffers()) for m in (mine, its)
    )
    # In order, as a wrapper of the model gives them other names.
    for (name, a), (other, b) in zip(own, given, strict=False):
        if a.shape != b.shape:
            raise ShapeError(
                f"update_parameters: '{name}' of the average has shape {a.shape}, '{other}' of the "
                f"model {b.shape}; it is another model"
            )
    if len(own) != len(given):
        raise ShapeError(
            f"update_parameters: the average has {len(own)} tensors, the model {len(given)}; it is "
            f"another model"
        )
    return [(Tensor(a.array), Tensor(b.array)) for (_, a), (_, b) in zip(own, given, strict=True)]


def _check_device(who: str, device: Any) -> None:
    if device is not None and str(device) != "cpu":
        raise ShapeError(f"{who}: device={device!r}: there are no GPUs here; leave device out")


def _copied(model: Model) -> Model:
    """Return a copy that is tied to nothing: no bucket, no communication, no gradient."""
    tensors = [*model.parameters(), *(b for _, b in model.named_buffers())]
    memo: dict[int, Any] = {id(t): _detached(t) for t in tensors}
    return deepcopy(model, memo)


def _detached(t: Tensor) -> Tensor:
    copy = type(t)(t.array.copy())
    copy.requires_grad = t.requires_grad
    return copy
