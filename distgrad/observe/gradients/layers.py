"""A model's layers as rows of a table, and the norms of arrays by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.nn import Embedding, Module
from distgrad.optim.clip import layer_of
from distgrad.optim.norms import squares


class Layers:
    """The modules that hold trained parameters themselves, in the model's order."""

    def __init__(self, module: Module) -> None:
        self.params: dict[str, Tensor] = {
            n: p for n, p in module.named_parameters() if p.requires_grad
        }
        self.names = list(dict.fromkeys(map(layer_of, self.params)))
        row = {layer: i for i, layer in enumerate(self.names)}
        self.row_of = {n: row[layer_of(n)] for n in self.params}
        self.compared: Array = np.zeros(len(self.names), bool)
        """Which layers have a weight matrix with a gradient everywhere, unlike an embedding's."""
        tables = {name for name, m in module.named_modules() if isinstance(m, Embedding)}
        for n, p in self.params.items():
            self.compared[self.row_of[n]] |= p.ndim > 1 and layer_of(n) not in tables

    def __len__(self) -> int:
        return len(self.names)

    def add_squares(self, out: Array, arrays: Iterable[tuple[str, Array]]) -> None:
        """Add each array's sum of squares to the row of the parameter's layer."""
        for name, a in arrays:
            out[self.row_of[name]] += squares(a)

    def norms(self, arrays: Mapping[str, Array | None]) -> Array:
        """Return each layer's 2-norm: NaN where it has no array, infinity where not finite."""
        out = np.full(len(self), np.nan)
        present = [(n, a) for n, a in arrays.items() if a is not None]
        for name, _ in present:
            out[self.row_of[name]] = 0
        used = ~np.isnan(out)
        self.add_squares(out, present)
        out[used] = finite_or_infinity(np.sqrt(out[used]))
        return out


def finite_or_infinity(norms: Array) -> Array:
    """Return ``norms`` with infinity in place of NaN."""
    return np.where(np.isfinite(norms), norms, np.inf)


class Copies:
    """Copies of the weights, to see how far a step moves them."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        self._copies = {n: np.empty_like(p.array) for n, p in layers.params.items()}

    def take(self) -> None:
        """Remember the weights as they are."""
        for n, p in self._layers.params.items():
            np.copyto(self._copies[n], p.array)

    def moved(self) -> Array:
        """Return each layer's norm of what was added since; ends what was remembered."""
        for n, p in self._layers.params.items():
            np.subtract(p.array, self._copies[n], out=self._copies[n])
        return self._layers.norms(self._copies)
