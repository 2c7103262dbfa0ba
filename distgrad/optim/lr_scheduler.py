"""Learning-rate schedules under PyTorch's name: ``optim.lr_scheduler.StepLR``."""

from distgrad.missing import answers as _answers
from distgrad.optim.compose import ChainedScheduler, SequentialLR
from distgrad.optim.cycle import CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR
from distgrad.optim.plateau import ReduceLROnPlateau
from distgrad.optim.schedule import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from distgrad.optim.warmup import LinearScalingLR, WarmupCosineLR

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "LinearScalingLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "WarmupCosineLR",
]

_LRScheduler = LRScheduler  # its name before PyTorch 2.0

__getattr__ = _answers("distgrad.optim.lr_scheduler", globals())
