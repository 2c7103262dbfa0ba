"""distgrad: data-parallel training on NumPy and MPI, with the same bits on any number of ranks.

``import distgrad as dg``; PyTorch's functions have PyTorch's names here (``dg.cat``), so that
``import distgrad as torch`` runs a model file that was written for PyTorch.
"""

import math as _math
import warnings as _warnings

import numpy as _np

from distgrad import (
    autograd,
    checkpoint,
    cuda,
    data,
    distributed,
    distributions,
    fft,
    func,
    integrate,
    linalg,
    nn,
    observe,
    ops,
    optim,
    special,
    utils,
)
from distgrad import blas as _blas
from distgrad import functions as _functions
from distgrad import heap as _heap
from distgrad import torch_files as _torch_files  # noqa: F401 (torch.nn.modules.batchnorm …)
from distgrad.autograd import (
    Tensor,
    detect_anomaly,
    enable_grad,
    gradcheck,
    inference_mode,
    is_grad_enabled,
    manual_seed,
    no_grad,
    op,
    random,
    reference_kernels,
    set_grad_enabled,
)
from distgrad.autograd import dtypes as _dtypes
from distgrad.autograd.device import device
from distgrad.autograd.dtypes import (
    cdouble,
    cfloat,
    complex64,
    complex128,
    double,
    float16,
    float32,
    float64,
    get_default_dtype,
    half,
    int8,
    int16,
    int32,
    int64,
    long,
    set_default_dtype,
    short,
    uint8,
    uint16,
    uint32,
    uint64,
)
from distgrad.autograd.transforms import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from distgrad.autograd.vmap import vmap
from distgrad.capture import capture
from distgrad.data import (
    ConcatDataset,
    Dataset,
    DistributedSampler,
    IterableDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    random_split,
)
from distgrad.errors import (
    CaptureError,
    CheckpointError,
    CommError,
    CommTimeoutError,
    DataError,
    DeadlockError,
    DistgradError,
    GradError,
    Interrupted,
    LaunchError,
    MismatchError,
    NonFiniteError,
    PeerFailedError,
    ShapeError,
)
from distgrad.functions.arithmetic import *  # noqa: F403
from distgrad.functions.comparison import *  # noqa: F403
from distgrad.functions.complex_numbers import *  # noqa: F403
from distgrad.functions.copies import *  # noqa: F403
from distgrad.functions.creation import *  # noqa: F403
from distgrad.functions.decompositions import *  # noqa: F403
from distgrad.functions.elementwise import *  # noqa: F403
from distgrad.functions.gamma import *  # noqa: F403
from distgrad.functions.histograms import *  # noqa: F403
from distgrad.functions.indexing import *  # noqa: F403
from distgrad.functions.joining import *  # noqa: F403
from distgrad.functions.logic import *  # noqa: F403
from distgrad.functions.matrices import *  # noqa: F403
from distgrad.functions.order import *  # noqa: F403
from distgrad.functions.places import *  # noqa: F403
from distgrad.functions.promotion import *  # noqa: F403
from distgrad.functions.random import *  # noqa: F403
from distgrad.functions.ranges import *  # noqa: F403
from distgrad.functions.reductions import *  # noqa: F403
from distgrad.functions.rounding import *  # noqa: F403
from distgrad.functions.scans import *  # noqa: F403
from distgrad.functions.shapes import *  # noqa: F403
from distgrad.functions.signal import *  # noqa: F403
from distgrad.functions.switches import *  # noqa: F403
from distgrad.integrate import odeint, odeint_adjoint
from distgrad.launch import launch
from distgrad.missing import answers as _answers
from distgrad.nn import parallel as _nn_parallel  # noqa: F401 (dg.nn.parallel, as in PyTorch)
from distgrad.nn.functional import (
    adaptive_avg_pool1d,
    avg_pool1d,
    bilinear,
    celu,
    celu_,
    channel_shuffle,
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    cosine_similarity,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    pairwise_distance,
    pixel_shuffle,
    pixel_unshuffle,
    rrelu,
    rrelu_,
    selu,
    selu_,
    threshold,
    threshold_,
)
from distgrad.observe import GradientHealth, GradientNoiseScale, TimeSplit
from distgrad.optim import clip_grad_norm_, clip_grad_value_
from distgrad.parallel import (
    DistributedDataParallel,
    ShardSum,
    World,
    current_world,
    init,
    own_shards,
)
from distgrad.serialization import load, save
from distgrad.train import (
    EarlyStopping,
    LossPlateau,
    MaxEpochs,
    MaxSteps,
    TargetMetric,
    Trainer,
    TrainState,
    WallTime,
    accuracy,
    update_bn,
)
from distgrad.utils.data import DataLoader

