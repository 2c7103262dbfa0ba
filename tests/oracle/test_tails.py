"""Functions of one tensor keep their digits far from 0 and close to it, where PyTorch's do.

Absolute tolerances do not see that sigmoid(-20) is 0 instead of 2e-9. Every public function that
PyTorch has, too, and that keeps shape and dtype, is walked in single precision beside PyTorch's in
double: value and gradient, by the reference and by its twin.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import distgrad as dg

torch = pytest.importorskip("torch")

_FAR = np.logspace(-6, 2, 60)
POINTS = np.concatenate([-_FAR[::-1], _FAR]).astype(np.float32)
NAMESPACES = {
    "torch": (dg, torch),
    "nn.functional": (dg.nn.functional, torch.nn.functional),
    "special": (dg.special, torch.special),
}
DRAWN = {
    *("alpha_dropout", "bernoulli", "dropout", "feature_alpha_dropout", "feature_dropout"),
    *("gumbel_softmax", "normal", "poisson", "rand_like", "randn_like", "rrelu", "empty_like"),
}
NAN = {"acosh", "arccosh"}  # below 1 the value is NaN, and so is the slope
DIGITS, WORSE = 1e-3, 20  # of a relative error: at most so large, or so many times PyTorch's
LEAST = {"torch": 70, "nn.functional": 20, "special": 25}  # how many there are


def of_ours(function: Callable[..., Any]) -> dict[str, Any] | None:
    x = dg.tensor(POINTS, requires_grad=True)
    y = function(x)
    if not isinstance(y, dg.Tensor) or y.shape != x.shape or y.dtype != np.float32:
        return None
    found = {"value": y.detach().numpy()}
    if y.requires_grad:
        found["gradient"] = dg.autograd.grad(y.sum(), [x])[0].numpy()
    return found


def of_pytorch(function: Callable[..., Any], dtype: Any) -> dict[str, Any] | None:
    x = torch.tensor(POINTS, dtype=dtype, requires_grad=True)
    y = function(x)
    if not isinstance(y, torch.Tensor) or y.shape != x.shape or y.dtype != dtype:
        return None
    found = {"value": y.detach().numpy()}
    if y.requires_grad:
        found["gradient"] = torch.autograd.grad(y.sum(), x)[0].numpy()
    return found


def error(found: Any, wanted: Any) -> Any:
    relative = np.abs(found / wanted - 1)
    return np.where(np.isfinite(relative), relative, 1)


def losses(name: str, ours: Any, theirs: Any) -> dict[str, Any] | None:
    """Return where digits are lost; None of what is no function of one real tensor."""
    try:
        found = of_ours(ours)
        exact, single = of_pytorch(theirs, torch.float64), of_pytorch(theirs, torch.float32)
    except Exception:
        return None
    if found is None or exact is None or single is None:
        return None
    lost = {}
    for what in found.keys() & exact.keys() & single.keys():
        wanted = exact[what]
        plain = np.isfinite(wanted) & (np.abs(wanted) > 1e-30) & (np.abs(wanted) < 1e30)
        if name in NAN:
            plain &= np.isfinite(found[what])
        wanted = wanted[plain]
        here, there = error(found[what][plain], wanted), error(single[what][plain], wanted)
        bad = (here > DIGITS) & (here > WORSE * there)
        if bad.any():
            lost[what] = POINTS[plain][bad], found[what][plain][bad], wanted[bad]
    return lost


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("by", ["reference", "twin"])
@pytest.mark.parametrize("space", NAMESPACES)
def test_digits_are_kept(space: str, by: str) -> None:
    ours, theirs = NAMESPACES[space]
    found: dict[str, Any] = {}
    with dg.reference_kernels() if by == "reference" else nullcontext():
        for name in sorted(vars(ours)):
            both = getattr(ours, name), getattr(theirs, name, None)
            if name.strip("_") == name and name not in DRAWN and all(map(callable, both)):
                found[name] = losses(name, *both)
    assert {name: lost for name, lost in found.items() if lost} == {}
    assert len([lost for lost in found.values() if lost is not None]) >= LEAST[space]
