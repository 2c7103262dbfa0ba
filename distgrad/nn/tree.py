"""The tree a model is: parameters, buffers and submodules by name. Knows no layer and no rank."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar, cast

import numpy as np

from distgrad.autograd.anomaly import users_line
from distgrad.autograd.mode import recorder
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import CaptureError
from distgrad.nn.parameter import Buffer, Parameter
from distgrad.nn.replaced import REPLACED

PARAMETER, BUFFER, MODULE = "parameter", "buffer", "module"

M = TypeVar("M", bound="Tree[Any]")


class Tree(Generic[M]):
    """What a module is without its behaviour: names, and the ways to walk over them.

    ``M`` is what the nodes are: ``Module`` is a tree of modules.
    """

    def __init__(self) -> None:
        # Name to kind, in order of registration. The values are plain attributes, so that reading
        # one costs what any attribute costs; None holds the place of one that is left out.
        self._registered: dict[str, str] = {}
        self._transient: set[str] = set()  # buffers that are not saved

    # -- registering --------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._register(name, PARAMETER, value)
        elif isinstance(value, Tree):
            self._register(name, MODULE, value)
        elif isinstance(value, Buffer):
            self.register_buffer(name, value, value.persistent)
        else:
            kind = vars(self).get("_registered", {}).get(name)
            fits = kind is None or value is None or (kind == BUFFER and isinstance(value, Tensor))
            if not fits:
                raise TypeError(
                    f"'{name}' of {type(self).__name__} is a {kind}: assign {_article(kind)} or "
                    f"None, not {_described(value)}; del the attribute first if it is to become "
                    f"something else"
                )
            if kind is not None:
                self._replaces(name, kind, value)
            object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        if name in self._registered:
            REPLACED.note(vars(self).get(name))
        object.__delattr__(self, name)
        self._registered.pop(name, None)
        self._transient.discard(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; None keeps a place for one, which is not in the state.

        Errors: TypeError for another type, KeyError for a name that is taken, empty or dotted.
        """
        self._check_name(name, PARAMETER)
        self._check_type(name, PARAMETER, param, Parameter)
        self._register(name, PARAMETER, param)

    def register_buffer(
        self, name: str, tensor: Tensor | Array | None, persistent: bool = True
    ) -> None:
        """Add state that is not trained; it is saved with the model if ``persistent``.

        An array becomes a Tensor (over the same memory), which is what the attribute holds.
        Errors: TypeError for another type, KeyError for a name that is taken, empty or dotted.
        """
        self._check_name(name, BUFFER)
        tensor = Tensor(tensor) if isinstance(tensor, np.ndarray) else tensor
        self._check_type(name, BUFFER, tensor, Tensor)
        self._register(name, BUFFER, tensor)
        if persistent:
            self._transient.discard(name)
        else:
            self._transient.add(name)

    def register_module(self, name: str, module: M | None) -> None:
        """Add a submodule, as assigning it does, under any name; None keeps a place.

        Errors: TypeError for another type, KeyError for a name that is taken, empty or dotted.
        """
        self._check_name(name, MODULE)
        self._check_type(name, MODULE, module, Tree)
        self._register(name, MODULE, module)

    def add_module(self, name: str, module: M | None) -> None:
        """``register_module``."""
        self.register_module(name, module)

    def _register(self, name: str, kind: str, value: Any) -> None:
        registered = self._made()
        self._replaces(name, kind, value)
        object.__setattr__(self, name, value)
        if registered.get(name) != kind:
            registered.pop(name, None)
            self._transient.discard(name)
            registered[name] = kind

    def _replaces(self, name: str, kind: str, value: Any) -> None:
        own = vars(self)
        old = own.get(name)
        if name in own and value is old:  # as ``self.count += 1``, which assigns what it wrote to
            return
        REPLACED.note(old if isinstance(old, Tensor | Tree) else None)
        if name in own and recorder() is not None:
            raise CaptureError(
                f"{users_line()}: the {kind} '{name}' of {type(self).__name__} would be assigned "
                f"once, not by each replay of a captured step; write self.{name}.copy_(…) inside "
                f"dg.no_grad()"
            )

    def _made(self) -> dict[str, str]:
        registered: dict[str, str] | None = vars(self).get("_registered")
        if registered is None:
            raise TypeError(
                f"{type(self).__name__}.__init__ must call super().__init__() before it assigns "
                f"parameters or modules, and before the module is used"
            )
        return registered

    def _check_name(self, name: str, kind: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a {kind} is a string; got {name!r}")
        if not name or "." in name:
            raise KeyError(f"the name of a {kind} is not empty and has no dot; got {name!r}")
        if hasattr(self, name) and self._made().get(name) != kind:
            raise KeyError(f"{type(self).__name__} has an attribute '{name}' already")

    def _check_type(self, name: str, kind: str, value: Any, wanted: type) -> None:
        if value is not None and not isinstance(value, wanted):
            raise TypeError(
                f"the {kind} '{name}' must be {_article(kind)} or None; got {_described(value)}"
            )

    # -- walking ------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, M]]:
        """Yield (name, module) for the direct submodules, in order of assignment, each once."""
        seen: set[int] = set()
        for name, module in self._own(MODULE):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[M]:
        """Yield the direct submodules, each once."""
        return (m for _, m in self.named_children())

    def named_modules(
        self, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, M]]:
        """Yield (dotted name, module) for this module and all below it, each once."""
        return self._walk(prefix, set() if remove_duplicate else None)

    def modules(self) -> Iterator[M]:
        """Yield this module and all below it, each once."""
        return (m for _, m in self.named_modules())

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Yield (dotted name, parameter); a shared one under its first name only."""
        return self._named(PARAMETER, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield every parameter once; without ``recurse`` only this module's own."""
        if not recurse or type(self).named_parameters is not Tree.named_parameters:
            return (p for _, p in self.named_parameters(recurse=recurse))
        # The usual case, asked for at every step: without names, at a third of the cost.
        found: dict[int, Parameter] = {}
        self._collect(set(), found)
        return iter(found.values())

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield (dotted name, buffer); a shared one under its first name only."""
        return self._named(BUFFER, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yield every buffer once; without ``recurse`` only this module's own."""
        return (t for _, t in self.named_buffers(recurse=recurse))

    def _own(self, kind: str) -> Iterator[tuple[str, Any]]:
        """Yield (name, value) of one kind of this module, one that is shared as often as named."""
        values = vars(self)
        for name, held in self._made().items():
            if held == kind and values[name] is not None:
                yield name, values[name]

    def _collect(self, seen: set[int], found: dict[int, Parameter]) -> None:
        """Add the parameters of this module and all below it, each once, by ``id``."""
        seen.add(id(self))
        values, children = vars(self), []
        for name, kind in self._made().items():
            value = values[name]
            if kind == PARAMETER and value is not None:
                found.setdefault(id(value), value)
            elif kind == MODULE and value is not None:
                children.append(value)
        for child in children:
            if id(child) not in seen:
                child._collect(seen, found)

    def _walk(self, prefix: str, seen: set[int] | None) -> Iterator[tuple[str, M]]:
        if seen is not None:
            if id(self) in seen:
                return
            seen.add(id(self))
        self._made()
        yield prefix, cast(M, self)
        for name, child in self._own(MODULE):
            yield from child._walk(_joined(prefix, name), seen)

    def _named(
        self, kind: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        places: Iterable[tuple[str, Tree[M]]] = [(prefix, self)]
        if recurse:
            places = self.named_modules(prefix, remove_duplicate)
        seen: set[int] = set()
        for path, module in places:
            for name, value in module._own(kind):
                if remove_duplicate and id(value) in seen:
                    continue
                seen.add(id(value))
                yield _joined(path, name), value

    # -- by name ------------------------------------------------------------------------------

    def get_submodule(self, target: str) -> M:
        """Return the module of a dotted name ("" is this one). Errors: AttributeError."""
        module: Any = self
        for part in target.split(".") if target else ():
            found = vars(module).get(part)
            if not isinstance(found, Tree):
                raise AttributeError(
                    f"no submodule '{target}': {type(module).__name__} has no module '{part}', "
                    f"only {[n for n, _ in module._own(MODULE)]}"
                )
            module = found
        return cast(M, module)

    def set_submodule(self, target: str, module: M) -> None:
        """Put ``module`` in the place of a dotted name. Errors: AttributeError."""
        path, _, name = target.rpartition(".")
        if not name:
            raise AttributeError("set_submodule needs the name of a submodule; got an empty one")
        parent: Any = self.get_submodule(path)
        self._check_type(name, MODULE, module, Tree)
        parent._register(name, MODULE, module)

    def get_parameter(self, target: str) -> Parameter:
        """Return the parameter of a dotted name. Errors: AttributeError."""
        return cast(Parameter, self._get(target, PARAMETER))

    def get_buffer(self, target: str) -> Tensor:
        """Return the buffer of a dotted name. Errors: AttributeError."""
        return cast(Tensor, self._get(target, BUFFER))

    def _get(self, target: str, kind: str) -> Any:
        path, _, name = target.rpartition(".")
        own = dict(self.get_submodule(path)._own(kind))
        if name not in own:
            raise AttributeError(f"no {kind} '{target}'; '{path}' has {list(own) or 'none'}")
        return own[name]


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _article(kind: str) -> str:
    return {PARAMETER: "a Parameter", BUFFER: "a Tensor", MODULE: "a Module"}[kind]


def _described(value: Any) -> str:
    name = type(value).__name__
    # Its values belong into the parameter's own array, which optimizers and buckets hold.
    hint = " (to change a parameter's values, write to its .data[...])"
    return name + (hint if isinstance(value, Tensor) else "")
