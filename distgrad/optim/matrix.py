"""Updates that know rows and columns: Adafactor and Muon."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np

from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.kinds import NonNegative, number, whole
from distgrad.optim.newton_schulz import orthogonalized
from distgrad.optim.norms import norm
from distgrad.optim.optimizer import Group, Number, Optimizer, Params
from distgrad.optim.run import State
from distgrad.optim.update import mix_, move_


class Adafactor(Optimizer):
    """Second moments kept as row and column means only (Shazeer & Stern 2018), PyTorch's form.

    ``lr`` is the largest relative step. ``eps[0]`` is the dtype's own if None.
    """

    elementwise = False
    trains_complex = False

    def __init__(
        self,
        params: Params,
        lr: Number = 1e-2,
        beta2_decay: Annotated[float, number(high=0)] = -0.8,
        eps: tuple[NonNegative | None, NonNegative] = (None, 1e-3),
        d: Annotated[float, number(1)] = 1.0,
        weight_decay: NonNegative = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "beta2_decay": beta2_decay,
                "eps": tuple(eps),
                "d": d,
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )

    def state_names(self, group: Group) -> list[str]:
        """Return the names of the factors, and of the second moment of what has no rows."""
        return ["row_var", "col_var", "variance"]

    def state_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return (…, rows, 1) and (…, 1, columns) of a matrix, the whole shape of a vector."""
        if len(shape) < 2:
            return shape if name == "variance" else None
        factors = {"row_var": (*shape[:-1], 1), "col_var": (*shape[:-2], 1, shape[-1])}
        return factors.get(name)

    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Apply ``adafactor_``."""
        factors = (state.get("row_var"), state.get("col_var"), state.get("variance"))
        adafactor_(value, grad, *factors, step=step, **self.settings(group))


class Muon(Optimizer):
    """Momentum, orthogonalized by Newton-Schulz iterations (Jordan et al. 2024); matrices only.

    For hidden layers: train biases, norms and embeddings with another optimizer. Settings are
    PyTorch's, whose iterations run in bfloat16; here those of large matrices of float32 do where
    oneDNN is installed and the CPU multiplies bfloat16 in tiles (AMX), else in the parameter's
    dtype.
    ``adjust_lr_fn``: "original" (also None) or "match_rms_adamw" (Liu et al. 2025).
    """

    elementwise = False
    trains_complex = False

    def __init__(
        self,
        params: Params,
        lr: Number = 1e-3,
        weight_decay: NonNegative = 0.1,
        momentum: NonNegative = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: NonNegative = 1e-7,
        ns_steps: Annotated[int, whole(0, 99)] = 5,
        adjust_lr_fn: Literal["original", "match_rms_adamw"] | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_coefficients": tuple(ns_coefficients),
                "eps": eps,
                "ns_steps": ns_steps,
                "adjust_lr_fn": adjust_lr_fn,
            },
        )

    def check(self, group: Group) -> None:
        """Refuse parameters that are no matrices."""
        for p in group["params"]:
            if p.ndim != 2:
                raise ShapeError(
                    f"Muon trains matrices; got a parameter of shape {p.shape}. Train those of "
                    f"other than two axes with another optimizer"
                )

    def state_names(self, group: Group) -> list[str]:
        """Return the momentum buffer's name."""
        return ["momentum_buffer"]

    def update(self, value: Array, grad: Array, state: State, step: int, group: Group) -> None:
        """Apply ``muon_``."""
        muon_(value, grad, state["momentum_buffer"], **self.settings(group))


def adafactor_(
    value: Array,
    grad: Array,
    row_var: Array | None,
    col_var: Array | None,
    variance: Array | None,
    *,
    step: int,
    lr: float,
    beta2_decay: float,
    eps: tuple[float | None, float],
    d: float,
    weight_decay: float,
) -> None:
    """θ ← θ - α U / max(1, RMS(U) / d) with U = G / √V and V = R C / mean(R)."""
    e1 = float(np.finfo(value.dtype).eps) if eps[0] is None else eps[0]
    fresh = step**beta2_decay
    alpha = max(eps[1], _rms(value)) * min(lr, 1 / math.sqrt(step))
    if variance is None:
        assert row_var is not None
        assert col_var is not None
        u = grad * grad
        row_var += fresh * (np.mean(u, axis=-1, keepdims=True) - row_var)
        col_var += fresh * (np.mean(u, axis=-2, keepdims=True) - col_var)
        row_part = row_var / np.maximum(np.mean(row_var, axis=-2, keepdims=True), e1)
        np.multiply(row_part, col_var, out=u)
        np.maximum(u, e1 * e1, out=u)
        np.sqrt(u, out=u)
        np.divide(grad, u, out=u)
    else:
        u = np.empty_like(grad)
        flat = (u.reshape(-1), grad.reshape(-1), (variance.reshape(-1),))
        move_(_unfactored, *flat, fresh, e1 * e1)
    mix_(value, 1 - lr * weight_decay, u, -alpha / max(1.0, _rms(u) / d))


def _unfactored(x: Any, g: Any, v: Any, fresh: Any, floor: Any) -> tuple[Any, ...]:
    """Return Adafactor's U in the place of x."""
    v = v + fresh * (g * g - v)
    return g / np.sqrt(np.maximum(v, floor)), v


def muon_(
    value: Array,
    grad: Array,
    buffer: Array,
    *,
    lr: float,
    weight_decay: float,
    momentum: float,
    nesterov: bool,
    ns_coefficients: tuple[float, float, float],
    eps: float,
    ns_steps: int,
    adjust_lr_fn: str | None,
) -> None:
    """θ ← (1 - lr λ) θ - lr s O with O ≈ U Vᵀ of the momentum's U S Vᵀ, s by the shape."""
    g = np.empty_like(grad)
    flat = (g.reshape(-1), grad.reshape(-1), (buffer.reshape(-1),))
    move_(_ahead, *flat, momentum, 1 - momentum, nesterov)
    rows, columns = value.shape
    if adjust_lr_fn == "match_rms_adamw":
        scale = 0.2 * math.sqrt(max(rows, columns))
    else:
        scale = math.sqrt(max(1.0, rows / columns))
    direction = orthogonalized(g, ns_coefficients, eps, ns_steps)
    mix_(value, 1 - lr * weight_decay, direction, -lr * scale)


def _ahead(x: Any, g: Any, b: Any, mu: Any, fresh: Any, nesterov: Any) -> tuple[Any, ...]:
    """Return what Muon orthogonalizes, in the place of x."""
    b = b + fresh * (g - b)
    return g + mu * (b - g) if nesterov else b, b


def _rms(a: Array) -> float:
    return norm(a) / math.sqrt(a.size)
