"""Every module of PyTorch's that scripts import is here, or its name says what to write instead."""

from __future__ import annotations

import importlib
import re
from types import ModuleType

import pytest
from oracle import torch

import distgrad as dg
from distgrad.missing import instead

MODULES = sorted(
    name
    for name, value in vars(torch).items()
    if isinstance(value, ModuleType)
    and value.__name__ == f"torch.{name}"
    and not name.startswith("_")
)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_here_or_its_name_says_what_to_write(name):
    if name in vars(dg):
        return
    said = instead("distgrad", name)
    assert said, f"torch.{name}: distgrad/missing.py has no answer"
    with pytest.raises(AttributeError, match=re.escape(said)):
        getattr(dg, name)


def test_a_name_with_an_answer_is_not_here_and_what_the_answer_names_is():
    from distgrad.missing import INSTEAD  # noqa: PLC0415

    for owner, table in INSTEAD.items():
        holders = dg.Tensor.__mro__
        if owner != "Tensor":
            holders = [importlib.import_module(owner)] if owner else []
        for name, said in table.items():
            # A package that somebody has imported, as the answer says, is there from then on.
            found = [vars(h)[name] for h in holders if name in vars(h)]
            assert all(isinstance(x, ModuleType) for x in found), f"{owner}.{name} is here"
            for written in re.findall(r"\bdg((?:\.\w+)+)", said):
                found = dg
                for part in written.split(".")[1:]:
                    found = getattr(found, part)
