"""The model a plan is made for: the user's, or a small one to check predictions with."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from distgrad import nn, optim
from distgrad.autograd.tensor import Tensor
from distgrad.errors import LaunchError
from distgrad.nn import Module
from distgrad.nn import functional as F
from distgrad.plan.memory import state_elements


def load(spelled: str) -> tuple[Module, Callable[[], Tensor] | None]:
    """Call the function of ``FILE.py:FUNCTION``; return its model and loss, None if it has none.

    Errors: LaunchError for a file, a function or a result that cannot be used.
    """
    path, colon, name = spelled.rpartition(":")
    if not colon:
        raise LaunchError(f"'{spelled}' names no function; write FILE.py:FUNCTION")
    if not Path(path).is_file():
        raise LaunchError(f"there is no file '{path}'; write FILE.py:FUNCTION, got '{spelled}'")
    sys.path.insert(0, str(Path(path).resolve().parent))
    make = runpy.run_path(path).get(name)
    if not callable(make):
        raise LaunchError(f"'{path}' has no function '{name}'; define it at the file's top level")
    made = make()
    model, loss = made if isinstance(made, Sequence) and len(made) == 2 else (made, None)
    if not isinstance(model, Module) or not (loss is None or callable(loss)):
        raise LaunchError(
            f"{name}() returned {type(made).__name__}; it has to return a Module, or a pair of one "
            f"and a function that returns the loss"
        )
    return model, loss


def updating(model: Module, optimizer: str) -> Callable[[], None]:
    """Return what clips, moves and zeroes gradients. Errors: ShapeError as ``state_elements``."""
    state_elements(optimizer)
    made = getattr(optim, optimizer)(model.parameters())

    def update() -> None:
        optim.clip_grad_norm_(model.parameters(), 1.0)
        made.step()
        made.zero_grad()

    return update


def small() -> tuple[Module, Callable[[], Tensor]]:
    """Return an MLP of 0.9 M parameters and its loss on 128 samples."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(128, 784)).astype(np.float32), rng.integers(0, 10, 128)
    widths = [784, 512, 512, 512]
    layers: list[Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(512, 10))
    return net, lambda: F.cross_entropy(net(x), y)
