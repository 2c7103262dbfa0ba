"""Fused twins of hot ops, for numba where it is installed; without it the reference runs.

Convolution takes oneDNN where that is installed. Importing this package costs nothing: numba is
imported, and oneDNN loaded, when the first twin is about to run.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

from distgrad import ops
from distgrad.autograd.mode import fused_enabled
from distgrad.autograd.op import Op
from distgrad.kernels import onednn

__all__ = ["TWINS", "UPDATES", "part", "status", "twin"]

TWINS: dict[Op, str] = {
    ops.avg_pool: "pool",
    ops.batch_norm: "normalise",
    ops.convolution: "convolve",
    ops.convolution_transpose: "convolve",
    ops.cross_entropy: "rows",
    ops.dropout: "pointwise",
    ops.embedding: "scatter",
    ops.gelu: "pointwise",
    ops.gelu_tanh: "pointwise",
    ops.layer_norm: "normalise",
    ops.log_softmax: "rows",
    ops.max_pool: "pool",
    ops.relu: "pointwise",
    ops.scaled_dot_product_attention: "attend",
    ops.softmax: "rows",
}
"""Which module of this package holds an op's twin: the function of the op's name."""

UPDATES = {"adamw_": "update", "sgd_": "update"}
"""The optimizers' updates that have a twin, and its module."""

_broken: list[str] = []  # why numba cannot be used, once that is known


def twin(name: str) -> Callable[..., Any] | None:
    """Return the fused twin of an optimizer's update, None where the reference has to run."""
    return _load(UPDATES[name], name) if name in UPDATES and fused_enabled.get() else None


def status() -> str:
    """Say whether fused twins run, and if not, why. Equal on all ranks whose numerics are equal."""
    if not fused_enabled.get():
        return "off (DISTGRAD_FUSED=0 or reference_kernels())"
    kernels = f"reference only ({_broken[0]})" if _broken else _installed()
    return f"{kernels}; convolution by {onednn.road()}"


@cache
def _installed() -> str:
    try:
        version = importlib.metadata.version("numba")
    except importlib.metadata.PackageNotFoundError:
        return "reference only (numba is not installed; pip install 'distgrad[fast]')"
    return f"numba {version}, {_processor()}"


def part(module: str, name: str) -> Callable[..., Any] | None:
    """Return a function of a module of this package that needs numba; None where that is not."""
    return _load(module, name)


def _load(module: str, name: str) -> Callable[..., Any] | None:
    if _broken and module != "convolve":  # which goes without numba
        return None
    try:
        found: Callable[..., Any] = getattr(
            importlib.import_module(f"distgrad.kernels.{module}"), name
        )
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "distgrad":
            raise
        _broken.append(f"numba cannot be imported: {error}")
        # Not installed is a choice, installed and unusable an accident (often NumPy is too new).
        if not isinstance(error, ModuleNotFoundError):
            warnings.warn(
                f"{_broken[0]}; the NumPy reference of every op runs instead, slower. Install a "
                f"numba that fits this NumPy, or set DISTGRAD_FUSED=0 to say that this is meant",
                RuntimeWarning,
                stacklevel=3,
            )
        return None
    return found


def _lazily(op: Op, module: str) -> Callable[..., Any]:
    def first(*arrays: Any, **settings: Any) -> Any:
        found = op.fused = _load(module, op.name)
        return None if found is None else found(*arrays, **settings)

    return first


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as info:
            for line in info:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: the machine's type has to do
    return os.uname().machine


for _op, _module in TWINS.items():
    _op.fused = _lazily(_op, _module)
