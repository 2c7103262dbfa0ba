"""What pages name exists: ``dg.Trainer``, ``F.cross_entropy(…)``, ``optim.AdamW``."""

from __future__ import annotations

import importlib
import re

import pytest
from pages import PAGES, name_of

import distgrad as dg

ALIASES = {
    "dg": dg,
    "distgrad": dg,
    "nn": dg.nn,
    "F": dg.nn.functional,
    "optim": dg.optim,
    "dist": dg.distributed,
    "hooks": dg.parallel.hooks,
    "zoo": dg.nn.zoo,
}


def wrong(text: str) -> list[str]:
    """Return the dotted names in inline code that lead nowhere, or are called and cannot be."""
    found = []
    for code in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        aliases, dotted = "|".join(ALIASES), r"(?!(?:def|sif)\b)([A-Za-z_][\w.]*\w)"
        pattern = rf"(?<![\w./])({aliases})\.{dotted}(\()?(?![\w/]*\.(?:py|md))"
        for name, path, call in re.findall(pattern, code):
            if not leads(ALIASES[name], path, bool(call)):
                found.append(f"{name}.{path}{call}")
    return found


def leads(value, path, call):
    """Whether a dotted path leads somewhere: by attributes, or to a module and on from there."""
    parts = path.split(".")
    for cut in range(len(parts) + 1):
        module = ".".join([value.__name__, *parts[:cut]])
        try:
            found = importlib.import_module(module) if cut else value
            for part in parts[cut:]:
                found = getattr(found, part)
        except (ImportError, AttributeError):
            continue
        return callable(found) or not call
    return False


# from-pytorch.md also names what is PyTorch's alone; test_docs.py looks at its tables.
@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.name not in {"from-pytorch.md"}], ids=name_of
)
def test_the_names_of_distgrad_in_a_page_exist(page):
    assert wrong(page.read_text()) == []


def test_a_name_that_is_none_is_noticed():
    assert wrong("`dg.Trainer(…)` `nn.Linear` `dg.nothing.at_all` `dg.checkpoint(f)`") == [
        "dg.nothing.at_all",
        "dg.checkpoint(",
    ]
