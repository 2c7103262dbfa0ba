"""Modules that use their parameters in every way a sharded model has to bear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import distgrad as dg
from distgrad import nn
from distgrad.nn import functional as F
from distgrad.parallel.zero_memory import NodePages, OwnPages
from distgrad.utils.checkpoint import checkpoint

WIDTH, CLASSES = 6, 3


def given_back_is_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill what a rank gives back with NaN, so that whoever reads it is found out: a fixture."""

    def keep(self: OwnPages | NodePages, *wanted: slice) -> None:
        gone = np.ones(self.array.size, bool)
        for part in wanted:
            gone[part] = False
        self.array[gone] = np.nan

    monkeypatch.setattr(OwnPages, "keep", keep)
    monkeypatch.setattr(NodePages, "keep", keep)


def matrix(shift: float = 0.0) -> nn.Parameter:
    values = np.sin(np.arange(WIDTH * WIDTH) * 0.7 + shift).reshape(WIDTH, WIDTH)
    return nn.Parameter(values.astype(np.float32))


@dataclass
class Result:
    """An output of a class of the user's."""

    hidden: Any


class Net(nn.Module):
    """What is common: a first layer, a last one, and what a subclass does between."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.last(self.between(np.tanh(self.first(x))))

    def between(self, h: Any) -> Any:
        raise NotImplementedError


class Tied(Net):
    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Linear(WIDTH, WIDTH)
        self.second.weight = self.first.weight

    def between(self, h: Any) -> Any:
        return np.tanh(self.second(h))


class ReadByTheParent(Net):
    def between(self, h: Any) -> Any:
        return F.linear(h, self.first.weight)


class DetachedByTheParent(Net):
    def between(self, h: Any) -> Any:
        return h @ self.first.weight.detach()


class Weighted(nn.Module):
    def __init__(self, do: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.w, self.do = matrix(), do

    def forward(self, h: Any) -> Any:
        return self.do(self, h)

    def encode(self, h: Any) -> Any:
        return h @ self.w


class With(Net):
    """A module in between that does ``inner`` with its weight, and ``then`` with what comes out."""

    def __init__(self, inner: Any, then: Any = lambda _, out: out) -> None:
        super().__init__()
        self.inner, self.then = Weighted(inner), then

    def between(self, h: Any) -> Any:
        return np.tanh(self.then(self.inner, self.inner(h)))


class OtherMethod(With):
    def between(self, h: Any) -> Any:
        return np.tanh(self.inner.encode(h))


class Repeated(With):
    def between(self, h: Any) -> Any:
        for _ in range(3):
            h = np.tanh(self.inner(h))
        return h


class Parameters(Net):
    def __init__(self) -> None:
        super().__init__()
        self.list = nn.ParameterList([matrix(1), matrix(2), matrix(3)])

    def between(self, h: Any) -> Any:
        for p in self.list:
            h = np.tanh(h @ p)
        return h


class Frozen(With):
    def __init__(self) -> None:
        super().__init__(lambda m, h: h @ m.w)
        self.inner.requires_grad_(False)


class Recomputed(With):
    def between(self, h: Any) -> Any:
        h = checkpoint(
            lambda t: np.tanh(self.inner(np.tanh(self.first(t)))), h, use_reentrant=False
        )
        return checkpoint(self.inner.encode, h, use_reentrant=False)


class Recurrent(Net):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.LSTM(WIDTH, WIDTH, num_layers=2, batch_first=True)

    def between(self, h: Any) -> Any:
        return self.inner(np.reshape(h, (len(h), 1, WIDTH)))[0][:, 0]


class Attentive(Net):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 8, batch_first=True)
        self.inner = nn.TransformerEncoder(layer, 2)

    def between(self, h: Any) -> Any:
        return self.inner(np.reshape(h, (len(h), 1, WIDTH)))[:, 0]


class Square(dg.autograd.Function):
    """x w², with a backward that reads what was saved."""

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any) -> Any:
        ctx.save_for_backward(x, w)
        return x @ (w * w)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, w = ctx.saved_tensors
        return g @ (w * w).T, 2 * w * (x.T @ g)


def _side(module: Any, h: Any) -> None:
    module.kept = [h @ module.w]


def _side_view(module: Any, h: Any) -> Any:
    module.part = module.w[:2]
    return h


def _detached_before_use(module: Any, h: Any) -> Any:
    # The gradient of ``w`` is final before the first product is walked, which still reads it.
    return np.tanh(h @ module.w.detach()) @ module.w


def _parametrized(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        model = Tied()
        del model.second.weight
        model.second.weight = matrix()
        getattr(nn.utils.parametrizations, name)(model.second)
        return model

    return make


def _old_weight_norm() -> nn.Module:
    model = With(lambda m, h: h)
    nn.utils.weight_norm(model.first)
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "tied weights": Tied,
    "a weight read by the parent": ReadByTheParent,
    "a weight detached by the parent": DetachedByTheParent,
    "a weight detached in forward": lambda: With(lambda m, h: h @ m.w + h @ m.w.detach()),
    "a weight detached before its use": lambda: With(_detached_before_use),
    "a weight on the left": lambda: With(lambda m, h: (m.w @ h.T).T),
    "a weight's data": lambda: With(lambda m, h: h @ m.w * m.w.data.sum()),
    "a weight as an array": lambda: With(lambda m, h: h @ m.w * float(m.w.array.sum())),
    "a returned weight": lambda: With(lambda m, h: (h, m.w), lambda _, o: o[0] @ o[1]),
    "a returned part": lambda: With(
        lambda m, h: (h, m.w[:, 1:4]), lambda _, o: o[0][:, :3] @ o[1].T
    ),
    "a returned transpose": lambda: With(
        lambda m, h: {"h": h, "w": [m.w.T]}, lambda _, o: o["h"] @ o["w"][0]
    ),
    "a returned array": lambda: With(
        lambda m, h: (h @ m.w, m.w.array[1]), lambda _, o: o[0] * o[1]
    ),
    "a returned dictionary": lambda: With(lambda m, h: {"h": [h @ m.w]}, lambda _, o: o["h"][0]),
    "a returned object": lambda: With(lambda m, h: Result(h @ m.w), lambda _, o: o.hidden),
    "a returned object with a part": lambda: With(
        lambda m, h: Result((h, m.w[:2])), lambda _, o: o.hidden[0] + o.hidden[1].sum(axis=0)
    ),
    "an output left on the module": lambda: With(_side, lambda m, _: m.kept[0]),
    "a part left on the module": lambda: With(_side_view, lambda m, o: o + m.part.sum(axis=0)),
    "a loss left on the module": lambda: With(
        lambda m, h: (setattr(m, "loss", ((h @ m.w) ** 2).mean(axis=1)), h @ m.w)[1],
        lambda m, o: o + np.expand_dims(m.loss, 1),
    ),
    "another method than forward": lambda: OtherMethod(lambda m, h: h),
    "a module run three times": lambda: Repeated(lambda m, h: h @ m.w),
    "a Function that saves it": lambda: With(lambda m, h: Square.apply(h, m.w)),
    "an unused module": lambda: OtherMethod(lambda m, h: h).requires_grad_(True),
    "a ParameterList": Parameters,
    "frozen parameters": Frozen,
    "recomputed stretches": lambda: Recomputed(lambda m, h: h @ m.w),
    "an LSTM": Recurrent,
    "a transformer": Attentive,
    "weight_norm": _parametrized("weight_norm"),
    "spectral_norm": _parametrized("spectral_norm"),
    "orthogonal": _parametrized("orthogonal"),
    "the old weight_norm": _old_weight_norm,
}
