"""Writes the tables of docs/from-pytorch.md: every public name of PyTorch, and what is here for it.

python docs/make_from_pytorch.py              # writes the page
python docs/make_from_pytorch.py --check      # exit 1 if the page is not what would be written
python docs/make_from_pytorch.py --missing    # what is missing, with its share, module by module
python docs/make_from_pytorch.py --collect    # needs PyTorch: writes docs/pytorch_names.json anew

What is written by hand stands above the line ``<!-- names -->`` of the page.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import distgrad as dg
from distgrad.missing import NO_MEANING, instead

PAGE = Path(__file__).with_name("from-pytorch.md")
NAMES = Path(__file__).with_name("pytorch_names.json")
MARK = "<!-- names -->\n"

MODULES = [
    "Tensor",
    "",
    "nn",
    "nn.functional",
    "nn.init",
    "nn.utils",
    "nn.utils.rnn",
    "nn.utils.parametrize",
    "nn.utils.parametrizations",
    "nn.utils.prune",
    "optim",
    "optim.lr_scheduler",
    "optim.swa_utils",
    "linalg",
    "fft",
    "special",
    "distributions",
    "utils.data",
    "utils.checkpoint",
    "func",
    "autograd",
    "autograd.functional",
]
"""PyTorch's modules without "torch."; Tensor is the class."""


def main() -> int:
    """Do what the arguments say."""
    arguments = sys.argv[1:]
    if arguments == ["--collect"]:
        NAMES.write_text(json.dumps(collect(), indent=1) + "\n")
        return 0
    if arguments == ["--missing"]:
        print(report())
        return 0
    text = PAGE.read_text().partition(MARK)[0] + MARK + tables()
    if arguments == ["--check"]:
        return int(PAGE.read_text() != text)
    PAGE.write_text(text)
    return 0


def names() -> dict[str, list[str]]:
    """Return PyTorch's public names, module by module."""
    found: dict[str, list[str]] = json.loads(NAMES.read_text())
    return found


def collect() -> dict[str, list[str]]:
    """Read PyTorch's public names: classes, functions, dtypes and constants, no modules."""
    import torch  # noqa: PLC0415 (the page is written without it)

    found = {}
    for module in MODULES:
        if module == "Tensor":
            holder, listed = torch.Tensor, dir(torch.Tensor)
        else:
            holder = importlib.import_module(f"torch.{module}".rstrip("."))
            listed = list(getattr(holder, "__all__", None) or dir(holder))
        found[module] = sorted(
            name
            for name in listed
            if not name.startswith(("_", "BroadcastingList"))
            and not name.endswith("_notes")
            and (name not in NOT_FUNCTIONS or not module)
            and not inspect.ismodule(getattr(holder, name))
            and _own(module, holder, getattr(holder, name))
        )
    return found


NOT_FUNCTIONS = {"Tensor", "TYPE_CHECKING", "common_notes", "factory_kwargs"}
NOT_FUNCTIONS |= {"GRID_SAMPLE_INTERPOLATION_MODES", "GRID_SAMPLE_PADDING_MODES"}


def _own(module: str, holder: Any, value: Any) -> bool:
    """Whether a value belongs to PyTorch, and not to typing, warnings…, which it imports."""
    if module == "Tensor" or hasattr(holder, "__all__"):
        return True
    return str(getattr(value, "__module__", "") or "torch").startswith("torch")


def holder_of(module: str) -> Any:
    """Return what has the names here. None if there is no such module."""
    if module == "Tensor":
        return dg.Tensor
    try:
        return importlib.import_module(f"distgrad.{module}".rstrip("."))
    except ModuleNotFoundError:
        return None


def sorted_out(module: str) -> tuple[list[str], list[str], list[str]]:
    """Return the names that are here, those that are missing, and those that mean nothing here."""
    holder, owner = holder_of(module), owner_of(module)
    here, absent, meaningless = [], [], []
    for name in names()[module]:
        if name in vars(holder) or any(name in vars(c) for c in getattr(holder, "__mro__", ())):
            here.append(name)
        elif instead(owner, name) in NO_MEANING:
            meaningless.append(name)
        else:
            absent.append(name)
    return here, absent, meaningless


def owner_of(module: str) -> str:
    """Return how errors call a module."""
    return module if module == "Tensor" else f"distgrad.{module}".rstrip(".")


def report() -> str:
    """Return what is missing, and the share that is here of the names that make sense here."""
    lines = []
    for module in MODULES:
        if holder_of(module) is None:
            lines.append(f"{module}: no such module here ({len(names()[module])} names)")
            continue
        here, absent, meaningless = sorted_out(module)
        share = len(here) / max(1, len(here) + len(absent))
        lines.append(
            f"{module or 'torch'}: {len(here)} of {len(here) + len(absent)} ({share:.1%}); "
            f"{len(meaningless)} mean nothing here"
        )
        for name in absent:
            lines.append(f"    {name}: {instead(owner_of(module), name) or '(no answer)'}")
    return "\n".join(lines)


def tables() -> str:
    """Return the generated part of the page."""
    parts = []
    for module in MODULES:
        if holder_of(module) is None:
            continue
        here, absent, meaningless = sorted_out(module)
        title = f"torch.{module}".rstrip(".")
        parts.append(f"\n### {title}\n\n")
        parts.append(f"By the same name: {_listed(here)}.\n")
        rows = [(n, instead(owner_of(module), n) or "") for n in [*absent, *meaningless]]
        if rows:
            parts.append("\n| not here | instead |\n|---|---|\n")
            for hint in dict.fromkeys(h for _, h in rows):
                same = [n for n, h in rows if h == hint]
                parts.append(f"| {_listed(same)} | {hint.replace('|', chr(92) + '|')} |\n")
    return "".join(parts)


def _listed(found: list[str]) -> str:
    return ", ".join(f"`{n}`" for n in found)


if __name__ == "__main__":
    sys.exit(main())
