"""Gradient clipping by PyTorch's names and with its results; the arithmetic is ``optim.clip``'s."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np

from distgrad.arguments import explained
from distgrad.autograd.apart import apart, keeps_form, keeps_gradients
from distgrad.autograd.tensor import Tensor
from distgrad.optim import clip

Tensors: TypeAlias = "Tensor | Iterable[Tensor]"


@explained
@apart
@keeps_form
@keeps_gradients
def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """``optim.clip_grad_norm_`` that returns the norm before clipping as a Tensor of 0 axes."""
    listed = _listed(parameters)
    norm = clip.clip_grad_norm_(listed, max_norm, float(norm_type), error_if_nonfinite)
    return _tensor(norm, [p.grad for p in listed if p.grad is not None])


@explained
def clip_grad_norm(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """``clip_grad_norm_`` under its name before PyTorch 0.4."""
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


@explained
@apart
@keeps_gradients
def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor | float, foreach: bool | None = None
) -> None:
    """Scale the gradients in place as if their joint norm were ``total_norm``."""
    clip.clip_grads_with_norm_(_listed(parameters), max_norm, float(total_norm))


@explained
@apart
@keeps_gradients
def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Limit every gradient element to [-clip_value, clip_value], in place."""
    clip.clip_grad_value_(_listed(parameters), float(clip_value))


@explained
@apart
@keeps_form
@keeps_gradients
def get_total_norm(
    tensors: Tensors,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Return the joint norm of all tensors together as a Tensor of 0 axes.

    Errors: NonFiniteError for a norm that is not finite, if asked to.
    """
    listed = _listed(tensors)
    norm = clip.get_total_norm(listed, float(norm_type), error_if_nonfinite)
    return _tensor(norm, listed)


def _listed(tensors: Tensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _tensor(norm: float, of: list[Tensor]) -> Tensor:
    # Of a gradient in parts (zero=1 and more) the form can be read, and not the values.
    dtypes = [np.empty(0, d).real.dtype for d in {t.dtype for t in of}] or [np.dtype(np.float32)]
    dtype = np.result_type(*dtypes)
    return Tensor(np.array(norm, dtype))
