"""Parameters that are a function of others, computed whenever they are read.

Knows no function: those of ``parametrizations`` are modules like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from distgrad.autograd.mode import no_grad
from distgrad.autograd.tensor import Tensor
from distgrad.errors import ShapeError
from distgrad.missing import answers as _answers
from distgrad.nn.container import ModuleDict, ModuleList
from distgrad.nn.module import Module, Parameter
from distgrad.nn.tree import BUFFER, PARAMETER

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]

M = TypeVar("M", bound=Module)

_cache: ContextVar[dict[tuple[int, str], Tensor] | None] = ContextVar("parametrized", default=None)


@contextmanager
def cached() -> Iterator[None]:
    """Compute each parametrized tensor once inside ``with``, at its first use."""
    token = _cache.set({} if _cache.get() is None else _cache.get())
    try:
        yield
    finally:
        _cache.reset(token)


class ParametrizationList(ModuleList):
    """The functions of one tensor, the first applied first, and what it is computed from.

    ``original``, or ``original0``, ``original1``, … where the last function's ``right_inverse``
    returns several.
    """

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise ShapeError("ParametrizationList needs at least one module")
        super().__init__(modules)
        self.unsafe = unsafe
        new: Any = original
        with no_grad():
            for module in reversed(modules):
                new = _inverted(module, new)
        self.ntensors = 0 if isinstance(new, Tensor) else len(new)
        if isinstance(new, Tensor):
            self._hold("original", original, new)
        else:
            for i, part in enumerate(new):
                self._hold(f"original{i}", None if i else original, part)
        if not unsafe:
            with no_grad():
                _check_same(type(self).__name__, original, self())

    @property
    def is_tensor(self) -> bool:
        """Whether it is computed from one tensor."""
        return self.ntensors == 0

    def forward(self) -> Any:
        """Return the tensor, computed from what it is made of."""
        first, *others = list(self)
        x = first(*self.originals())
        for module in others:
            x = module(x)
        return x

    def originals(self) -> list[Any]:
        """Return what it is computed from."""
        if self.is_tensor:
            return [vars(self)["original"]]
        return [getattr(self, f"original{i}") for i in range(self.ntensors)]

    def right_inverse(self, value: Tensor) -> None:
        """Let what it is computed from be such that the tensor is ``value``.

        Errors: ShapeError for a function without ``right_inverse``, or another shape.
        """
        with no_grad():
            new: Any = value
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise ShapeError(
                        f"{type(module).__name__} has no right_inverse(value), so that its result "
                        f"cannot be assigned to"
                    )
                new = module.right_inverse(new)
            parts = [new] if self.is_tensor else list(new)
            for old, part in zip(self.originals(), parts, strict=True):
                _check_same("right_inverse", old, part)
                old.array[...] = part.array

    def _hold(self, name: str, original: Tensor | None, new: Tensor) -> None:
        """Register ``new``, in the place of ``original`` if there is room in it."""
        fits = original is not None and original.shape == new.shape and original.dtype == new.dtype
        if fits:
            assert original is not None
            if original.array is not new.array:
                original.array[...] = new.array
            new = original
        elif original is None or isinstance(original, Parameter):
            new = Parameter(new, requires_grad=original is None or original.requires_grad)
        if isinstance(new, Parameter):
            self.register_parameter(name, new)
        else:
            self.register_buffer(name, new)


def register_parametrization(
    module: M, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> M:
    """Let ``module.tensor_name`` be ``parametrization`` of its present value, or of what it is.

    The module's class becomes one of its own, and ``module.parametrizations[tensor_name]`` holds
    what is trained. With a ``right_inverse(value)`` the tensor keeps its value, and can be assigned
    to. Make optimizer and DistributedDataParallel after it. Errors: ShapeError for a tensor that is
    not there, or (unless ``unsafe``) a function that changes shape or dtype.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            with no_grad():
                before = getattr(module, tensor_name)
                _check_same(type(parametrization).__name__, before, parametrization(before))
        listed: Any = vars(module)["parametrizations"][tensor_name]
        listed.append(parametrization)
        listed.unsafe |= unsafe
        return module
    own = dict(module._own(PARAMETER)) | dict(module._own(BUFFER))
    if tensor_name not in own:
        raise ShapeError(
            f"register_parametrization: {type(module).__name__} has no parameter or buffer "
            f"'{tensor_name}', only {list(own)}"
        )
    listed = ParametrizationList([parametrization], own[tensor_name], unsafe)
    delattr(module, tensor_name)
    if not is_parametrized(module):
        module.__class__ = _class_of_its_own(type(module))  # type: ignore[assignment]
        module.parametrizations = ModuleDict()
    setattr(type(module), tensor_name, property(_Reader(tensor_name)))
    vars(module)["parametrizations"][tensor_name] = listed
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Return whether a tensor of the module, or the one of that name, is parametrized."""
    found = vars(module).get("parametrizations")
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


def remove_parametrizations(module: M, tensor_name: str, leave_parametrized: bool = True) -> M:
    """Let ``tensor_name`` be a parameter again: of its present value, or of what it was made from.

    Errors: ShapeError for one that is not parametrized, or is made from several and not to be left
    as it is.
    """
    if not is_parametrized(module, tensor_name):
        raise ShapeError(
            f"remove_parametrizations: '{tensor_name}' of {type(module).__name__} is not "
            f"parametrized"
        )
    listed: Any = vars(module)["parametrizations"][tensor_name]
    original = listed.original if listed.is_tensor else None
    if leave_parametrized:
        with no_grad():
            value = getattr(module, tensor_name)
        if original is not None and (original.shape, original.dtype) == (value.shape, value.dtype):
            original.array[...] = value.array
        else:
            original = Parameter(value, any(t.requires_grad for t in listed.originals()))
    elif original is None:
        raise ShapeError(
            f"remove_parametrizations: '{tensor_name}' is computed from {listed.ntensors} tensors; "
            f"only leave_parametrized=True can make one of them"
        )
    parts = vars(module)["parametrizations"]
    del parts[tensor_name]
    delattr(type(module), tensor_name)
    if isinstance(original, Parameter):
        module.register_parameter(tensor_name, original)
    else:
        module.register_buffer(tensor_name, original)
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = type_before_parametrizations(module)
    return module


def type_before_parametrizations(module: Module) -> type:
    """Return the module's class without what parametrizations have made of it."""
    kind = type(module)
    return kind.__bases__[0] if "_parametrized" in vars(kind) else kind


