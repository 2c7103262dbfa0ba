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

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "function" in vars(cls):
            cls._parameters = tuple(inspect.signature(cls.function).parameters)

    def _keep(self, **settings: Any) -> None:
        """Set attributes; ``weight`` and ``pos_weight`` become buffers: they are in the state."""
        for name, value in settings.items():
            if name in {"weight", "pos_weight"} and value is not None:
                self.register_buffer(name, wrap(value))
            else:
                setattr(self, name, value)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Call the function on the inputs, which have its names."""
        settings = self._settings()
        for name in (*self._parameters[: len(inputs)], *named):
            # No setting: a hook may keep what it saw in ``module.input``.
            settings.pop(name, None)
        return type(self).function(*inputs, **named, **settings)

    def extra_repr(self) -> str:
        """Return the settings."""
        hidden = {*self.unshown, "weight", "pos_weight", "training"}
        settings = self._settings()
        if not settings.get("inplace"):
            hidden.add("inplace")
        return ", ".join(f"{n}={v!r}" for n, v in settings.items() if n not in hidden)

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._parameters if hasattr(self, name)}
