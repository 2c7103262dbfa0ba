"""Optimizers, schedules, averages of weights and gradient clipping."""

from distgrad.arguments import check_constructors as _check_constructors
from distgrad.missing import answers as _answers
from distgrad.optim import lr_scheduler, swa_utils
from distgrad.optim.adam import Adam, AdamW
from distgrad.optim.adam_family import Adamax, NAdam, RAdam, SparseAdam
from distgrad.optim.adaptive import Adadelta, Adagrad, RMSprop
from distgrad.optim.adaptive_clip import AutoClip, adaptive_clip_grad_
from distgrad.optim.average import ExponentialMovingAverage, Lookahead
from distgrad.optim.clip import (
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    clip_layer_grad_norm_,
    get_total_norm,
)
from distgrad.optim.compose import ChainedScheduler, SequentialLR
from distgrad.optim.cycle import SWALR, CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR
from distgrad.optim.hooks import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from distgrad.optim.large_batch import LAMB, LARS
from distgrad.optim.lbfgs import LBFGS
from distgrad.optim.matrix import Adafactor, Muon
from distgrad.optim.norms import total_norm
from distgrad.optim.optimizer import Optimizer
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
from distgrad.optim.sgd import ASGD, SGD
from distgrad.optim.sign import Lion, Rprop
from distgrad.optim.swa import (
    AveragedModel,
    get_ema_avg_fn,
    get_ema_multi_avg_fn,
    get_swa_avg_fn,
    get_swa_multi_avg_fn,
)
from distgrad.optim.warmup import LinearScalingLR, WarmupCosineLR

__all__ = [
    "ASGD",
    "LAMB",
    "LARS",
    "LBFGS",
    "SGD",
    "SWALR",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "AutoClip",
    "AveragedModel",
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "ExponentialMovingAverage",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "LinearScalingLR",
    "Lion",
    "Lookahead",
    "MultiStepLR",
    "MultiplicativeLR",
    "Muon",
    "NAdam",
    "OneCycleLR",
    "Optimizer",
    "PolynomialLR",
    "RAdam",
    "RMSprop",
    "ReduceLROnPlateau",
    "Rprop",
    "SequentialLR",
    "SparseAdam",
    "StepLR",
    "WarmupCosineLR",
    "adaptive_clip_grad_",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "clip_layer_grad_norm_",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "get_total_norm",
    "lr_scheduler",
    "register_optimizer_step_post_hook",
    "register_optimizer_step_pre_hook",
    "swa_utils",
    "total_norm",
]

_check_constructors(globals(), __all__, itself=["Lookahead.optimizer"])

__getattr__ = _answers("distgrad.optim", globals())
