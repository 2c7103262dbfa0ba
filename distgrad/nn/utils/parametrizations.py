"""Ready-made parametrizations: weight_norm, spectral_norm and orthogonal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from distgrad.arguments import explained
from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.missing import answers as _answers
from distgrad.nn.module import Module
from distgrad.nn.utils.normed import output_axis
from distgrad.nn.utils.norms import (
    as_matrix,
    norm_except,
    power_iteration,
    random_direction,
)
from distgrad.nn.utils.orthogonal import Orthogonal
from distgrad.nn.utils.parametrize import register_parametrization

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]

M = TypeVar("M", bound=Module)


@explained
def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    """Let ``name`` be g v / ‖v‖ (Salimans & Kingma 2016): ``original0`` is g, ``original1`` v.

    A norm for each index of the axis ``dim``, or one of all elements with None.
    """
    return register_parametrization(module, name, _WeightNorm(dim), unsafe=True)


@explained
def spectral_norm(
    module: M,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> M:
    """Let ``name`` be W / σ, with σ about its largest singular value (Miyato et al. 2018).

    Each use in training improves the singular vectors by ``n_power_iterations``; on several ranks
    once a step. ``dim`` is the axis of the outputs: 1 in transposed convolutions, else 0.
    Errors: ShapeError for settings out of range.
    """
    weight = getattr(module, name)
    axis = output_axis(module) if dim is None else dim
    function = _SpectralNorm(weight, n_power_iterations, axis, eps)
    return register_parametrization(module, name, function)


def orthogonal(
    module: M,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
) -> M:
    """Let ``name`` be orthogonal: of a matrix (…, n, k) the columns, or the rows if n < k.

    ``orthogonal_map`` is "matrix_exp" (the default of square ones), "cayley" or "householder".
    ``use_trivialization`` keeps it near the present value's closest one (Lezcano-Casado 2019).
    Errors: ShapeError for a weight that is no matrix, or another map.
    """
    weight = getattr(module, name)
    if weight.ndim < 2:
        raise ShapeError(f"orthogonal: a weight of shape {weight.shape} is no matrix")
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1] or weight.dtype.kind == "c"
        orthogonal_map = "matrix_exp" if square else "householder"
    function = Orthogonal(weight, orthogonal_map, use_trivialization)
    return register_parametrization(module, name, function, unsafe=True)


class _WeightNorm(Module):
    def __init__(self, dim: int | None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        weight: Tensor = weight_v * (weight_g / norm_except(weight_v, self.dim))
        return weight

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return norm_except(weight, self.dim), weight


class _SpectralNorm(Module):
    def __init__(self, weight: Tensor, n_power_iterations: int, dim: int, eps: float) -> None:
        super().__init__()
        if n_power_iterations < 1:
            raise ShapeError(
                f"spectral_norm: n_power_iterations={n_power_iterations} must be at least 1"
            )
        self.n_power_iterations, self.dim, self.eps = n_power_iterations, dim, eps
        if weight.ndim < 2:
            return
        self.statistics = ("_u", "_v")
        matrix = as_matrix(weight.array, dim)
        v = random_direction(matrix.shape[1], weight.dtype, eps)
        u, v = power_iteration(matrix, v, 15, eps)
        self._u: Any
        self._v: Any
        self.register_buffer("_u", Tensor(u))
        self.register_buffer("_v", Tensor(v))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim < 2:
            norm = np.sqrt(np.sum(weight * weight))
            unit: Tensor = weight / np.maximum(norm, self.eps)
            return unit
        u, v = self._u, self._v
        matrix = as_matrix(weight, self.dim)
        if self.training:
            u, v = self._improved(matrix, v)
        found: Tensor = weight / np.sum(u * (matrix @ v))
        return found

    @apart
    @keeps_form
    def _improved(self, matrix: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        u, v_ = power_iteration(matrix.array, v.array, self.n_power_iterations, self.eps)
        # Through the bridge, if there is one: once a step, not once a shard.
        self.observe({"_u": u, "_v": v_})
        return Tensor(u), Tensor(v_)

    def apply_statistics(self, statistics: Mapping[str, Array]) -> None:
        """Take over the vectors, which all shards have computed alike."""
        for name, value in statistics.items():
            getattr(self, name).array[...] = value

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


__getattr__ = _answers("distgrad.nn.utils.parametrizations", globals())
