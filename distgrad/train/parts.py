"""The parts of a run that have a state, and their states as arrays and JSON for a checkpoint.

Saving and resuming walk one dictionary of parts; nothing here knows a part by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from distgrad.autograd.parts import writing
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.checkpoint import restore_into
from distgrad.checkpoint.manifest import SECTION
from distgrad.errors import CheckpointError, DistgradError
from distgrad.nn import Module
from distgrad.parallel import World


@runtime_checkable
class Stateful(Protocol):
    """What a checkpoint can hold: an object that tells its state and continues from one.

    A state is a mapping of lists, mappings, arrays, numbers, strings and None.
    """

    def state_dict(self) -> Mapping[str, Any]:
        """Return what a resumed run continues from."""

    def load_state_dict(self, state: Any, /) -> object:
        """Continue from ``state``, in which tuples are lists and keys strings."""


@runtime_checkable
class PerRank(Stateful, Protocol):
    """A part whose state differs between ranks: a communication hook's, a local optimizer."""

    def gather(self, world: World) -> Mapping[str, Any]:
        """Return the state of all ranks, of which ``load_state_dict`` takes its own."""


Parts: TypeAlias = Mapping[str, Stateful]
"""What a run consists of, by the names under which it is saved."""


class Weights:
    """A model as a part: it takes over the same names, shapes and dtypes, and nothing else.

    ``Module.load_state_dict`` converts dtypes, and the resumed run would have other bits.
    """

    def __init__(self, model: Module) -> None:
        self.model = model

    def state_dict(self) -> dict[str, Array]:
        """Return the model's arrays."""
        return self.model.state_arrays()

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Copy them in place. Errors: CheckpointError naming the first that does not fit."""
        with writing(self.model.parameters()):
            restore_into(state, self.model.state_arrays())


OWN = ("model", "optimizer", "state", "loader", "criteria", "schedule", "clip", "best_evaluation")
"""The names of a Trainer's own parts."""


def check_also_saved(parts: Parts) -> dict[str, Stateful]:
    """Return a user's parts as they are saved. Errors: DistgradError for what cannot be."""
    for name, part in parts.items():
        if name in OWN or not SECTION.fullmatch(name):
            raise DistgradError(
                f"also_saved={{{name!r}: …}}: choose another name, of letters, digits, _ and -, "
                f"and none of {', '.join(OWN)}"
            )
        if not isinstance(part, Stateful):
            raise DistgradError(
                f"also_saved={{{name!r}: …}}: {type(part).__name__} has no state_dict() and "
                f"load_state_dict(state), by which it would be saved"
            )
    return {n: Weights(p) if isinstance(p, Module) else p for n, p in parts.items()}


def pack(state: Mapping[str, Any]) -> tuple[dict[str, Array], Any]:
    """Split a state into its arrays, by their paths in it, and the rest, which is JSON.

    In the rest None stands for an array.
    """
    arrays: dict[str, Array] = {}

    def walk(value: Any, *path: str) -> Any:
        if isinstance(value, Tensor):
            value = value.array
        if isinstance(value, np.ndarray):
            arrays[_joined(*path)] = value
            return None
        if isinstance(value, Mapping):
            return {str(key): walk(entry, *path, str(key)) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [walk(entry, *path, str(i)) for i, entry in enumerate(value)]
        # A NumPy number, as a learning rate may be; what JSON does not know is refused by it.
        return value.item() if isinstance(value, np.generic) else value

    return arrays, walk(state)


def unpack(arrays: Mapping[str, Array], rest: Any) -> Any:
    """Put ``arrays`` into ``rest``, in place, and return it: what ``pack`` has split.

    Errors: CheckpointError naming an array that has no place in it.
    """
    for name, array in arrays.items():
        *path, last = (key.replace("~1", "/").replace("~0", "~") for key in name.split("/"))
        place = rest
        try:
            for key in path:
                place = place[int(key) if isinstance(place, list) else key]
            place[int(last) if isinstance(place, list) else last] = array
        except (LookupError, TypeError, ValueError):
            raise CheckpointError(f"there is no place for its array '{name}'") from None
    return rest


def _joined(*path: str) -> str:
    # RFC 6901, so that no name of a user's is taken for a path.
    return "/".join(key.replace("~", "~0").replace("/", "~1") for key in path)
