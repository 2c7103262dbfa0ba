"""A position means the same in PyTorch's functions and layers, or it is none in ours."""

from __future__ import annotations

import inspect

import pytest
from oracle import torch

import distgrad
from distgrad import nn, ops, optim
from distgrad.nn import functional as F

PYTORCHS = {"F": torch.nn.functional, "nn": torch.nn}


def positions(function):
    """Return the names by position, or None where PyTorch's signature cannot be read."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return None
    if any(p.kind in {p.VAR_POSITIONAL, p.VAR_KEYWORD} for p in parameters):
        return None
    return [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]


SHARED = [
    *(("F", n) for n in F.__all__ if hasattr(torch.nn.functional, n)),
    *(("nn", n) for n in nn.__all__ if inspect.isclass(getattr(torch.nn, n, None))),
]


@pytest.mark.parametrize(("space", "name"), SHARED)
def test_the_positions_of_a_name_are_pytorchs(space, name):
    ours = positions(getattr({"F": F, "nn": nn}[space], name))
    theirs = positions(getattr(PYTORCHS[space], name))
    if ours is None or theirs is None:
        return
    skip = 1 if space == "F" else 0  # the input has a name of its own
    assert ours[skip:] == theirs[skip : len(ours)]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (distgrad, [torch]),
        (ops, [torch, torch.linalg]),
        (nn, [torch.nn]),
        (F, [torch.nn.functional]),
        (optim, [torch.optim]),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_what_pytorch_calls_is_no_module_here(ours, theirs):
    modules = [n for n, v in vars(ours).items() if inspect.ismodule(v)]
    assert [n for n in modules if any(callable(getattr(t, n, None)) for t in theirs)] == []
