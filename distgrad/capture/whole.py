"""A stretch of a step that is run as it is each time, on a tape of its own, as if it were an op."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.engine import grad
from distgrad.autograd.mode import grad_enabled, switched
from distgrad.autograd.node import Joint
from distgrad.autograd.op import Op
from distgrad.autograd.tensor import Tensor, output
from distgrad.autograd.types import Array
from distgrad.capture.later import Later
from distgrad.capture.tree import Leaf, Tree


class Whole(Op):
    """The op that a call of ``function`` is: its inputs are the Tensors and arrays of the call."""

    def __init__(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        self.given: list[Any] = []
        """The Tensors and arrays, in order."""
        self._form = Tree((tuple(args), dict(kwargs)), self._collected)
        self._needs = [isinstance(x, Tensor) and x.requires_grad for x in self.given]
        self._tensors = [isinstance(x, Tensor) for x in self.given]
        self._call = function

        def body(*arrays: Array) -> Any:
            return self._run(arrays)

        super().__init__(body, ("... -> ...",), None, (-2.0, 2.0), second_order=False)
        self.name = getattr(function, "__name__", repr(function)).strip("_")

    def _collected(self, x: Any) -> Leaf | None:
        if isinstance(x, Later):
            x.refuse()
        if not isinstance(x, Tensor | np.ndarray):
            return None
        self.given.append(x)
        return Leaf(len(self.given) - 1, False)

    def _run(self, arrays: Sequence[Array]) -> Any:
        values: list[Any] = [
            Tensor(a, requires_grad=needs) if tensor else a
            for a, tensor, needs in zip(arrays, self._tensors, self._needs, strict=True)
        ]
        args, kwargs = self._form.fill(values)
        with switched(grad_enabled, any(self._needs)):
            result = self._call(*args, **kwargs)
        results = result if isinstance(result, tuple) else (result,)

        def back(wanted: Sequence[bool], *gs: Array | None) -> list[Array | None]:
            roots = [(r, g) for r, g in zip(results, gs, strict=True) if r.requires_grad]
            roots = [(r, g) for r, g in roots if g is not None]
            leaves = [x for x, asked in zip(values, wanted, strict=True) if asked]
            with switched(grad_enabled, True):
                found = iter(
                    grad(
                        [r for r, _ in roots],
                        leaves,
                        gradient=[output(g, None, 0) for _, g in roots],
                        allow_unused=True,
                    )
                    if roots
                    else [None] * len(leaves)
                )
            arrived = [next(found) if asked else None for asked in wanted]
            return [None if g is None else g.array for g in arrived]

        arrays_out = tuple([r.array for r in results])
        return (arrays_out if isinstance(result, tuple) else arrays_out[0]), Joint(back)
