"""Weights that are computed before every forward pass: weight_norm and spectral_norm by a hook.

PyTorch's older forms, for states saved with them; ``parametrizations`` has the newer ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from distgrad.arguments import explained
from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.mode import no_grad
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.nn.module import Module, Parameter
from distgrad.nn.utils.norms import as_matrix, norm_except, power_iteration, random_direction

M = TypeVar("M", bound=Module)


def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    """Let ``name`` be g v / ‖v‖ of parameters ``name_g`` and ``name_v`` (Salimans & Kingma 2016).

    A norm for each index of the axis ``dim``, or one of all elements with None. Make the optimizer
    after it. Errors: ShapeError for a parameter that is not there, or has it already.
    """
    _check(module, name, WeightNorm)
    hook = WeightNorm(name, dim)
    weight = getattr(module, name)
    delattr(module, name)
    with no_grad():
        g = norm_except(weight, dim)
    module.register_parameter(f"{name}_g", Parameter(g))
    module.register_parameter(f"{name}_v", Parameter(weight.array))
    _begin(module, hook)
    return module


@explained
def remove_weight_norm(module: M, name: str = "weight") -> M:
    """Let ``name`` be a parameter of its present value again. Errors: ShapeError if it has none."""
    hook = _removed(module, name, WeightNorm)
    value = _value(hook, module)
    for part in (name, f"{name}_g", f"{name}_v"):
        delattr(module, part)
    module.register_parameter(name, Parameter(value))
    return module


def spectral_norm(
    module: M,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> M:
    """Let ``name`` be W / σ, with σ about its largest singular value (Miyato et al. 2018).

    ``name_orig`` is the parameter, ``name_u`` and ``name_v`` are the singular vectors' buffers,
    which ``n_power_iterations`` of each forward pass in training improve. ``dim`` is the axis of
    the outputs: 1 in transposed convolutions, else 0. On several ranks put it on before
    DistributedDataParallel. Errors: ShapeError as ``weight_norm``, or for settings out of range.
    """
    _check(module, name, SpectralNorm)
    if n_power_iterations < 1:
        raise ShapeError(
            f"spectral_norm: n_power_iterations={n_power_iterations} must be at least 1"
        )
    if module.statistics:
        raise ShapeError(
            f"spectral_norm: {type(module).__name__} has running statistics of its own; put it on "
            f"a layer without"
        )
    weight = getattr(module, name)
    hook = SpectralNorm(name, n_power_iterations, eps, output_axis(module) if dim is None else dim)
    rows, columns = as_matrix(weight.array, hook.dim).shape
    delattr(module, name)
    module.register_parameter(f"{name}_orig", weight)
    for part, size in (("u", rows), ("v", columns)):
        direction = random_direction(size, weight.dtype, eps)
        module.register_buffer(f"{name}_{part}", Tensor(direction))
    module.statistics = (f"{name}_u", f"{name}_v")
    vars(module)["apply_statistics"] = _Following(module)
    setattr(module, name, Tensor(weight.array))
    module.register_forward_pre_hook(hook)
    return module


@explained
def remove_spectral_norm(module: M, name: str = "weight") -> M:
    """Let ``name`` be a parameter of its present value again. Errors: ShapeError if it has none."""
    hook = _removed(module, name, SpectralNorm)
    training = module.training
    vars(module)["training"] = False  # the vectors as they are
    value = _value(hook, module)
    vars(module)["training"] = training
    for part in (name, f"{name}_u", f"{name}_v", f"{name}_orig", "apply_statistics", "statistics"):
        delattr(module, part)
    module.register_parameter(name, Parameter(value))
    return module


def output_axis(module: Module) -> int:
    """Return the axis of a layer's weight along which its outputs lie."""
    return 1 if type(module).__name__.startswith("ConvTranspose") else 0


class WeightNorm:
    """The hook: computes the weight anew, on the tape."""

    whose = "a hook, as of nn.utils.weight_norm: nn.utils.parametrizations has it as a module"

    def __init__(self, name: str, dim: int | None) -> None:
        self.name, self.dim = name, dim

    def compute_weight(self, module: Module) -> Tensor:
        """Return g v / ‖v‖."""
        g, v = getattr(module, f"{self.name}_g"), getattr(module, f"{self.name}_v")
        weight: Tensor = v * (g / norm_except(v, self.dim))
        return weight

    def __call__(self, module: Module, inputs: Any) -> None:
        """Set the weight."""
        setattr(module, self.name, self.compute_weight(module))


class SpectralNorm:
    """The hook: improves the singular vectors in training and computes the weight, on the tape."""

    whose = "a hook, as of nn.utils.spectral_norm: nn.utils.parametrizations has it as a module"

    def __init__(self, name: str, n_power_iterations: int, eps: float, dim: int) -> None:
        self.name, self.n_power_iterations, self.eps, self.dim = name, n_power_iterations, eps, dim

    def compute_weight(self, module: Module) -> Tensor:
        """Return W / (u · W v)."""
        weight = getattr(module, f"{self.name}_orig")
        u, v = (getattr(module, f"{self.name}_{part}") for part in "uv")
        matrix = as_matrix(weight, self.dim)
        if module.training:
            u, v = self._improved(module, matrix, u)
        sigma = np.sum(u * (matrix @ v))
        found: Tensor = weight / sigma
        return found

    @apart
    @keeps_form
    def _improved(self, module: Module, matrix: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        # From u on; the newer form begins from v.
        v_, u_ = power_iteration(matrix.array.T, u.array, self.n_power_iterations, self.eps)
        # Through the bridge, if there is one: once a step, not once a shard.
        module.observe({f"{self.name}_u": u_, f"{self.name}_v": v_})
        return Tensor(u_), Tensor(v_)

    def __call__(self, module: Module, inputs: Any) -> None:
        """Set the weight."""
        setattr(module, self.name, self.compute_weight(module))


class _Following:
    """What a layer without statistics does with those of its singular vectors."""

    def __init__(self, module: Module) -> None:
        self.module = module

    def __call__(self, statistics: Mapping[str, Array]) -> None:
        for name, value in statistics.items():
            getattr(self.module, name).array[...] = value


def _check(module: Module, name: str, kind: type) -> None:
    who = kind.__name__
    if _found(module, name, kind):
        raise ShapeError(f"{who}: '{name}' of {type(module).__name__} has it already")
    own = [n for n, _ in module.named_parameters(recurse=False)]
    if name not in own:
        raise ShapeError(f"{who}: {type(module).__name__} has no parameter '{name}', only {own}")


def _begin(module: Module, hook: WeightNorm) -> None:
    setattr(module, hook.name, hook.compute_weight(module))
    module.register_forward_pre_hook(hook)


def _found(module: Module, name: str, kind: type) -> list[int]:
    return [
        number
        for number, hook in module._hooks.items()
        if isinstance(hook.function, kind) and getattr(hook.function, "name", None) == name
    ]


def _removed(module: Module, name: str, kind: type) -> Any:
    numbers = _found(module, name, kind)
    if not numbers:
        raise ShapeError(f"{kind.__name__}: '{name}' of {type(module).__name__} has none")
    return module._hooks.pop(numbers[0]).function


def _value(hook: Any, module: Module) -> Array:
    with no_grad():
        value: Array = hook.compute_weight(module).array
    return value
