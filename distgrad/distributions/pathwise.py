"""Gamma and Dirichlet samples with gradients to their parameters.

A sample is held at its level of the distribution function while the parameter moves (implicit
reparametrisation, Figurnov et al. 2018; for Dirichlet as PyTorch, Jankowiak & Obermeyer 2018).
"""

from __future__ import annotations

import numpy as np

from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.op import Op, OpResult
from distgrad.autograd.stream import generator, lent_generator
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array, Shape
from distgrad.distributions.shared import eps, tiny
from distgrad.ops.incomplete_numbers import beta_slope, gamma_slope


def standard_gamma(concentration: Tensor, shape: Shape) -> Tensor:
    """Draw Gamma(concentration, 1) samples of ``shape``, which concentration broadcasts to."""
    drawn = _gamma_numbers(concentration, shape)
    found: Tensor = _standard_gamma(np.broadcast_to(concentration, shape), drawn=drawn)
    return found


@apart
@keeps_form
def _gamma_numbers(concentration: Tensor, shape: Shape) -> Array:
    dtype = concentration.dtype
    drawn = lent_generator().standard_gamma(concentration.array.astype(np.float64), shape)
    found: Array = np.maximum(np.asarray(drawn).astype(dtype), tiny(dtype))
    return found


def dirichlet(concentration: Tensor, shape: Shape) -> Tensor:
    """Draw Dirichlet(concentration) samples of ``shape`` (the last axis sums up to 1)."""
    drawn = _dirichlet_numbers(concentration, shape)
    found: Tensor = _dirichlet(np.broadcast_to(concentration, shape), drawn=drawn)
    return found


@apart
@keeps_form
def _dirichlet_numbers(concentration: Tensor, shape: Shape) -> Array:
    dtype, a = concentration.dtype, concentration.array.astype(np.float64)
    # log Gamma(a) = log Gamma(a + 1) + log U / a: small concentrations do not underflow.
    random = generator()
    logs = np.log(random.standard_gamma(a + 1, shape)) + np.log1p(-random.random(shape)) / a
    logs -= np.max(logs, axis=-1, keepdims=True)
    weights = np.exp(logs)
    drawn = weights / np.sum(weights, axis=-1, keepdims=True)
    found: Array = np.clip(drawn.astype(dtype), tiny(dtype), 1 - eps(dtype) / 2)
    return found


def _gamma_body(a: Array, *, drawn: Array) -> OpResult:
    """A drawn Gamma(a, 1) sample."""
    return drawn, lambda g: g * gamma_slope(a.astype(np.float64), drawn.astype(np.float64))


def _dirichlet_body(a: Array, *, drawn: Array) -> OpResult:
    """A drawn Dirichlet(a) sample."""

    def vjp(g: Array) -> Array:
        alpha, x = a.astype(np.float64), drawn.astype(np.float64)
        rest = np.sum(alpha, axis=-1, keepdims=True) - alpha
        slope = beta_slope(alpha, rest, x, 1 - x) / (1 - x)
        found: Array = slope * (g - np.sum(x * g, axis=-1, keepdims=True))
        return found

    return drawn, vjp


# No members of the registry: a sample is no function of its parameter that central differences
# could check. tests/distributions/test_pathwise.py compares expectations.
_standard_gamma = Op(_gamma_body, ("... -> ...",), None, (0.5, 2.0), False)
_dirichlet = Op(_dirichlet_body, ("... k -> ... k",), None, (0.5, 2.0), False)
