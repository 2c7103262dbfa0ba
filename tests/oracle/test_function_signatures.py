"""PyTorch's functions take PyTorch's arguments, by PyTorch's names and in its order."""

from __future__ import annotations

import inspect

import op_db_walk
import pytest
from oracle import torch

from distgrad.functions import FAMILIES

OVERRIDES = torch.overrides.get_testing_overrides()
OURS = {
    name: getattr(family, name)
    for family in FAMILIES
    for name in family.__all__
    if getattr(torch, name, None) in OVERRIDES
    if not op_db_walk.of_matrices(family)
}
# PyTorch's table has other names here than its functions take.
SLIPS = {
    *("relu", "xlogy", "polar", "detach_copy", "isfinite", "isinf", "isreal", "logsumexp"),
    *("isin", "msort", "topk", "histogram", "where", "broadcast_to", "index_reduce", "narrow_copy"),
    *("permute", "polygamma", "swapaxes", "swapdims", "split_with_sizes", "unsafe_split"),
    "unsafe_split_with_sizes",
}


def parameters(function):
    taken = inspect.signature(function).parameters.values()
    return [p.name for p in taken if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


@pytest.mark.parametrize("name", sorted(OURS.keys() - SLIPS))
def test_arguments_have_pytorchs_names_and_order(name):
    theirs = [n for n in parameters(OVERRIDES[getattr(torch, name)]) if n != "out"]
    ours = parameters(OURS[name])
    assert [n for n in ours if n in theirs] == theirs


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("xlogy", {"other": torch.ones(3)}),
        ("logsumexp", {"dim": 0, "keepdim": True}),
        ("topk", {"k": 2, "dim": 0, "largest": False, "sorted": True}),
        ("histogram", {"bins": 3, "range": (0.0, 1.0), "density": True}),
    ],
)
def test_pytorch_takes_what_is_said_to_be_a_slip(name, settings):
    getattr(torch, name)(input=torch.rand(3), **settings)
    assert set(settings) <= set(parameters(OURS[name]))
