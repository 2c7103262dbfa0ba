"""Gradient clipping by norm, by value and per layer, against explosion (Pascanu et al. 2013).

All functions work in place and give the same bits on every rank, and on any number of ranks; where
ranks share gradients out (zero=1 and more) they are collective.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any, Literal

import numpy as np

from distgrad.arguments import explained, refuse_arguments
from distgrad.autograd.apart import apart, keeps_form, keeps_gradients
from distgrad.autograd.neighbours import neighbours
from distgrad.autograd.parts import PartialGradient, gradients_to_write, part_of
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import NonFiniteError, ShapeError
from distgrad.optim.norms import SHORT, Given, joint_norms, norm_beside
from distgrad.optim.norms import total_norm as joint_norm
from distgrad.tracing import traced, tracer


@apart
@keeps_form
@keeps_gradients
def clip_grad_norm_(
    params: Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> float:
    """Scale the gradients in place so that their joint norm is at most ``max_norm``.

    Returns the norm before clipping. ``norm_type`` is any p > 0 or infinity. A norm that is not
    finite leaves NaNs in the gradients (as in PyTorch) or raises NonFiniteError if asked to.
    """
    # What ``traced`` and ``explained`` do, without more calls in every step.
    listener, given = tracer.get(), params
    if listener is not None:
        listener.begin("clipping")
    try:
        params = _listed(given)
        norm = gradient_norm(params, norm_type)
        if error_if_nonfinite:
            _refuse_nonfinite(norm, "the gradient norm")
        _scale_(params, max_norm, norm)
        return norm
    except (TypeError, AttributeError):
        refuse_arguments(clip_grad_norm_, (given, max_norm, norm_type), {})
        raise
    finally:
        if listener is not None:
            listener.end("clipping")


@explained
@apart
@keeps_form
@keeps_gradients
def get_total_norm(
    tensors: Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> float:
    """Return the joint norm of all tensors together, as ``clip_grad_norm_`` computes it.

    Errors: NonFiniteError for a norm that is not finite, if asked to.
    """
    listed = [tensors] if isinstance(tensors, Tensor) else tensors
    norm = joint_norm(map(part_of, listed), norm_type)
    if error_if_nonfinite:
        _refuse_nonfinite(norm, "the norm")
    return norm


@explained
@apart
@keeps_gradients
@traced("clipping")
def clip_grads_with_norm_(
    params: Iterable[Tensor], max_norm: float, total_norm: float, foreach: bool | None = None
) -> None:
    """Scale the gradients in place as if their joint norm were ``total_norm``."""
    _scale_(_listed(params), max_norm, total_norm)


@explained
@apart
@keeps_gradients
@traced("clipping")
def clip_grad_value_(
    params: Iterable[Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Limit every gradient element to [-clip_value, clip_value], in place.

    Errors: ShapeError, with nothing changed, for complex gradients, which have no order.
    """
    if not clip_value >= 0:
        raise ShapeError(f"clip_grad_value_: clip_value is 0 or more; got {clip_value}")
    grads = gradients_to_write(_listed(params))
    for g in grads:
        if g.dtype.kind == "c":
            raise ShapeError(
                f"clip_grad_value_: a gradient is {g.dtype}, and complex numbers have no order; "
                f"use clip_grad_norm_, or pass real parameters alone"
            )
    short: dict[np.dtype[Any], list[Array]] = {}
    for g in grads:
        if g.size > SHORT:
            np.clip(g, -clip_value, clip_value, out=g)
        elif g.size:
            short.setdefault(g.dtype, []).append(g)
    for members in short.values():
        _limit_(members, clip_value)


def _limit_(grads: Sequence[Array], most: float) -> None:
    """Clip short arrays of one dtype together: a call for each costs more than its elements."""
    whole = np.concatenate(grads, axis=None)
    limited = np.clip(whole, -most, most)
    bounds = [0, *np.cumsum([g.size for g in grads]).tolist()]
    different = np.logical_or.reduceat(np.not_equal(limited, whole), bounds[:-1])
    for i in np.flatnonzero(different).tolist():
        grads[i][...] = limited[bounds[i] : bounds[i + 1]].reshape(grads[i].shape)


