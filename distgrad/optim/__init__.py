"""Optimizers, schedules and gradient clipping."""

from distgrad.optim.clip import clip_grad_norm_, clip_grad_value_, total_norm
from distgrad.optim.optimizer import SGD, AdamW, Optimizer
from distgrad.optim.schedule import (
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    SequentialLR,
    WarmupCosineLR,
)

__all__ = [
    "SGD",
    "AdamW",
    "CosineAnnealingLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "Optimizer",
    "SequentialLR",
    "WarmupCosineLR",
    "clip_grad_norm_",
    "clip_grad_value_",
    "total_norm",
]
