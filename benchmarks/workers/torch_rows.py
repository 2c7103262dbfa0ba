"""One training step of a row in PyTorch: eager, compiled, or channels-last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import more_images
import more_others
import more_sequences
import torch
import torch_models
from rows import ALL, LEARNING_RATE, NORM, WEIGHT_DECAY, batch_of, fill

MODELS = {
    **torch_models.MODELS,
    **more_images.MODELS,
    **more_sequences.MODELS,
    **more_others.MODELS,
}


def versions() -> dict[str, str]:
    return {"torch": torch.__version__}


def build(name: str, form: str, *, threads: int = 1, batch: int | None = None) -> Callable[[], Any]:
    """Return the step, which returns the loss."""
    torch.set_num_threads(threads)
    make, objective = MODELS[name]
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
