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
from distgrad.errors import CaptureError


class Whole(Op):
    """The op that a call of ``function`` is: its inputs are the Tensors and arrays of the call."""

    def __init__(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        self.given: list[Any] = []
        """The Tensors and arrays, in order."""
        self.form = Tree((tuple(args), dict(kwargs)), self._collected)
        """The arguments, with Leaves for these."""
        on_tape = grad_enabled.get()
        self._needs = [isinstance(x, Tensor) and x.requires_grad and on_tape for x in self.given]
        self._tensors = [isinstance(x, Tensor) for x in self.given]
        self._call = function
        self.keeps_form: bool = getattr(function, "keeps_form", False)
        """Whether shapes and dtypes of what comes out follow from those of what goes in."""
        self._result: Tree | None = None
        """What it returns, with Leaves for the outputs."""
        self._on_tape: list[bool] = []
        """Which of them have a gradient."""

        def body(*arrays: Array) -> Any:
            if any(isinstance(a, Tensor) for a in arrays):  # it is to be run again on the tape
                raise CaptureError("gradients of first order only")  # rerun says whose, and where
            return self._run(arrays)

        super().__init__(body, ("... -> ...",), None, (-2.0, 2.0), second_order=True)
        self.name = getattr(function, "__name__", repr(function)).strip("_")

    def shown(self, outputs: Sequence[Tensor]) -> Any:
        """Return what the function does: the outputs in their places."""
        assert self._result is not None
        found: list[Any] = [
            x if on_tape or not x.requires_grad else x.detach()
            for x, on_tape in zip(outputs, self._on_tape, strict=True)
        ]
        return self._result.fill(found)

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
        args, kwargs = self.form.fill(values)
        with switched(grad_enabled, any(self._needs)):
            results = self._outputs(self._call(*args, **kwargs))

        def back(wanted: Sequence[bool], *gs: Array | None) -> list[Array | None]:
            roots = [(r, g) for r, g in zip(results, gs, strict=True) if _on_tape(r)]
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

        return tuple([r.array if isinstance(r, Tensor) else r for r in results]), Joint(back)

    def _outputs(self, result: Any) -> list[Any]:
        """The Tensors and arrays that it has returned, in a row."""
        found: list[Any] = []

        def look(x: Any) -> Leaf | None:
            if not isinstance(x, Tensor | np.ndarray):
                return None
            found.append(x)
            return Leaf(len(found) - 1, False)

        tree = Tree(result, look)
        if self._result is None:
            self._result, self._on_tape = tree, [_on_tape(x) for x in found]
        elif tree != self._result:
            raise CaptureError(
                f"{self.name}() returned something else in a replay of a captured step than when "
                f"it was recorded; leave this step uncaptured"
            )
        return found


def _on_tape(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad
