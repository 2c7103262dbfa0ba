"""distgrad: data-parallel training on NumPy and MPI, with the same bits on any number of ranks."""

from distgrad.blas import choose_core_type

choose_core_type()  # before anything imports NumPy

# ruff: noqa: E402
from distgrad import autograd, checkpoint, data, nn, observe, ops, optim
from distgrad.autograd import (
    Tensor,
    detect_anomaly,
    enable_grad,
    gradcheck,
    is_grad_enabled,
    manual_seed,
    no_grad,
    op,
    random,
    reference_kernels,
)
from distgrad.autograd.transforms import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from distgrad.errors import (
    CheckpointError,
    CommError,
    CommTimeoutError,
    DataError,
    DeadlockError,
    DistgradError,
    GradError,
    LaunchError,
    MismatchError,
    NonFiniteError,
    PeerFailedError,
    ShapeError,
)
from distgrad.observe import GradientHealth, GradientNoiseScale
from distgrad.optim import clip_grad_norm_, clip_grad_value_
from distgrad.parallel import (
    DistributedDataParallel,
    ShardSum,
    World,
    current_world,
    init,
    own_shards,
)
from distgrad.train import (
    LossPlateau,
    MaxEpochs,
    MaxSteps,
    TargetMetric,
    Trainer,
    TrainState,
    WallTime,
    accuracy,
)

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "CommError",
    "CommTimeoutError",
    "DataError",
    "DeadlockError",
    "DistgradError",
    "DistributedDataParallel",
    "GradError",
    "GradientHealth",
    "GradientNoiseScale",
    "LaunchError",
    "LossPlateau",
    "MaxEpochs",
    "MaxSteps",
    "MismatchError",
    "NonFiniteError",
    "PeerFailedError",
    "ShapeError",
    "ShardSum",
    "TargetMetric",
    "Tensor",
    "TrainState",
    "Trainer",
    "WallTime",
    "World",
    "accuracy",
    "autograd",
    "checkpoint",
    "clip_grad_norm_",
    "clip_grad_value_",
    "current_world",
    "data",
    "detect_anomaly",
    "enable_grad",
    "grad",
    "gradcheck",
    "hessian",
    "hvp",
    "init",
    "is_grad_enabled",
    "jacobian",
    "jvp",
    "manual_seed",
    "nn",
    "no_grad",
    "observe",
    "op",
    "ops",
    "optim",
    "own_shards",
    "random",
    "reference_kernels",
    "value_and_grad",
    "vjp",
]
