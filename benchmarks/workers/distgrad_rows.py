"""One training step of a row in distgrad: eager or captured, on one rank or several."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from rows import ALL, LEARNING_RATE, MORE, NORM, WEIGHT_DECAY, batch_of, fill
from threadpoolctl import threadpool_info

import distgrad as dg

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "examples"))
import models  # noqa: E402 (found by the line above)
import pinn  # noqa: E402

OWN = {
    "nano": lambda: models.GPT(65, 64, layers=4, heads=4, width=128),
    "gpt": lambda: models.GPT(65, 256, layers=6, heads=6, width=384),
    "pinn": lambda: pinn.Burgers(layers=4, width=32),
}


def versions() -> dict[str, str]:
    found = {"distgrad": dg.__version__, "numpy": np.__version__}
    if "numba" in sys.modules:
        found["numba"] = sys.modules["numba"].__version__
    blas = next((i for i in threadpool_info() if i["user_api"] == "blas"), None)
    if blas:
        found["BLAS"] = f"{blas['internal_api']} {blas['version']} {blas.get('architecture', '')}"
    return found


def same_source(file: Path) -> ModuleType:
    """Return a PyTorch file as a module of distgrad: its imports are changed, nothing else."""
    text = re.sub(r"(?m)^import torch$", "import distgrad as torch", file.read_text())
    text = re.sub(r"(?m)^from torch", "from distgrad", text)
    module = ModuleType(file.stem)
    exec(compile(text, str(file), "exec"), module.__dict__)
    return module


def model_of(name: str) -> tuple[dg.nn.Module, Callable[..., Any]]:
    """Return a row's model, and what its step minimises: a function of model, inputs, labels."""
    files = ("torch_models", "more_images", "more_sequences", "more_others")
    models = (same_source(HERE / f"{file}.py").MODELS for file in files)
    make, objective = next(found[name] for found in models if name in found)
    return OWN.get(name, make)(), objective


def labels_in_a_row(name: str, y: Any) -> Any:
    """Return the labels as the loss takes them; nanoGPT's and ``MORE`` flatten them."""
    return y if name == "nanogpt" or name in MORE else y.reshape(-1)


def build(name: str, form: str, *, threads: int = 1, batch: int | None = None) -> Callable[[], Any]:
    """Return the step, which returns the loss; a form is "eager" or "captured", also ", zero=1"."""
    world = dg.init(threads=threads)
    model, objective = model_of(name)
    with dg.no_grad():
        fill(model, lambda p, values: p.copy_(dg.tensor(values)))
    x, y = batch_of(ALL[name], world.rank, world.size, batch)
    y = labels_in_a_row(name, y)
    if name == "nanogpt" or name in MORE:  # their models ask a Tensor for its size()
        x, y = dg.tensor(x), dg.tensor(y)
    optimizer = dg.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    if world.size > 1:
        backward = dg.DistributedDataParallel(model, zero=int(form.endswith("zero=1"))).backward
    else:  # who has one core writes the plain loop
        backward = dg.Tensor.backward

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = objective(model, x, y)
        backward(loss)
        dg.clip_grad_norm_(model.parameters(), NORM)
        optimizer.step()
        return loss

    if form.startswith("captured"):
        step = dg.capture(step)
    return lambda: step(x, y)
