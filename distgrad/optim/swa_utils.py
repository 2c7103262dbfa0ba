"""Averages of weights under PyTorch's name: ``optim.swa_utils.AveragedModel``."""

from distgrad.missing import answers as _answers
from distgrad.optim.cycle import SWALR
from distgrad.optim.swa import (
    AveragedModel,
    get_ema_avg_fn,
    get_ema_multi_avg_fn,
    get_swa_avg_fn,
    get_swa_multi_avg_fn,
    update_bn,
)

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]

__getattr__ = _answers("distgrad.optim.swa_utils", globals())
