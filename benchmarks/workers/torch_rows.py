"""One training step of a row in PyTorch: eager, compiled, or channels-last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from more_models import MODELS as MORE_MODELS
from rows import ALL, LEARNING_RATE, NORM, WEIGHT_DECAY, batch_of, fill
from torch_models import MODELS


def versions() -> dict[str, str]:
    return {"torch": torch.__version__}


def build(name: str, form: str, *, threads: int = 1, batch: int | None = None) -> Callable[[], Any]:
    """Return the step, which returns the loss."""
    torch.set_num_threads(threads)
    make, objective = (MODELS | MORE_MODELS)[name]
    model = make()
    with torch.no_grad():
        fill(model, lambda p, values: p.copy_(torch.from_numpy(values)))
    x, y = (torch.from_numpy(a) for a in batch_of(ALL[name], batch=batch))
    if form == "channels-last":
        model = model.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
    )
    if form == "compiled":
        objective = torch.compile(objective)

    def step() -> Any:
        optimizer.zero_grad()
        loss = objective(model, x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), NORM)
        optimizer.step()
        return loss.detach()

    return step
