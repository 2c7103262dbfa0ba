"""Pruning: a mask of zeros and ones on a parameter, by PyTorch's methods.

The parameter ``weight`` becomes ``weight_orig``, beside the buffer ``weight_mask``; their product
is computed before every forward pass. A mask is put upon what earlier ones have left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.missing import answers as _answers
from distgrad.nn.module import Module
from distgrad.nn.utils.convert_parameters import parameters_to_vector
from distgrad.nn.utils.masks import (
    along,
    array,
    channels_of,
    checked,
    random,
    restricted,
    without_lowest,
)

__all__ = [
    "BasePruningMethod",
    "CustomFromMask",
    "Identity",
    "L1Unstructured",
    "LnStructured",
    "PruningContainer",
    "RandomStructured",
    "RandomUnstructured",
    "custom_from_mask",
    "global_unstructured",
    "identity",
    "is_pruned",
    "l1_unstructured",
    "ln_structured",
    "random_structured",
    "random_unstructured",
    "remove",
]

M = TypeVar("M", bound=Module)


class BasePruningMethod:
    """A way to choose what is pruned: define ``compute_mask(t, default_mask)``.

    ``PRUNING_TYPE`` says what of a tensor it is shown that has a mask already: "unstructured" the
    elements that are left as one vector, "structured" the channels (of its ``dim``) that are left,
    "global" all.
    """

    PRUNING_TYPE: ClassVar[str] = "unstructured"
    whose: ClassVar[str] = "a weight that a hook prunes: prune.remove makes it a parameter again"
    _tensor_name: str = ""

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """Return the mask for the importances ``t``, within ``default_mask``."""
        raise TypeError(f"{type(self).__name__} has no compute_mask(t, default_mask); define one")

    def apply_mask(self, module: Module) -> Tensor:
        """Return the parameter times its mask, on the tape."""
        mask = getattr(module, f"{self._tensor_name}_mask").array
        product: Tensor = getattr(module, f"{self._tensor_name}_orig") * mask
        return product

    def __call__(self, module: Module, inputs: Any) -> None:
        """Set the pruned tensor: what the hook does."""
        setattr(module, self._tensor_name, self.apply_mask(module))

    @classmethod
    def apply(
        cls, module: Module, name: str, *args: Any, importance_scores: Any = None, **kwargs: Any
    ) -> BasePruningMethod:
        """Prune ``name`` of ``module`` by a method of this class; returns what its hook is.

        ``importance_scores`` stand for the parameter where the mask is chosen. Errors: ShapeError
        for a parameter that is not there, or scores of another shape; nothing is changed then.
        """
        method = cls(*args, **kwargs)
        method._tensor_name = name
        number, old = _hook_of(module, name)
        orig = _original(module, name)
        scores = getattr(module, name) if importance_scores is None else importance_scores
        if scores.shape != orig.shape:
            raise ShapeError(
                f"prune: importance_scores have the shape {scores.shape}, '{name}' {orig.shape}"
            )
        before = np.ones_like(orig.array) if old is None else _mask(module, name)
        mask = restricted(method, array(scores), before)
        if old is None:
            delattr(module, name)
            module.register_parameter(f"{name}_orig", orig)
        else:
            container = old if isinstance(old, PruningContainer) else PruningContainer(old)
            container.add_pruning_method(method)
            method = container
            del module._hooks[number]
        module.register_buffer(f"{name}_mask", Tensor(mask))
        method(module, ())
        module.register_forward_pre_hook(method)
        return method

    def prune(self, t: Any, default_mask: Any = None, importance_scores: Any = None) -> Any:
        """Return ``t`` times the mask for it, or for the ``importance_scores``."""
        scores = t if importance_scores is None else importance_scores
        if scores.shape != t.shape:
            raise ShapeError(f"prune: importance_scores have the shape {scores.shape}, t {t.shape}")
        before = np.ones_like(array(t)) if default_mask is None else array(default_mask)
        return t * array(self.compute_mask(Tensor(array(scores)), Tensor(before)))

    def remove(self, module: Module) -> None:
        """Let the parameter be what is left of it, for good, under its own name."""
        name = self._tensor_name
        mask, orig = _mask(module, name), getattr(module, f"{name}_orig")
        orig.array[...] *= mask
        for part in (name, f"{name}_orig", f"{name}_mask"):
            delattr(module, part)
        module.register_parameter(name, orig)


class PruningContainer(BasePruningMethod):
    """The methods that have pruned one parameter, one after the other."""

    def __init__(self, *args: BasePruningMethod) -> None:
        self._pruning_methods: tuple[BasePruningMethod, ...] = ()
        self._tensor_name = args[0]._tensor_name if args else ""
        for method in args:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: BasePruningMethod) -> None:
        """Add a method. Errors: TypeError for none, ShapeError for another parameter's."""
        if not isinstance(method, BasePruningMethod):
            raise TypeError(f"a pruning method is wanted; got a {type(method).__name__}")
        if method._tensor_name != self._tensor_name:
            raise ShapeError(
                f"this container prunes '{self._tensor_name}'; the method is for "
                f"'{method._tensor_name}'"
            )
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Iterator[BasePruningMethod]:
        return iter(self._pruning_methods)

    def __getitem__(self, index: int) -> BasePruningMethod:
        return self._pruning_methods[index]

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """Return the last method's mask of what ``default_mask`` has left."""
        method = self._pruning_methods[-1]
        return Tensor(restricted(method, array(t), array(default_mask)))


class Identity(BasePruningMethod):
    """Prunes nothing; puts the mask where others will change it."""

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """Return ``default_mask``."""
        return default_mask