@explained
@apart
@keeps_gradients
@traced("clipping")
def clip_layer_grad_norm_(
    named_params: Iterable[tuple[str, Tensor]],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    *,
    by: Literal["layer", "parameter"] = "layer",
) -> dict[str, float]:
    """Clip each layer's gradients to a norm of ``max_norm`` by themselves, in place.

    ``named_params`` are ``model.named_parameters()``; a layer is what one module holds directly
    (weight and bias together), or with ``by="parameter"`` each parameter. One layer that explodes
    does not shrink the others' steps, but the direction of the whole gradient changes.
    Returns each layer's norm before clipping. Errors: NonFiniteError naming the layer, if asked
    to; nothing is changed then.
    """
    if by not in ("layer", "parameter"):
        raise ShapeError(f"by={by!r}: choose 'layer' or 'parameter'")
    layers: dict[str, list[Tensor]] = {}
    for name, p in named_params:
        if p.grad is not None:
            layers.setdefault(layer_of(name) if by == "layer" else name, []).append(p)
    found = joint_norms([gradients(params) for params in layers.values()], norm_type)
    norms = dict(zip(layers, found, strict=True))
    if error_if_nonfinite:
        for layer, norm in norms.items():
            _refuse_nonfinite(norm, f"the gradient norm of '{layer}'")
    for layer, norm in norms.items():
        _scale_(layers[layer], max_norm, norm)
    return norms


def layer_of(name: str) -> str:
    """Return the name of the module that holds a parameter; the model's own stand for themselves.

    "encoder.0.weight" belongs to "encoder.0".
    """
    return name.rpartition(".")[0] or name


def gradient_norm(params: Iterable[Tensor], norm_type: float = 2.0) -> float:
    """Return the joint norm of the gradients that the parameters have."""
    having = [p for p in _listed(params) if p.grad is not None]
    if norm_type == 2.0:
        beside = neighbours(having)
        norm = _told_norm(having) if beside is None else norm_beside(beside)
        if norm is not None:
            return norm
    return joint_norm(gradients(having), norm_type)


def _told_norm(having: Sequence[Tensor]) -> float | None:
    """Return the joint norm of gradients that ranks share out, if they have told each other."""
    total = 0.0
    for p in having:
        gradient = p.grad
        place = gradient._place if type(gradient) is PartialGradient else None
        if place is None or place.buffer.sharding is None:
            return None
        squares = place.buffer.sharding.squares_of(place.slot)
        if squares is None:
            return None
        of_one = 0.0
        for number in squares:  # as ``norms`` adds them up
            of_one += number
        total += of_one
    return math.sqrt(total)


def gradients(params: Iterable[Tensor]) -> list[Given]:
    """Return the gradients of the parameters that have one, or this rank's part of them."""
    return [part_of(p.grad) for p in _listed(params) if p.grad is not None]


def _listed(params: Iterable[Tensor]) -> list[Tensor]:
    return [params] if isinstance(params, Tensor) else list(params)


def _scale_(params: list[Tensor], max_norm: float, norm: float) -> None:
    if not max_norm >= 0:
        raise ShapeError(f"the norm that gradients are clipped to is 0 or more; got {max_norm}")
    # Without a limit nothing is scaled: infinity / infinity would be a NaN.
    scale = float(max_norm) / (norm + 1e-6) if max_norm < math.inf else 1.0
    if not scale >= 1.0:
        # An infinite gradient times 0 is the promised NaN.
        with nullcontext() if math.isfinite(norm) else np.errstate(invalid="ignore"):
            for g in gradients_to_write(params):
                np.multiply(g, scale, out=g)


def _refuse_nonfinite(norm: float, what: str) -> None:
    if not math.isfinite(norm):
        raise NonFiniteError(
            f"{what} is {norm}; lower the learning rate or look for the first "
            f"non-finite value, or pass error_if_nonfinite=False"
        )
