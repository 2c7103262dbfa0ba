"""What a user calls a configuration, as JSON has it: a dict, an argparse.Namespace, a dataclass."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.errors import DistgradError
from distgrad.observe.run.append import with_words

_MOST = 1000  # elements of an array that is a setting


def as_json(configuration: object) -> dict[str, Any]:
    """Return a configuration as JSON's types; functions and classes by their names.

    Errors: DistgradError naming what is no setting.
    """
    if configuration is None:
        return {}
    found = _plain(configuration, "configuration")
    if not isinstance(found, dict):
        raise DistgradError(
            f"configuration is a {type(configuration).__name__}; it takes a dict, an "
            f"argparse.Namespace or a dataclass"
        )
    return found


def flat(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings by one name each, ``optimizer/lr``, as loggers want them."""
    return dict(_flat(configuration, ""))


def _flat(configuration: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    for name, value in configuration.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{name}/")
        else:
            yield before + name, value


def _plain(value: Any, name: str) -> Any:
    """Return ``value`` as JSON's types; ``name`` says in errors what it is."""
    value = _as_builtin(value, name)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{name}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{name}[{i}]") for i, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return with_words(value)
    raise _no_setting(name, f"a {type(value).__name__}")


def _as_builtin(value: Any, name: str) -> Any:
    """Return what is known to be a setting as one of Python's own types."""
    if isinstance(value, np.generic | np.ndarray | Tensor):
        array = value.array if isinstance(value, Tensor) else np.asarray(value)
        if array.size > _MOST:
            raise _no_setting(name, f"an array of {array.size:,} elements")
        value = array.tolist()
    elif isinstance(value, Enum):
        value = value.name
    elif isinstance(value, os.PathLike):
        value = os.fspath(value)
    elif isinstance(value, set | frozenset):
        value = sorted(value, key=repr)
    elif is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    elif _is_namespace(value):
        value = vars(value)
    elif callable(value) and hasattr(value, "__qualname__"):
        value = f"{value.__module__}.{value.__qualname__}"
    return value


def _is_namespace(value: object) -> bool:
    module = sys.modules.get("argparse")  # whoever has one has imported it
    return module is not None and isinstance(value, module.Namespace)


def _no_setting(name: str, what: str) -> DistgradError:
    return DistgradError(
        f"{name} is {what}, which JSON cannot hold: leave it out, or say it as text or a number"
    )