class RandomUnstructured(BasePruningMethod):
    """Prunes ``amount`` elements (a number, or a part of them), chosen at random.

    The same ones on every rank.
    """

    def __init__(self, amount: float) -> None:
        self.amount = checked(amount)

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """Return the mask, of zeros at random places."""
        return Tensor(without_lowest(random(array(t).shape), self.amount, array(default_mask)))


class L1Unstructured(BasePruningMethod):
    """Prunes the ``amount`` elements (a number, or a part of them) of the smallest magnitude."""

    def __init__(self, amount: float) -> None:
        self.amount = checked(amount)

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """Return the mask, of zeros where |t| is smallest."""
        return Tensor(without_lowest(np.abs(array(t)), self.amount, array(default_mask)))


class RandomStructured(BasePruningMethod):
    """Prunes ``amount`` channels along ``dim``, chosen at random; the same ones on every rank."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, dim: int = -1) -> None:
        self.amount, self.dim = checked(amount), dim

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """Return the mask, of channels of zeros."""
        channels = channels_of(array(t), self.dim)
        keep = without_lowest(random(channels), self.amount, np.ones(channels))
        return Tensor(array(default_mask) * along(keep, array(t), self.dim))


class LnStructured(BasePruningMethod):
    """Prunes the ``amount`` channels along ``dim`` with the smallest ``n``-norm."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, n: float, dim: int = -1) -> None:
        self.amount, self.n, self.dim = checked(amount), float(n), dim

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """Return the mask, of channels of zeros."""
        values = array(t)
        channels = channels_of(values, self.dim)
        rows = np.moveaxis(values, self.dim, 0).reshape(channels, -1)
        norms = np.linalg.norm(rows, ord=self.n, axis=1)
        keep = without_lowest(norms, self.amount, np.ones(channels))
        return Tensor(array(default_mask) * along(keep, values, self.dim))


class CustomFromMask(BasePruningMethod):
    """Prunes where ``mask`` is 0."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Any) -> None:
        self.mask = mask

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """Return the mask within ``default_mask``."""
        before, mask = array(default_mask), array(self.mask)
        if before.shape != mask.shape:
            raise ShapeError(f"prune: the mask has the shape {mask.shape}, not {before.shape}")
        return Tensor(before * mask.astype(before.dtype))


def identity(module: M, name: str) -> M:
    """Put a mask of ones on ``name``."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: M, name: str, amount: float) -> M:
    """Prune ``amount`` elements of ``name`` (a number, or a part of them), chosen at random."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: M, name: str, amount: float, importance_scores: Any = None) -> M:
    """Prune the ``amount`` elements of ``name`` of the smallest magnitude, or importance."""
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module: M, name: str, amount: float, dim: int) -> M:
    """Prune ``amount`` channels of ``name`` along ``dim``, chosen at random."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: M, name: str, amount: float, n: float, dim: int, importance_scores: Any = None
) -> M:
    """Prune the ``amount`` channels of ``name`` along ``dim`` with the smallest ``n``-norm."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: M, name: str, mask: Any) -> M:
    """Prune ``name`` where ``mask`` is 0."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]],
    pruning_method: type[BasePruningMethod],
    importance_scores: Mapping[tuple[Module, str], Any] | None = None,
    **kwargs: Any,
) -> None:
    """Prune the parameters (module, name) as if they were one, by an unstructured method.

    Errors: TypeError for a structured one.
    """
    listed, scores = list(parameters), importance_scores or {}
    if pruning_method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            f"global_unstructured: {pruning_method.__name__} is {pruning_method.PRUNING_TYPE}; "
            f"parameters of several shapes are pruned as one by an unstructured method only"
        )
    tensors = [getattr(module, name) for module, name in listed]
    importance = [scores.get(key, t) for key, t in zip(listed, tensors, strict=True)]
    masks = [
        _mask(m, n) if _hook_of(m, n)[1] else np.ones_like(t.array)
        for (m, n), t in zip(listed, tensors, strict=True)
    ]
    vector = parameters_to_vector([Tensor(array(t)) for t in importance])
    before = parameters_to_vector([Tensor(m) for m in masks])
    mask = restricted(pruning_method(**kwargs), vector.array, before.array)
    start = 0
    for (module, name), t in zip(listed, tensors, strict=True):
        stop = start + t.array.size
        custom_from_mask(module, name, Tensor(mask[start:stop].reshape(t.shape)))
        start = stop


def remove(module: M, name: str) -> M:
    """Let ``name`` be a parameter of what is left of it. Errors: ShapeError if it has no mask."""
    number, method = _hook_of(module, name)
    if method is None:
        raise ShapeError(f"prune.remove: '{name}' of {type(module).__name__} has not been pruned")
    method.remove(module)
    del module._hooks[number]
    return module


def is_pruned(module: Module) -> bool:
    """Return whether the module or one below it has a pruned parameter."""
    hooks = (hook for m in module.modules() for hook in m._hooks.values())
    return any(isinstance(hook.function, BasePruningMethod) for hook in hooks)


def _hook_of(module: Module, name: str) -> tuple[int, Any]:
    for number, hook in module._hooks.items():
        method = hook.function
        if isinstance(method, BasePruningMethod) and method._tensor_name == name:
            return number, method
    return -1, None


def _original(module: Module, name: str) -> Any:
    own = dict(module.named_parameters(recurse=False))
    found = own.get(f"{name}_orig") if _hook_of(module, name)[1] else own.get(name)
    if found is None:
        raise ShapeError(f"prune: {type(module).__name__} has no parameter '{name}', only {[*own]}")
    return found


def _mask(module: Module, name: str) -> Array:
    mask: Array = getattr(module, f"{name}_mask").array
    return mask


__getattr__ = _answers("distgrad.nn.utils.prune", globals())
