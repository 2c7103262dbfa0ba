"""Calls that make kernels be compiled: every op's samples, optimizers, small models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import distgrad as dg
from distgrad import Tensor, clip_grad_norm_, kernels, nn, ops, optim
from distgrad.autograd import grad
from distgrad.autograd.op import Op
from distgrad.autograd.signature import draw
from distgrad.autograd.stream import (
    Position,
    at_position,
    integers,
    normal,
    permutation,
    poisson,
    random,
)
from distgrad.functions.arithmetic import nextafter
from distgrad.nn import functional as F

_OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in ("Adagrad", "Adam", "AdamW", "Adamax", "Lion", "NAdam", "RAdam")),
    *(("SGD", {}), ("SGD", {"momentum": 0.9}), ("SGD", {"momentum": 0.9, "nesterov": True})),
    *((name, {}) for name in ("ASGD", "Adadelta", "RMSprop", "Rprop")),
]


_LARGER: dict[Op, list[tuple[list[tuple[int, ...]], dict[str, Any]]]] = {
    ops.adaptive_max_pool: [([(2, 3, 31, 17)], {"output_size": (7, 4)})],
    ops.lstm: [([(3, 32, 8), *[(32, 128)] * 2, (512, 8), (512, 128), (512,), (512,)], {})],
    ops.matmul: [([(512, 64), (64, 64)], {}), ([(256, 256), (256, 256)], {})],
    ops.nansum: [([(64, 512)], {"axis": -1})],
    ops.outer_product: [([(256,), (256,)], {})],
    ops.prelu: [([(2, 8, 9, 9), (8, 1, 1)], {})],
    ops.sum: [([(64, 512)], {"axis": -1})],
}
"""Shapes of inputs for twins that leave samples, which are small, to the reference."""


def groups(dtype: np.dtype[Any]) -> Iterator[tuple[str, Callable[[], None]]]:
    """Return names and what to call: the ops of each module of kernels, optimizers, models."""
    by_module: dict[str, list[Op]] = {}
    for op, module in kernels.TWINS.items():
        by_module.setdefault(module, []).append(op)
    for module, its_ops in by_module.items():
        yield module, partial(_ops, its_ops, dtype)
    yield "extremes and counts", partial(_counts, dtype)
    yield "random numbers", partial(_draws, dtype)
    yield "neighbours", partial(_neighbours, dtype)
    yield "masks", partial(_masks, dtype)
    yield "optimizers", partial(_optimizers, dtype)
    for name, make in _MODELS.items():
        yield name, partial(_steps, make, dtype)


def _ops(called: list[Op], dtype: np.dtype[Any]) -> None:
    """Call the ops with their samples, forward and backward."""
    rng = np.random.default_rng(0)
    for op in called:
        drawn = (
            op.samples(rng)
            if op.samples
            else [(draw(s, rng, op.domain), {}) for s in op.signatures]
        )
        larger = [
            ([rng.normal(size=shape) for shape in shapes], settings)
            for shapes, settings in _LARGER.get(op, [])
        ]
        for inputs, settings in [*drawn, *larger]:
            cast = [np.asarray(x, dtype) if _is_real(x) else x for x in inputs]
            given = [Tensor(x, requires_grad=True) if _is_real(x) else x for x in cast]
            result = op(*given, **settings)
            results = result if isinstance(result, tuple) else (result,)
            leaves = [x for x in given if isinstance(x, Tensor)]
            roots = [r for r in results if r.requires_grad]
            if roots and leaves:
                grad(
                    roots,
                    leaves,
                    gradient=[Tensor(np.ones_like(r.array)) for r in roots],
                    allow_unused=True,
                )


def _draws(dtype: np.dtype[Any]) -> None:
    with at_position(Position()):  # a program's own numbers stay where they are
        for draw_numbers in (random, normal):
            draw_numbers((1 << 12,), dtype)
        integers(0, 10, (1 << 12,))
        permutation(1 << 12)
        poisson(np.ones(1 << 12, dtype))


def _neighbours(dtype: np.dtype[Any]) -> None:
    nextafter(np.zeros(1 << 12, dtype), np.ones(1 << 12, dtype))


def _masks(dtype: np.dtype[Any]) -> None:
    x = Tensor(np.zeros(1 << 12, dtype), requires_grad=True)
    mask = np.arange(x.size) % 2 == 0
    (x[mask].sum() + dg.where(mask, x, 0.0).sum()).backward()
    y = x.detach().clone()
    y[mask] = 1.0
    y[mask] = y.array[mask]


def _is_real(x: Any) -> bool:
    return isinstance(x, np.ndarray | np.generic) and x.dtype.kind == "f"


def _optimizers(dtype: np.dtype[Any]) -> None:
    for name, settings in _OPTIMIZERS:
        parameters = [nn.Parameter(Tensor(np.ones(n, dtype))) for n in (6, 4)]
        optimizer = getattr(optim, name)(parameters, lr=0.1, **settings)
        for _ in range(2):
            for p in parameters:
                p.grad = Tensor(np.ones(p.shape, dtype))
            clip_grad_norm_(parameters, 0.5)
            optimizer.step()


def _counts(dtype: np.dtype[Any]) -> None:
    """Running extremes, bins, places that are not 0, even steps, of as many as kernels take."""
    dg.linspace(0, 1, 1 << 15, dtype=dtype)
    x = Tensor(np.linspace(-1, 1, 1 << 12, dtype=dtype))
    for a, axis in ((x, 0), (x.reshape(64, 64), 0)):
        dg.cummax(a, axis)
        dg.cummin(a, axis)
    dg.nonzero(x)
    dg.tril_indices(99, 99)
    dg.histc(x, 10)
    dg.histogram(x, x[::512])


def _steps(make: Callable[[], tuple[nn.Module, Any, Any]], dtype: np.dtype[Any]) -> None:
    """Two steps of a small model: its layers, the loss, clipping, AdamW."""
    model, x, y = make()
    model.to(dtype=dtype)
    x = Tensor(x.astype(dtype)) if x.dtype.kind == "f" else Tensor(x)
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        result = model(x)
        logits = result[0] if isinstance(result, tuple) else result
        F.cross_entropy(logits.reshape(-1, logits.shape[-1]), y).backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def _mlp() -> tuple[nn.Module, Any, Any]:
    hidden = [nn.Linear(16, 32), nn.ReLU(), nn.LayerNorm(32), nn.Dropout(0.1), nn.Linear(32, 10)]
    return nn.Sequential(*hidden), np.ones((8, 16)), np.zeros(8, np.int64)


def _cnn() -> tuple[nn.Module, Any, Any]:
    def block(channels: int, more: int, stride: int) -> list[nn.Module]:
        convolution = nn.Conv2d(channels, more, 3, stride=stride, padding=1, bias=False)
        return [convolution, nn.BatchNorm2d(more), nn.ReLU()]

    layers = [*block(3, 16, 1), *block(16, 16, 1), nn.MaxPool2d(2), *block(16, 256, 2)]
    layers += block(256, 256, 1)  # of many channels: by Winograd's filtering
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10)]
    return nn.Sequential(*layers, *head), np.ones((8, 3, 32, 32)), np.zeros(8, np.int64)


def _recurrent(kind: Any) -> tuple[nn.Module, Any, Any]:
    return kind(8, 12, num_layers=2, batch_first=True), np.ones((4, 6, 8)), np.zeros(24, np.int64)


def _transformer() -> tuple[nn.Module, Any, Any]:
    layers = [
        nn.TransformerEncoderLayer(16, 2, 32, 0.1, activation=a, batch_first=True)
        for a in ("relu", "gelu")
    ]
    gelu = nn.GELU(approximate="tanh")
    model = nn.Sequential(nn.Embedding(20, 16), *layers, gelu, nn.Linear(16, 20))
    return model, np.arange(12).reshape(2, 6), np.zeros(12, np.int64)


_MODELS: dict[str, Callable[[], tuple[nn.Module, Any, Any]]] = {
    "a perceptron": _mlp,
    "a convolutional network": _cnn,
    "a transformer": _transformer,
    **{f"{k.__name__}": partial(_recurrent, k) for k in (nn.RNN, nn.GRU, nn.LSTM)},
}
