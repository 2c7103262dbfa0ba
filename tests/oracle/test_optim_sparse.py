"""SparseAdam beside PyTorch's on an embedding whose gradient is sparse."""

import numpy as np
import pytest
from oracle import assert_close, torch

from distgrad import nn, optim

SETTINGS = [{}, {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3}, {"maximize": True}]
ROWS = [[0, 3, 3], [5, 1], [3], [0, 1, 2, 3, 4, 5], [2, 2, 2], [4, 0]]


def both(settings, dtype):
    rng = np.random.default_rng(0)
    weight, target = rng.normal(size=(6, 4)).astype(dtype), rng.normal(size=(6, 4))
    ours, theirs = nn.Embedding(6, 4), torch.nn.Embedding(6, 4, sparse=True).double()
    ours.weight.data = weight
    with torch.no_grad():
        theirs.weight.copy_(torch.from_numpy(weight))
    mine = optim.SparseAdam(ours.parameters(), **settings)
    other = torch.optim.SparseAdam(theirs.parameters(), **settings)
    return ours, theirs, mine, other, target


def step(ours, theirs, mine, other, target, rows):
    mine.zero_grad()
    other.zero_grad()
    np.sum((ours(np.array(rows)) - target[rows].astype(ours.weight.dtype)) ** 2).backward()
    ((theirs(torch.tensor(rows)) - torch.from_numpy(target[rows])) ** 2).sum().backward()
    assert theirs.weight.grad.is_sparse
    mine.step()
    other.step()
    assert_close(ours.weight.data, theirs.weight.detach().numpy(), str(rows))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("settings", SETTINGS)
def test_the_rows_of_an_embedding_move_as_pytorchs(settings, dtype):
    parts = both(settings, dtype)
    for rows in ROWS * 2:
        step(*parts, rows)


def test_the_state_travels_both_ways():
    ours, theirs, mine, other, target = both({"lr": 0.1}, "float64")
    for rows in ROWS[:3]:
        step(ours, theirs, mine, other, target, rows)
    again = optim.SparseAdam(ours.parameters())
    again.load_state_dict(other.state_dict())
    state = mine.state_dict()
    entry = state["state"][0]
    state["state"][0] = {
        k: torch.from_numpy(v.copy()) if isinstance(v, np.ndarray) else v for k, v in entry.items()
    }
    fresh = torch.optim.SparseAdam(theirs.parameters())
    fresh.load_state_dict(state)
    for rows in ROWS[3:]:
        step(ours, theirs, again, fresh, target, rows)
