"""``autograd.Function``: a user's own forward and backward, in the form PyTorch gives them.

``@dg.op`` is the shorter way to declare an operation; a Function is taken so that code written for
PyTorch runs as it is.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.mode import grad_enabled, no_grad, watching
from distgrad.autograd.node import CONSTANT, Joint, Node
from distgrad.autograd.record import edges_from
from distgrad.autograd.saved_check import saved_tensors
from distgrad.autograd.tensor import Tensor, output
from distgrad.autograd.types import Shape
from distgrad.errors import GradError


class FunctionCtx:
    """What a Function's forward leaves for its backward; any attribute may be set on it."""

    needs_input_grad: tuple[bool, ...] = ()
    materialize_grads = True
    _saved: tuple[Tensor | None, ...] = ()
    _not_differentiable: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors (inputs, results or others; None too) for ``saved_tensors``."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise GradError(
                    f"save_for_backward can only save Tensors, but got {type(t).__name__}; keep "
                    f"other objects as attributes of ctx"
                )
        self._saved = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Do nothing: a Function's ``jvp`` is never asked for (dg.jvp uses backward twice)."""

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What ``save_for_backward`` was given. Errors: GradError if changed in place since."""
        return self._saved

    def mark_non_differentiable(self, *results: Tensor) -> None:
        """Say that these results have no gradient."""
        self._not_differentiable = results

    def set_materialize_grads(self, value: bool) -> None:
        """Say whether the gradient of a result that was not used is zeros (or None)."""
        self.materialize_grads = value

    def mark_dirty(self, *inputs: Tensor) -> None:
        """Errors: GradError: a Function returns new tensors here."""
        raise GradError(
            "mark_dirty: a Function that changes its inputs in place has no place on this tape; "
            "compute a new tensor from a copy and return that"
        )


class Function:
    """The base of an operation with its own gradient: ``class Exp(dg.autograd.Function)``.

    ``forward(ctx, *inputs)``, or ``forward(*inputs)`` with ``setup_context(ctx, inputs, output)``,
    computes Tensors without recording; ``backward(ctx, *gradients)`` returns a gradient (or None)
    for each input. Both are static methods; ``Exp.apply(x)`` calls it. Written in recordable
    operations, ``backward`` gives gradients of gradients.
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the results."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Keep for backward what it needs, where ``forward`` takes no ctx."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Return the gradients to the inputs from those to the results."""
        raise NotImplementedError(
            "You must implement the backward function for your custom autograd.Function to use it "
            "with backward passes."
        )

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Compute the function and record it. Errors: GradError for results that are no Tensors."""
        ctx = FunctionCtx()
        ctx.needs_input_grad = tuple([isinstance(a, Tensor) and a.requires_grad for a in args])
        record = grad_enabled.get() and any(ctx.needs_input_grad)
        with no_grad():
            if cls.setup_context is Function.setup_context:
                result = cls.forward(ctx, *args)
            else:
                result = cls.forward(*args)
                cls.setup_context(ctx, args, result)
        several = isinstance(result, tuple | list)
        results = tuple(result) if several else (result,)
        if not several and not isinstance(result, Tensor):
            raise GradError(
                f"{cls.__name__}.forward returned {type(result).__name__}; it must return a Tensor "
                f"or a tuple of them"
            )
        if not record:
            return result
        found = _recorded(cls, ctx, args, results)
        return found if several else found[0]


class _Applied:
    """One application, which its node has for an op. What is saved lives as long as the graph."""

    def __init__(self, cls: type[Function], step: _Backward, count: int) -> None:
        self.name = cls.__name__
        self.view = False
        self.home: object = None
        self.inputs = [f"input {i}" for i in range(count)]
        self.second_order = not getattr(cls.backward, "once_differentiable", False)
        self._step = weakref.ref(step)

    @property
    def function(self) -> Callable[..., tuple[Any, Any]]:
        """Return the values again, and closures that record themselves."""
        return self._again

    def _again(self, *inputs: Any) -> tuple[Any, Any]:
        step: Any = self._step()
        return step.values, Joint(lambda wanted, *gs: step.on_tensors(inputs, gs))