def transfer_parametrizations_and_params(
    from_module: Module, to_module: M, tensor_name: str | None = None
) -> M:
    """Let ``to_module`` have the parametrizations of ``from_module``, with their values.

    Errors: ShapeError for a module that has none.
    """
    if not is_parametrized(from_module, tensor_name):
        raise ShapeError(f"{type(from_module).__name__} has no parametrization to be transferred")
    parts: Any = vars(from_module)["parametrizations"]
    for name in [*parts] if tensor_name is None else [tensor_name]:
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name).detach()))
        for function in parts[name]:
            register_parametrization(to_module, name, function, unsafe=True)
        mine: Any = vars(to_module)["parametrizations"][name]
        for own, its in zip(mine.originals(), parts[name].originals(), strict=True):
            own.array[...] = its.array
    return to_module


class _Reader:
    """The property's function: the tensor, from the cache if there is one."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, module: Module) -> Any:
        compute = vars(module)["parametrizations"][self.name]
        cache = _cache.get()
        if cache is None:
            return compute()
        key = (id(module), self.name)
        if key not in cache:
            cache[key] = compute()
        return cache[key]


def _class_of_its_own(kind: type[Module]) -> type[Module]:
    def assign(self: Module, name: str, value: Any) -> None:
        if is_parametrized(self, name):
            vars(self)["parametrizations"][name].right_inverse(value)
        else:
            kind.__setattr__(self, name, value)

    return type(
        f"Parametrized{kind.__name__}", (kind,), {"__setattr__": assign, "_parametrized": True}
    )


def _inverted(module: Any, value: Any) -> Any:
    if not hasattr(module, "right_inverse"):
        return value
    try:
        return module.right_inverse(value)
    except NotImplementedError:  # PyTorch's way to say that there is none
        return value


def _check_same(who: str, before: Tensor, after: Any) -> None:
    if not isinstance(after, Tensor):
        raise ShapeError(f"{who} must give a Tensor; got a {type(after).__name__}")
    if (after.shape, after.dtype) != (before.shape, before.dtype):
        raise ShapeError(
            f"{who} makes {after.dtype} of {after.shape} out of {before.dtype} of {before.shape}; "
            f"pass unsafe=True if that is meant"
        )


__getattr__ = _answers("distgrad.nn.utils.parametrize", globals())
