"""What a Trainer keeps between fits, evaluations and checkpoints."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F


def small(**settings: Any) -> tuple[dg.Trainer, Any]:
    dg.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10))
    data, _ = dg.data.digits()
    loader = dg.data.DataLoader(dg.data.Subset(data, np.arange(64)), 16, seed=0)
    optimizer = optim.SGD(model.parameters(), lr=settings.pop("lr", 0.01))
    return dg.Trainer(model, optimizer, F.cross_entropy, progress=False, **settings), loader


def test_two_criteria_of_one_class_keep_memories_of_their_own(tmp_path):
    def run(resume):
        trainer, loader = small(checkpoint=tmp_path, every=2)
        criteria = [dg.LossPlateau(1000, smoothing=s) for s in (0.5, 0.0)]
        trainer.fit(loader, max_steps=4, stop=criteria, resume=resume)
        return [c.state_dict() for c in criteria]

    first = run(False)
    assert first[0] != first[1]
    assert run(True) == first


def test_a_learning_rate_that_is_a_numpy_number_is_saved(tmp_path):
    trainer, loader = small(lr=np.float32(0.01), checkpoint=tmp_path, every=2)
    trainer.fit(loader, max_steps=4)
    trainer, loader = small(checkpoint=tmp_path, every=2)
    trainer.fit(loader, max_steps=6, resume=True)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.01)


def test_a_signal_ends_one_fit_not_the_next():
    def note(state):
        if state.step == 2:
            os.kill(os.getpid(), signal.SIGUSR1)

    trainer, loader = small(callbacks=[note])
    assert trainer.fit(loader, max_steps=10).step < 5
    assert trainer.fit(loader, max_steps=10).step == 10


def test_evaluation_leaves_every_module_in_its_mode():
    trainer, loader = small()
    trainer.model[2].eval()
    trainer.evaluate(loader)
    assert [m.training for m in trainer.model.modules()] == [True, True, True, False]