class _Backward:
    """Runs the user's backward on arrays or on Tensors."""

    def __init__(
        self, cls: type[Function], ctx: FunctionCtx, args: Sequence[Any], values: tuple[Any, ...]
    ) -> None:
        self.cls, self.ctx, self.values = cls, ctx, values if len(values) > 1 else values[0]
        self.outputs = [(v.shape, v.dtype) for v in values]
        self.shapes = [a.shape if isinstance(a, Tensor) else None for a in args]
        # Which of the saved tensors are inputs or results: those stand on the tape, and go by
        # number, since a result that was kept here would keep its own graph alive.
        number = {id(a): i for i, a in enumerate(args) if isinstance(a, Tensor)}
        self.from_inputs = {k: number[id(t)] for k, t in enumerate(ctx._saved) if id(t) in number}
        self.from_results: dict[int, int] = {}

    def on_arrays(self, *gs: Any) -> list[Any]:
        """Return arrays: a pass of first order."""
        found = self._run([None if g is None else output(g, None, 0) for g in gs])
        return [g.array if isinstance(g, Tensor) else g for g in found]

    def on_tensors(self, inputs: Sequence[Any], gs: Sequence[Any]) -> list[Any]:
        """Return Tensors that can be differentiated again."""
        plain = self.ctx._saved
        saved = list(plain)
        for k, i in self.from_inputs.items():
            saved[k] = inputs[i]
        if self.from_results:
            again: Any = self.cls.apply(*inputs)
            again = again if isinstance(again, tuple | list) else (again,)
            for k, i in self.from_results.items():
                saved[k] = again[i]
        self.ctx._saved = tuple(saved)
        try:
            return self._run(gs)
        finally:
            self.ctx._saved = plain

    def _run(self, gs: Sequence[Any]) -> list[Any]:
        name = self.cls.__name__
        if self.ctx.materialize_grads:
            gs = [
                Tensor(np.zeros(shape, dtype)) if g is None else g
                for g, (shape, dtype) in zip(gs, self.outputs, strict=True)
            ]
        found = self.cls.backward(self.ctx, *gs)
        gradients = list(found) if isinstance(found, tuple | list) else [found]
        while len(gradients) > len(self.shapes) and gradients[-1] is None:
            gradients.pop()
        if len(gradients) != len(self.shapes):
            raise GradError(
                f"function {name}Backward returned an incorrect number of gradients (expected "
                f"{len(self.shapes)}, got {len(gradients)}); return one for each input of forward, "
                f"None for those without"
            )
        for i, (g, shape) in enumerate(zip(gradients, self.shapes, strict=True)):
            if g is None or shape is None or not self.ctx.needs_input_grad[i]:
                gradients[i] = None
                continue
            gradient = g if isinstance(g, Tensor) else Tensor(np.asarray(g))
            gradients[i] = gradient
            if gradient.shape != shape and not _sums_to(gradient.shape, shape):
                raise GradError(
                    f"function {name}Backward returned an invalid gradient at index {i} - got "
                    f"{gradient.shape} but expected shape compatible with {shape}"
                )
        return gradients


def _recorded(
    cls: type[Function], ctx: FunctionCtx, args: Sequence[Any], results: tuple[Any, ...]
) -> tuple[Any, ...]:
    tensors = [r for r in results if isinstance(r, Tensor)]
    values = tuple([t.array for t in tensors])
    step = _Backward(cls, ctx, args, values)
    place = {id(t): i for i, t in enumerate(tensors)}
    for k, t in enumerate(ctx._saved):
        if id(t) in place and k not in step.from_inputs:
            step.from_results[k] = place[id(t)]
    picks = Joint(lambda wanted, *gs: step.on_arrays(*gs))
    edges, _ = edges_from(args, picks)
    joint = functools.partial(_call, step)
    watcher = watching.get()
    watch = watcher is not None and watcher.entire
    held = [t for t in ctx._saved if t is not None]
    leaves = [s for _, s, i, _, _ in edges if isinstance(s, Tensor) and i != CONSTANT]
    read, given = saved_tensors(held, entire=watch), saved_tensors(leaves, entire=watch)
    node = Node(_Applied(cls, step, len(args)), edges, joint, {}, len(values), read, given)
    without = {id(t) for t in ctx._not_differentiable}
    ctx._not_differentiable = ()
    found: list[Any] = []
    for r in results:
        if not isinstance(r, Tensor):
            found.append(r)
            continue
        on_tape = id(r) not in without and r.dtype.kind in "fc"
        found.append(output(r.array, node if on_tape else None, place[id(r)]))
    return tuple(found)


def _call(step: _Backward, *gs: Any) -> list[Any]:
    return step.on_arrays(*gs)


def _sums_to(shape: Shape, smaller: Shape) -> bool:
    """Whether an array of ``smaller`` broadcasts to ``shape``."""
    try:
        return np.broadcast_shapes(shape, smaller) == shape
    except ValueError:
        return False


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Say that a Function's ``backward`` cannot be differentiated again: GradError where asked."""

    @functools.wraps(backward)
    def first_order(*args: Any) -> Any:
        with no_grad():
            return backward(*args)

    first_order.once_differentiable = True  # type: ignore[attr-defined]
    return first_order
