"""The training loop and when it ends."""

from distgrad.arguments import check_constructors as _check_constructors
from distgrad.train.batch_norm import update_bn
from distgrad.train.lr_find import LRFind
from distgrad.train.metrics import accuracy
from distgrad.train.parts import Stateful
from distgrad.train.state import TrainState
from distgrad.train.stop import (
    EarlyStopping,
    LossPlateau,
    MaxEpochs,
    MaxSteps,
    StopCriterion,
    TargetMetric,
    WallTime,
)
from distgrad.train.trainer import Trainer

__all__ = [
    "EarlyStopping",
    "LRFind",
    "LossPlateau",
    "MaxEpochs",
    "MaxSteps",
    "Stateful",
    "StopCriterion",
    "TargetMetric",
    "TrainState",
    "Trainer",
    "WallTime",
    "accuracy",
    "update_bn",
]

_check_constructors(globals(), __all__)
