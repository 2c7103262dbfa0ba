"""A Trainer whose gradients are compressed."""

from __future__ import annotations

import pytest
from training import build, simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.errors import CheckpointError
from distgrad.parallel import hooks


def train(folder, steps, *, resume=False):
    dg.init()
    dg.manual_seed(3)
    model, data, loss_fn = build("mlp")
    state = hooks.TopKState(0.05)
    trainer = dg.Trainer(
        model,
        optim.AdamW(model.parameters(), lr=3e-3),
        loss_fn,
        checkpoint=folder and str(folder),
        also_saved={"hook": state},
        progress=False,
    )
    trainer.ddp.register_comm_hook(state, hooks.topk_hook)
    loader = dg.data.DataLoader(data, 30, shuffle=True, seed=5)
    trainer.fit(loader, max_steps=steps, resume=resume)
    assert state.iter == steps
    return nn.state_sha256(model.state_dict())


def test_every_ranks_error_memory_is_in_the_checkpoint(tmp_path):
    unbroken = simulated(3, lambda: train(None, 9))
    simulated(3, lambda: train(tmp_path, 4))
    assert simulated(3, lambda: train(tmp_path, 9, resume=True)) == unbroken


def test_resuming_on_another_number_of_ranks_is_refused(tmp_path):
    simulated(3, lambda: train(tmp_path, 2))
    with pytest.raises(CheckpointError, match="TopKState was saved by 3 ranks and this run has 2"):
        simulated(2, lambda: train(tmp_path, 4, resume=True))
