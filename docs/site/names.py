"""Every public name of distgrad: what stands in an ``__all__`` of a package that is no inner one.

A thing with several names (``optim.StepLR``, ``optim.lr_scheduler.StepLR``) is described under the
first of them, in the order of ``FIRST`` and then the alphabet; the others point there.
"""

from __future__ import annotations

import importlib.util
import inspect
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distgrad

INNER = ("distgrad.__main__", "distgrad.cli", "distgrad.functions", "distgrad.kernels")
INNER += ("distgrad.autograd.methods", "distgrad.autograd.func", "distgrad.nn.module")
INNER += ("distgrad.launch", "distgrad.observe.report", "distgrad.observe.terminal")
INNER += ("distgrad.observe.timeline", "distgrad.observe.top")
"""Modules whose names are public elsewhere, and what is run rather than imported."""

WITHOUT_ALL = ("distgrad.nn.init", "distgrad.nn.utils.stateless")
"""PyTorch's names for modules that list none: what they define is public."""

FIRST = ["distgrad", "distgrad.nn", "distgrad.nn.functional", "distgrad.optim", "distgrad.data"]
FIRST += ["distgrad.parallel", "distgrad.parallel.hooks", "distgrad.train", "distgrad.observe"]
FIRST += ["distgrad.capture", "distgrad.checkpoint", "distgrad.comm", "distgrad.distributed"]
FIRST += ["distgrad.autograd", "distgrad.func", "distgrad.linalg", "distgrad.fft"]
FIRST += ["distgrad.special", "distgrad.distributions", "distgrad.ops"]


@dataclass(frozen=True)
class Name:
    """One public name."""

    module: str
    name: str
    value: Any
    home: str
    """The dotted name it is described under: its own, or that of the same thing before."""

    @property
    def dotted(self) -> str:
        """The name with its module's."""
        return f"{self.module}.{self.name}"

    @property
    def alias(self) -> bool:
        """Whether it is described elsewhere."""
        return self.home != self.dotted


def modules() -> list[str]:
    """Return the public modules, in the order in which they are described."""
    found = ["distgrad"]
    for info in pkgutil.walk_packages(distgrad.__path__, "distgrad."):
        inner = f"{info.name}.".startswith(tuple(f"{inner}." for inner in INNER))
        if not inner and (info.name in WITHOUT_ALL or _lists_its_names(info)):
            found.append(info.name)
    found = [m for m in found if not _inside(m)]
    return sorted(found, key=lambda m: (FIRST.index(m) if m in FIRST else len(FIRST), m))


def _lists_its_names(info: pkgutil.ModuleInfo) -> bool:
    """Whether a module has an ``__all__``; it is not imported for that, since one needs an MPI."""
    spec = importlib.util.find_spec(info.name)
    return "\n__all__" in Path((spec and spec.origin) or "").read_text()


def _inside(module: str) -> bool:
    """Whether a module is a file of a package that hands its names on, as a whole."""
    parent, _, _ = module.rpartition(".")
    if not parent or module in WITHOUT_ALL:
        return False
    own, theirs = importlib.import_module(module), importlib.import_module(parent)
    listed = set(getattr(theirs, "__all__", ()))
    return module.rpartition(".")[2] not in listed and set(own.__all__) <= listed


def public() -> list[Name]:
    """Return all public names, module by module."""
    homes: dict[int, str] = {}
    found = []
    for module in modules():
        holder = importlib.import_module(module)
        for name in listed(holder):
            value = getattr(holder, name)
            if inspect.ismodule(value):
                continue
            dotted = f"{module}.{name}"
            shared = callable(value) and not isinstance(value, type(int | str))
            home = homes.setdefault(id(value), dotted) if shared else dotted
            found.append(Name(module, name, value, home))
    return found


def listed(holder: Any) -> list[str]:
    """Return the public names of a module."""
    if hasattr(holder, "__all__"):
        return list(holder.__all__)
    own = vars(holder)
    return sorted(
        n for n in own if n[0] != "_" and getattr(own[n], "__module__", "") == holder.__name__
    )
