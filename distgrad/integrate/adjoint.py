"""``odeint_adjoint``: gradients by solving backwards, in memory that does not grow with the steps.

Chen, Rubanova, Bettencourt & Duvenaud, Neural Ordinary Differential Equations, 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from distgrad.autograd import engine
from distgrad.autograd.function import Function, once_differentiable
from distgrad.autograd.mode import enable_grad
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import GradError, ShapeError
from distgrad.integrate.odeint import checked_times, flat_problem, odeint
from distgrad.integrate.steps import Field


def odeint_adjoint(
    func: Callable[..., Any],
    y0: Any,
    t: TensorLike,
    *,
    rtol: float = 1e-7,
    atol: float = 1e-9,
    method: str | None = None,
    options: dict[str, Any] | None = None,
    event_fn: Any = None,
    adjoint_rtol: float | None = None,
    adjoint_atol: float | None = None,
    adjoint_method: str | None = None,
    adjoint_options: dict[str, Any] | None = None,
    adjoint_params: Iterable[Tensor] | None = None,
) -> Any:
    """Return what ``odeint`` does; its backward pass solves the adjoint equation from the end.

    Gradients reach y0, t and the parameters of ``func``, an nn.Module, or ``adjoint_params``: of
    nothing else that func reads. They are as exact as the tolerances, of first order alone.
    Errors: GradError for a func without ``parameters()`` where adjoint_params is left out.
    """
    if adjoint_params is None:
        parameters = getattr(func, "parameters", None)
        if parameters is None:
            raise GradError(
                "odeint_adjoint: func must be an nn.Module for its parameters to be found, or name "
                "the tensors it depends on: adjoint_params=(…), () for none"
            )
        adjoint_params = parameters()
    if adjoint_method not in (None, method) and options and adjoint_options is None:
        raise ShapeError(
            f"odeint_adjoint: options={options} are those of {method=}; say which adjoint_method="
            f"{adjoint_method!r} has: adjoint_options={{…}}"
        )
    wanted = tuple([p for p in adjoint_params if p.requires_grad])
    y, field, rebuilt = flat_problem(func, y0)
    times = checked_times(t, y)
    forward = {"rtol": rtol, "atol": atol, "method": method, "options": options}
    forward["event_fn"] = event_fn
    backward = {
        "rtol": rtol if adjoint_rtol is None else adjoint_rtol,
        "atol": atol if adjoint_atol is None else adjoint_atol,
        "method": method if adjoint_method is None else adjoint_method,
        "options": options if adjoint_options is None else adjoint_options,
    }
    if isinstance(backward["options"], dict):
        backward["options"] = {k: v for k, v in backward["options"].items() if k != "first_step"}
    found = _Adjoint.apply(field, forward, backward, len(y), times, *y, *wanted)
    return rebuilt(found)


class _Adjoint(Function):
    """The solution at all times of (times, *y, *parameters)."""

    @staticmethod
    def forward(
        ctx: Any,
        field: Field,
        settings: dict[str, Any],
        backward: dict[str, Any],
        parts: int,
        times: Tensor,
        *tensors: Tensor,
    ) -> Any:
        y, parameters = tensors[:parts], tensors[parts:]
        solution = odeint(field, y, times, **settings)
        ctx.field, ctx.settings, ctx.parts = field, backward, parts
        ctx.save_for_backward(times, *solution, *parameters)
        return solution

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        n, field = ctx.parts, ctx.field
        times, *rest = ctx.saved_tensors
        solution, parameters = rest[:n], rest[n:]

        def slopes(t: Any, state: Any) -> Any:
            """dy/dt and the adjoints' -aᵀ ∂f/∂(t, y, parameters)."""
            y, a = state[1 : 1 + n], state[1 + n : 1 + 2 * n]
            with enable_grad():
                now = Tensor(t.array, requires_grad=True)
                leaves = [Tensor(v.array, requires_grad=True) for v in y]
                f = [v if isinstance(v, Tensor) else Tensor(v) for v in field(now, tuple(leaves))]
                inputs = [now, *leaves, *parameters]
                pairs = [(v, w) for v, w in zip(f, a, strict=True) if v.requires_grad]
                found: list[Any] = [None] * len(inputs)
                if pairs:
                    found = engine.grad(
                        [v for v, _ in pairs],
                        inputs,
                        gradient=[Tensor(-w.array) for _, w in pairs],
                        allow_unused=True,
                    )
            zeros = [
                np.zeros(x.shape, x.dtype) if g is None else g.array
                for g, x in zip(found, inputs, strict=True)
            ]
            moved = [Tensor(z) for z in zeros]
            return (moved[0], *[Tensor(v.array) for v in f], *moved[1:])

        def at(k: int) -> list[Tensor]:
            return [Tensor(s.array[k]) for s in solution]

        adjoint = [np.array(g.array[-1]) for g in gradients]
        of_parameters = [np.zeros(p.shape, p.dtype) for p in parameters]
        of_times = np.zeros(times.shape, times.dtype)
        of_start = np.zeros((), times.dtype)
        for k in range(len(times) - 1, 0, -1):
            y, now = at(k), Tensor(times.array[k])
            # Moving an output's own time moves it along f.
            f = field(now, tuple(y))
            moved = sum(
                float(np.sum(np.asarray(getattr(v, "data", v)) * g.array[k]))
                for v, g in zip(f, gradients, strict=True)
            )
            of_times[k] = moved
            of_start = of_start - np.asarray(moved, times.dtype)
            state = (of_start, *[v.array for v in y], *adjoint, *of_parameters)
            span = Tensor(np.array([times.array[k], times.array[k - 1]]))
            found = odeint(
                slopes, tuple(Tensor(np.asarray(s)) for s in state), span, **ctx.settings
            )
            ends = [np.array(v.array[1]) for v in found]
            of_start, adjoint, of_parameters = ends[0], ends[1 + n : 1 + 2 * n], ends[1 + 2 * n :]
            adjoint = [a + g.array[k - 1] for a, g in zip(adjoint, gradients, strict=True)]
        of_times[0] = of_start
        return (
            *(None, None, None, None),
            *map(Tensor, (of_times, *adjoint, *of_parameters)),
        )