_heap.keep()
_blas.choose()

__version__ = "0.1.0"

# PyTorch's dtypes and numbers whose names are Python's own.
bool, int, float = _dtypes.bool_, _dtypes.int_, _dtypes.float_
inf, nan, pi, e = _math.inf, _math.nan, _math.pi, _math.e
dtype, finfo, iinfo = _np.dtype, _np.finfo, _np.iinfo
strided, contiguous_format, preserve_format = "strided", "contiguous", "preserve"
newaxis = None

globals().update(_functions.IN_PLACE)

# log(0) is -inf in silence, as in PyTorch; NumPy still warns where the user's own code computes.
_warnings.filterwarnings(
    "ignore",
    message="(divide by zero|invalid value|overflow|underflow) encountered",
    category=RuntimeWarning,
    module=r"distgrad\.",
)

__all__ = [
    "CaptureError",
    "CheckpointError",
    "CommError",
    "CommTimeoutError",
    "ConcatDataset",
    "DataError",
    "DataLoader",
    "Dataset",
    "DeadlockError",
    "DistgradError",
    "DistributedDataParallel",
    "DistributedSampler",
    "EarlyStopping",
    "GradError",
    "GradientHealth",
    "GradientNoiseScale",
    "Interrupted",
    "IterableDataset",
    "LaunchError",
    "LossPlateau",
    "MaxEpochs",
    "MaxSteps",
    "MismatchError",
    "NonFiniteError",
    "PeerFailedError",
    "ShapeError",
    "ShardSum",
    "Subset",
    "TargetMetric",
    "Tensor",
    "TensorDataset",
    "TimeSplit",
    "TrainState",
    "Trainer",
    "WallTime",
    "WeightedRandomSampler",
    "World",
    "accuracy",
    "adaptive_avg_pool1d",
    "autograd",
    "avg_pool1d",
    "bilinear",
    "bool",
    "capture",
    "cdouble",
    "celu",
    "celu_",
    "cfloat",
    "channel_shuffle",
    "checkpoint",
    "clip_grad_norm_",
    "clip_grad_value_",
    "complex64",
    "complex128",
    "contiguous_format",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cosine_similarity",
    "cuda",
    "current_world",
    "data",
    "default_collate",
    "detect_anomaly",
    "device",
    "distributed",
    "distributions",
    "double",
    "dtype",
    "e",
    "enable_grad",
    "fft",
    "finfo",
    "float",
    "float16",
    "float32",
    "float64",
    "func",
    "get_default_dtype",
    "grad",
    "gradcheck",
    "half",
    "hessian",
    "hvp",
    "iinfo",
    "inf",
    "inference_mode",
    "init",
    "int",
    "int8",
    "int16",
    "int32",
    "int64",
    "integrate",
    "is_grad_enabled",
    "jacobian",
    "jvp",
    "launch",
    "linalg",
    "load",
    "long",
    "manual_seed",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "nan",
    "newaxis",
    "nn",
    "no_grad",
    "observe",
    "odeint",
    "odeint_adjoint",
    "op",
    "ops",
    "optim",
    "own_shards",
    "pairwise_distance",
    "pi",
    "pixel_shuffle",
    "pixel_unshuffle",
    "preserve_format",
    "random",
    "random_split",
    "reference_kernels",
    "rrelu",
    "rrelu_",
    "save",
    "selu",
    "selu_",
    "set_default_dtype",
    "set_grad_enabled",
    "short",
    "special",
    "strided",
    "threshold",
    "threshold_",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "update_bn",
    "utils",
    "value_and_grad",
    "vjp",
    "vmap",
]
__all__ += _functions.names()  # noqa: PLE0605 (a list)
__all__.sort(key=_functions.by_kind)

__getattr__ = _answers("distgrad", globals())
