"""What is called apart says whether its results' form is known beforehand: walked, not listed."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import distgrad as dg
from distgrad import kernels
from distgrad.capture.lower import Stretch
from distgrad.nn import functional as F

OPEN = {  # how many there are, or how they lie in memory, depends on values
    "distgrad.autograd.tensor._written": "gives its own arguments back",
    "distgrad.functions.histograms.bincount": "as long as the largest value",
    "distgrad.functions.histograms.unique": "as many as there are",
    "distgrad.functions.histograms.unique_consecutive": "as many as there are",
    "distgrad.functions.indexing.argwhere": "as many as hold",
    "distgrad.functions.indexing.nonzero": "as many as hold",
    "distgrad.functions.order.argsort": "its layout is that of one of two ways to sort",
    "distgrad.nn.functional.sparse._of_the_largest": "as wide as the largest label",
    "distgrad.nn.linear_loss.AdaptiveLogSoftmaxWithLoss._sorted": "as many as fall in a cluster",
    "distgrad.ops.along._last_of_each": "as many as are written to",
    "distgrad.ops.arrange._repeated": "as many as are asked for",
    "distgrad.ops.gather._numbered": "as many as a mask picks",
    "distgrad.ops.sort.places": "its layout is that of one of two ways to sort",
    "distgrad.optim.clip.clip_layer_grad_norm_": "gives a dictionary of numbers",
}


def declared() -> Iterator[Callable[..., Any]]:
    """Yield the functions of the package that are called apart."""
    for info in pkgutil.walk_packages(dg.__path__, "distgrad."):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = importlib.import_module(info.name)
            members = list(vars(module).values())
        for cls in filter(inspect.isclass, list(members)):
            members += vars(cls).values()
        for function in [getattr(m, "__func__", m) for m in members]:
            if inspect.isfunction(function) and hasattr(function, "declared"):
                yield function.declared


def test_every_function_that_is_called_apart_says_whether_it_keeps_its_form() -> None:
    found = set()
    for function in declared():
        nothing = inspect.signature(function).return_annotation in {"None", None}
        if not nothing and not getattr(function, "keeps_form", False):
            found.add(f"{function.__module__}.{function.__qualname__}")
    # A step is the caller's: it returns the loss.
    found = {name for name in found if not name.endswith(".step")}
    assert found == {*OPEN}


STEPS: dict[str, Callable[..., Any]] = {
    "a mask": lambda y, i: F.cross_entropy(y, y.detach().argmax(1)) + (y.detach() > 0).float(),
    "one_hot": lambda y, i: y * F.one_hot(i, 4).float(),
    "gather": lambda y, i: y.gather(1, i[:, None]),
    "scatter_add": lambda y, i: y.scatter_add(0, i[:, None], y),
    "index_add": lambda y, i: dg.zeros(5, 4).index_add(0, i, y),
    "rows": lambda y, i: y[i],
    "embedding_bag": lambda y, i: F.embedding_bag(i[None], y, mode="mean"),
    "attention": lambda y, i: F.scaled_dot_product_attention(
        y[None, None], y[None, None], y[None, None], attn_mask=(i[:, None] >= i)[None, None]
    ),
    "upsampling": lambda y, i: F.interpolate(y[None, None], scale_factor=2.0, mode="bilinear"),
}


@pytest.mark.skipif(kernels.part("machine", "works") is None, reason="needs numba")
@pytest.mark.parametrize("name", STEPS)
def test_what_follows_is_lowered_and_has_its_bits(name: str) -> None:
    def run(capture: bool) -> tuple[Any, list[bytes]]:
        dg.manual_seed(0)
        layer = dg.nn.Linear(6, 4)
        optimizer = dg.optim.AdamW(layer.parameters(), lr=0.1)

        def step(x: Any, i: Any) -> Any:
            optimizer.zero_grad()
            loss = (STEPS[name](dg.tanh(layer(dg.tensor(x))), dg.tensor(i)) ** 2).mean()
            loss.backward()
            dg.nn.utils.clip_grad_norm_(layer.parameters(), 0.5)
            optimizer.step()
            return loss

        going: Any = dg.capture(step) if capture else step
        found = []
        for call in range(8):
            rng = np.random.default_rng(call)
            x, i = rng.normal(size=(3, 6)).astype(np.float32), rng.permutation(3)
            found.append(going(x, i).array.tobytes() + layer.weight.array.tobytes())
        return going, found

    captured, found = run(capture=True)
    assert found == run(capture=False)[1]
    native = captured.program.native
    lines = [captured.program.lines[b.number].name for p in native.found.parts
             if isinstance(p, Stretch) for b in p.beside]  # fmt: skip
    assert lines == ["clip_grad_norm_", "AdamW.step"]
