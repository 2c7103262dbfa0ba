"""A function of ``nn.functional`` as a module: what activations, losses and poolings share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from distgrad.nn.functional.wrap import wrap
from distgrad.nn.module import Module


class FunctionModule(Module):
    """Calls ``function`` on its inputs; what it takes besides and the module has, are its settings.

    A subclass names its function and writes a constructor, which sets attributes of the function's
    names (``_keep`` sets several). ``unshown`` names settings that the repr leaves out.
    """

    function: ClassVar[Callable[..., Any]]
    unshown: ClassVar[frozenset[str]] = frozenset()
    _parameters: ClassVar[tuple[str, ...]]
    _inputs: ClassVar[tuple[str, ...]]
    """What a call may give: the function's parameters that are no settings of the module."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "function" in vars(cls):
            cls._parameters = tuple(inspect.signature(cls.function).parameters)
            own = {*inspect.signature(cls.__init__).parameters, "training", "dtype"}
            free = [name for name in cls._parameters if not name.startswith("_")]
            cls._inputs = tuple(name for name in free if name not in own)

    def _keep(self, **settings: Any) -> None:
        """Set attributes; ``weight`` and ``pos_weight`` become buffers: they are in the state."""
        for name, value in settings.items():
            if name in {"weight", "pos_weight"} and value is not None:
                self.register_buffer(name, wrap(value))
            else:
                setattr(self, name, value)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Call the function on the inputs, which have its names.

        Errors: TypeError for more inputs, or for one that is a setting of the module.
        """
        if len(inputs) > len(self._inputs) or (named and not named.keys() <= {*self._inputs}):
            raise self._too_many(inputs, named)
        settings = self._settings()
        for name in (*self._parameters[: len(inputs)], *named):
            # No setting: a hook may keep what it saw in ``module.input``.
            settings.pop(name, None)
        return type(self).function(*inputs, **named, **settings)

    def _too_many(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> TypeError:
        who, wanted = type(self).__name__, ", ".join(self._inputs)
        foreign = [name for name in named if name not in self._inputs]
        if foreign:
            return TypeError(
                f"{who} is called with {wanted}; got {', '.join(foreign)}: settings are given when "
                f"it is made"
            )
        return TypeError(
            f"{who} is called with {wanted}; got {len(inputs)} inputs: settings are given when it "
            f"is made"
        )

    def extra_repr(self) -> str:
        """Return the settings."""
        hidden = {*self.unshown, "weight", "pos_weight", "training"}
        settings = self._settings()
        if not settings.get("inplace"):
            hidden.add("inplace")
        return ", ".join(f"{n}={v!r}" for n, v in settings.items() if n not in hidden)

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._parameters if hasattr(self, name)}
