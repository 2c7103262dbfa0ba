"""PyTorch's name for ours, and where both are defined: for the comparison and for the timing.

The module needs PyTorch: who imports it looks for it first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from distgrad import ops

# name: (ours, theirs, low, high)
UNARY: dict[str, tuple[Any, Any, float, float]] = {
    "negative": (np.negative, torch.negative, -2, 2),
    "positive": (np.positive, torch.positive, -2, 2),
    # torch.abs has a second gradient that cannot be read (a ZeroTensor).
    "absolute": (np.absolute, lambda x: torch.where(x < 0, -x, x), -2, 2),
    "square": (np.square, torch.square, -2, 2),
    "reciprocal": (np.reciprocal, torch.reciprocal, 0.3, 3),
    "sqrt": (np.sqrt, torch.sqrt, 0.1, 3),
    "rsqrt": (ops.rsqrt, torch.rsqrt, 0.1, 3),
    "cbrt": (np.cbrt, lambda x: x.sign() * x.abs() ** (1 / 3), -3, -0.2),
    "exp": (np.exp, torch.exp, -3, 3),
    "exp2": (np.exp2, torch.exp2, -3, 3),
    "expm1": (np.expm1, torch.expm1, -3, 3),
    "log": (np.log, torch.log, 0.1, 3),
    "log2": (np.log2, torch.log2, 0.1, 3),
    "log10": (np.log10, torch.log10, 0.1, 3),
    "log1p": (np.log1p, torch.log1p, -0.5, 3),
    "sin": (np.sin, torch.sin, -4, 4),
    "cos": (np.cos, torch.cos, -4, 4),
    "tan": (np.tan, torch.tan, -1.2, 1.2),
    "arcsin": (np.arcsin, torch.arcsin, -0.9, 0.9),
    "arccos": (np.arccos, torch.arccos, -0.9, 0.9),
    "arctan": (np.arctan, torch.arctan, -4, 4),
    "sinh": (np.sinh, torch.sinh, -3, 3),
    "cosh": (np.cosh, torch.cosh, -3, 3),
    "tanh": (np.tanh, torch.tanh, -3, 3),
    "arcsinh": (np.arcsinh, torch.arcsinh, -4, 4),
    "arccosh": (np.arccosh, torch.arccosh, 1.1, 4),
    "arctanh": (np.arctanh, torch.arctanh, -0.9, 0.9),
    "sinc": (np.sinc, torch.sinc, 0.2, 3),
    "deg2rad": (np.deg2rad, torch.deg2rad, -180, 180),
    "rad2deg": (np.rad2deg, torch.rad2deg, -4, 4),
    "floor": (np.floor, torch.floor, -3, 3),
    "ceil": (np.ceil, torch.ceil, -3, 3),
    "trunc": (np.fix, torch.fix, -3, 3),
    "rint": (np.rint, torch.round, -3, 3),
    "round": (lambda x: np.round(x, 1), lambda x: torch.round(x, decimals=1), -3, 3),
    "frac": (ops.frac, torch.frac, -3, 3),
    "sign": (np.sign, torch.sign, -3, 3),
    "logit": (ops.logit, torch.logit, 0.05, 0.95),
    "erf": (ops.erf, torch.erf, -3, 3),
    "erfc": (ops.erfc, torch.erfc, -3, 3),
    "normal_cdf": (ops.normal_cdf, torch.special.ndtr, -4, 4),
    "astype": (lambda x: x.astype("f8").astype(x.dtype), lambda x: x * 1, -2, 2),
}
# name: (ours, theirs, low, high of a, low, high of b)
BINARY: dict[str, tuple[Any, ...]] = {
    "add": (np.add, torch.add, -2, 2, -2, 2),
    "subtract": (np.subtract, torch.subtract, -2, 2, -2, 2),
    "multiply": (np.multiply, torch.multiply, -2, 2, -2, 2),
    "divide": (np.divide, torch.divide, -2, 2, 0.3, 3),
    "power": (np.power, torch.pow, 0.3, 2, -2, 3),
    "arctan2": (np.arctan2, torch.arctan2, -2, 2, 0.2, 2),
    "hypot": (np.hypot, torch.hypot, -2, 2, 0.2, 2),
    "logaddexp": (np.logaddexp, torch.logaddexp, -9, 9, -9, 9),
    "logaddexp2": (np.logaddexp2, torch.logaddexp2, -9, 9, -9, 9),
    "xlogy": (ops.xlogy, torch.xlogy, -2, 2, 0.2, 3),
    "maximum": (np.maximum, torch.maximum, -2, 2, -2, 2),
    "minimum": (np.minimum, torch.minimum, -2, 2, -2, 2),
    "fmax": (np.fmax, torch.fmax, -2, 2, -2, 2),
    "fmin": (np.fmin, torch.fmin, -2, 2, -2, 2),
    "copysign": (np.copysign, torch.copysign, -2, 2, -2, 2),
    "floor_divide": (
        lambda a, b: a // b,
        lambda a, b: torch.div(a, b, rounding_mode="floor"),
        *(-5, 5, 0.7, 2),
    ),
    "remainder": (lambda a, b: a % b, torch.remainder, -5, 5, -2, -0.7),
    "fmod": (np.fmod, torch.fmod, -5, 5, -2, -0.7),
}
# name: the settings with which functionals of this name are called here and there
FUNCTIONALS: dict[str, list[dict[str, Any]]] = {
    "relu": [{}],
    "relu6": [{}],
    "leaky_relu": [{}, {"negative_slope": 0.3}],
    "rrelu": [{}, {"lower": 0.1, "upper": 0.5}],
    "hardtanh": [{}, {"min_val": -2.0, "max_val": 0.5}],
    "hardsigmoid": [{}],
    "hardswish": [{}],
    "hardshrink": [{}, {"lambd": 1.0}, {"lambd": 0.0}],
    "softshrink": [{}, {"lambd": 1.0}, {"lambd": 0.0}],
    "threshold": [{"threshold": 1.0, "value": -2.0}],
    "sigmoid": [{}],
    "logsigmoid": [{}],
    "tanh": [{}],
    "tanhshrink": [{}],
    "softsign": [{}],
    "softplus": [{}, {"beta": 2.0, "threshold": 3.0}, {"beta": 0.5}],
    "gelu": [{}, {"approximate": "tanh"}],
    "silu": [{}],
    "mish": [{}],
    "elu": [{}, {"alpha": 0.7}],
    "selu": [{}],
    "celu": [{}, {"alpha": 0.7}],
}
