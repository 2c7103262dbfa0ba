"""Which weights of a model decay."""

from __future__ import annotations

from typing import Any

from distgrad.nn.module import Module


def decay_groups(model: Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return an optimizer's two groups: matrices, filters and tables decay, vectors do not.

    The vectors are biases and the gains of norms (as GPT-2 and BERT were trained; for ResNets He et
    al. 2019, "Bag of Tricks"). A weight that is tied is in its group once, a frozen one in none.
    ``optim.AdamW(zoo.decay_groups(model, 0.1), lr=3e-4)``.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
