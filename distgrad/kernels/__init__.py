"""Fused twins of hot ops, for numba where it is installed; without it the reference runs.

Convolution takes oneDNN where that is installed. Importing this package costs nothing: numba is
imported, and oneDNN loaded, when the first twin is about to run.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd import faster
from distgrad.autograd.mode import fused_enabled
from distgrad.autograd.op import REGISTRY, Op
from distgrad.kernels import amx, onednn, unbuffered
from distgrad.ops.choice import nan_to_num_, where_
from distgrad.ops.helpers import data_of

__all__ = ["TWINS", "part", "products_by", "status", "twin"]

# numba colours its errors where colorama is installed, which then writes an escape sequence to
# stdout when the process ends: into the file or pipe that somebody reads what ranks print from.
os.environ.setdefault("NUMBA_DISABLE_ERROR_MESSAGE_HIGHLIGHTING", "1")

_MODULES: dict[str, list[Op]] = {
    "alignment": [ops.ctc],
    "angles": [ops.cos, ops.sin],
    "along": [ops.add_slices, ops.pad_border, ops.resample, ops.set_at, ops.take],
    "attend": [ops.scaled_dot_product_attention],
    "bessel": [ops.bessel_j0, ops.bessel_j1, ops.i0, ops.i0e, ops.i1, ops.i1e],
    "broadcast": [ops.outer_product, ops.prelu, ops.tril, ops.triu],
    "convolve": [ops.convolution, ops.convolution_transpose],
    "distances": [ops.distances, ops.pair_distances],
    "factors": [ops.det, ops.inv, ops.lu_factor, ops.lu_unpack, ops.slogdet, ops.solve],
    "gamma": [ops.digamma, ops.lgamma, ops.polygamma],
    "gapped": [ops.add, ops.multiply, ops.subtract],
    "grid": [ops.grid_sample],
    "incomplete": [ops.igamma, ops.igammac],
    "limits": [ops.clamp],
    "margin": [ops.cosine, ops.multi_margin, ops.multilabel_margin],
    "masked": [ops.alpha_dropout, ops.dropout, ops.glu],
    "normalise": [ops.batch_norm, ops.layer_norm],
    "norms": [ops.group_norm, ops.rms_norm],
    "pairs": [
        *(ops.maximum, ops.minimum, ops.logaddexp, ops.logaddexp2, ops.hypot, ops.arctan2),
        *(ops.copysign, ops.lerp),
        *(ops.huber, ops.mse, ops.binary_cross_entropy, ops.binary_cross_entropy_with_logits),
        *(ops.hinge_embedding, ops.kl_div, ops.margin_ranking, ops.poisson_nll, ops.soft_margin),
    ],
    "places": [ops.add_along, ops.permute_along_axis, ops.put_along, ops.take_along],
    "slopes": [ops.scaled_product, ops.sigmoid, ops.sigmoid_backward, ops.tanh_backward],
    "picks": [where_],
    "pointwise": [
        *(ops.relu, ops.leaky_relu, ops.hardtanh, ops.hardsigmoid, ops.hardswish),
        *(ops.hardshrink, ops.softshrink, ops.threshold),
        *(ops.logsigmoid, ops.softplus, ops.silu, ops.mish, ops.elu),
        *(ops.gelu, ops.gelu_tanh, ops.normal_cdf, ops.erf, ops.erfc, ops.erfinv, ops.ndtri),
        *(ops.log_ndtr, ops.logit, ops.frac, nan_to_num_, ops.sign),
    ],
    "pool": [ops.adaptive_max_pool, ops.avg_pool, ops.max_pool],
    "products": [ops.linear, ops.matmul],
    "reduce": [
        ops.amax,
        ops.amin,
        ops.max,
        ops.min,
        ops.mean,
        ops.nansum,
        ops.sum,
        ops.vector_norm,
    ],
    "remainders": [ops.floor_divide, ops.fmod, ops.remainder],
    "recurrence": [ops.powers, ops.three_term],
    "recurrent": [ops.gru, ops.lstm, ops.lstm_projected, ops.rnn],
    "rows": [ops.cross_entropy, ops.log_softmax, ops.nll, ops.softmax],
    "scan": [ops.cumprod, ops.cumsum, ops.prod],
    "scatter": [ops.add_at, ops.bag_sum, ops.embedding, ops.extreme_at, ops.getitem],
    "tails": [ops.erfcx],
    "triangular": [ops.cholesky, ops.solve_triangular],
    "windows": [ops.fold, ops.unfold],
    "zeta": [ops.zeta],
}
TWINS: dict[Op, str] = {op: module for module, twins in _MODULES.items() for op in twins}
"""Which module of this package holds an op's twin: the function of the op's name."""

OTHERS = {
    **{"move_": "update", "square": "squares", "squares_": "squares"},
    **{"cummax": "extremes", "cummin": "extremes", "row_order": "factors"},
    **dict.fromkeys(("into_bins_", "line", "nonzero", "triangle"), "counts"),
    **dict.fromkeys(("random", "standard_normal", "integers", "permutation"), "philox"),
    **{"nextafter": "neighbours", "picked": "picks", "put_": "picks"},
}
"""What besides ops has a twin (optimizers' steps, norms, random numbers …), and its module."""

_SOME = 1 << 12
"""Multiplications of a product: of fewer none is computed by a twin."""

_WITHOUT_NUMBA = {"convolve", "onednn_bfloat16"}
_found: dict[str, Callable[..., Any]] = {}
_broken: list[str] = []  # why numba cannot be used, once that is known


def twin(name: str) -> Callable[..., Any] | None:
    """Return the fused twin of one of ``OTHERS``, None where the reference has to run."""
    if not fused_enabled.get():
        return None
    found = _found.get(name)
    if found is None and (found := _load(OTHERS[name], name)) is not None:
        _found[name] = found
    return found


def status() -> str:
    """Say whether fused twins run, and if not, why. Equal on all ranks whose numerics are equal."""
    if not fused_enabled.get():
        return "off (DISTGRAD_FUSED=0 or reference_kernels())"
    kernels = f"reference only ({_broken[0]})" if _broken else _installed()
    by = products_by() if _compiles() else []
    also = f"; products on one thread {' and '.join(by)}" if by else ""
    also += "; Muon in bfloat16 by oneDNN" if onednn.tiles() else ""
    return f"{kernels}; convolution by {convolution_by()}{also}"


def convolution_by() -> str:
    """Say what convolves, without loading it."""
    tiled = _compiles() and fused_enabled.get() and amx.multiplies()
    return onednn.road() + (", on one thread in tiles (AMX) where that is faster" if tiled else "")


def _compiles() -> bool:
    return not _broken and _installed().startswith("numba")


def products_by() -> list[str]:
    """Say who besides the BLAS computes large products of float32 on one thread."""
    tiles = ["in tiles (AMX)"] if amx.multiplies() else []
    return tiles + (["by oneDNN"] if onednn.multiplies() else [])


@cache
def _installed() -> str:
    try:
        version = importlib.metadata.version("numba")
    except importlib.metadata.PackageNotFoundError:
        return "reference only (numba is not installed; pip install 'distgrad[fast]')"
    return f"numba {version}, {_processor()}"


def part(module: str, name: str) -> Callable[..., Any] | None:
    """Return a function of a module of this package that needs numba; None where that is not."""
    return _load(module, name)


def _load(module: str, name: str) -> Callable[..., Any] | None:
    if _broken and module not in _WITHOUT_NUMBA:
        return None
    try:
        found: Callable[..., Any] = getattr(
            importlib.import_module(f"distgrad.kernels.{module}"), name
        )
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "distgrad":
            raise
        _broken.append(f"numba cannot be imported: {error}")
        # Not installed is a choice, installed and unusable an accident (often NumPy is too new).
        if not isinstance(error, ModuleNotFoundError):
            warnings.warn(
                f"{_broken[0]}; the NumPy reference of every op runs instead, slower. Install a "
                f"numba that fits this NumPy, or set DISTGRAD_FUSED=0 to say that this is meant",
                RuntimeWarning,
                stacklevel=3,
            )
        return None
    return found


def _lazily(op: Op, module: str) -> Callable[..., Any]:
    def first(*arrays: Any, **settings: Any) -> Any:
        if op in (ops.getitem, ops.set_at) and not _has_array(settings.get("index")):
            return None  # a slice is no reason to import numba
        if op.asked_from and not _may_be_rows(*arrays):
            return None  # nor are large arrays
        if module == "products" and not _may_pay(*arrays):
            return None  # nor is a small product
        found = op.fused = _load(module, op.name)
        return None if found is None else found(*arrays, **settings)

    return first


def _has_array(index: Any) -> bool:
    keys = index if type(index) is tuple else (index,)
    return any(type(data_of(k)) is np.ndarray for k in keys)


def _may_pay(a: Any, b: Any, *_: Any) -> bool:
    # All products of a step, forward and backward, have as many multiplications.
    if not np.ndim(a) or not np.ndim(b):
        return False
    return bool(a.size * b.size >= _SOME * min(b.shape[-2:]))


def _may_be_rows(a: Any, b: Any) -> bool:
    if type(a) is not np.ndarray or type(b) is not np.ndarray:
        return False
    return not (a.shape == b.shape and a.flags.c_contiguous and b.flags.c_contiguous)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as info:
            for line in info:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: the machine's type has to do
    return os.uname().machine


for _op, _module in TWINS.items():
    _op.fused = _lazily(_op, _module)
    if _module == "gapped":
        _op.asked_from = unbuffered.LARGE
for _op in REGISTRY.values():
    if _op.elementwise and _op.fused is None:
        _op.fused, _op.asked_from = unbuffered.twin_of(_op.function), unbuffered.LARGE
faster.twin = twin
