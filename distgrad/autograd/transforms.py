"""Functions of functions: grad, vjp, jvp, jacobian, hessian, hvp, nested to any order.

Arguments and results may be nested in tuples, lists and dicts. Derivatives are taken with respect
to aliases of the arguments, so that a nested call never confuses its variable with an outer one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad.autograd import engine
from distgrad.autograd.mode import enable_grad, grad_enabled
from distgrad.autograd.nested import flatten, rebuild
from distgrad.autograd.op import alias
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Ints
from distgrad.autograd.walk import reach
from distgrad.errors import GradError, ShapeError


def grad(
    function: Callable[..., Any], argnums: Ints = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Return a function that computes the gradient of ``function``, whose result is one number.

    The gradient has the structure and shapes of argument ``argnums`` (a tuple of them for several).
    With ``has_aux`` the function returns (value, anything) and the gradient comes as
    (gradient, anything). The same as jax.grad, torch.func.grad and HIPS autograd's grad.
    Errors: GradError if the result is not a single real number.
    """
    both = value_and_grad(function, argnums, has_aux)

    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, g = both(*args, **kwargs)
        return (g, value[1]) if has_aux else g

    return gradient


def value_and_grad(
    function: Callable[..., Any], argnums: Ints = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Return a function that computes (value, gradient), of one forward pass; see ``grad``."""

    def both(*args: Any, **kwargs: Any) -> Any:
        run = _Run(function, args, kwargs, argnums, has_aux)
        value = run.single("grad")
        g = run.pull([np.ones((), value.dtype)])
        return ((run.result(), run.aux) if has_aux else run.result()), run.like_arguments(g)

    return both


def vjp(function: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """Return the value at ``primals`` and a function from cotangents to gradients.

    The cotangents have the structure and shapes of the value; the gradients come as a tuple, one
    per primal. It may be called any number of times.
    """
    run = _Run(function, primals, {}, tuple(range(len(primals))), False)

    def pull(cotangents: Any) -> Any:
        given, structure = flatten(cotangents)
        if structure != run.structure:
            raise ShapeError(
                f"vjp: the cotangents are {structure}, the function's result is {run.structure}; "
                f"pass one like the result"
            )
        return run.like_arguments(run.pull(given))

    return run.result(), pull


def jvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """Return (value, derivative along ``tangents``), which are shaped like ``primals``.

    Computed as the gradient of a gradient, which is linear in its cotangent (the "double backward"
    trick, Townsend 2017): about three times the work of the function.
    """
    run = _Run(function, tuple(primals), {}, tuple(range(len(primals))), False)
    given = run.check_tangents("jvp", tuple(tangents))
    directions = [_like(t, x) for t, x in zip(given, run.inputs, strict=True)]
    return run.result(), rebuild(run.structure, run.push(directions))


def jacobian(function: Callable[..., Any], argnums: Ints = 0) -> Callable[..., Any]:
    """Return a function that computes the Jacobian: (*shape of the value, *shape of the argument).

    One backward pass per element of the value. For nested values and arguments the Jacobians are
    nested in the same way, the value's structure outside.
    """

    def jacobians(*args: Any, **kwargs: Any) -> Any:
        run = _Run(function, args, kwargs, argnums, False)
        blocks = []
        for i, y in enumerate(run.outputs):
            rows = []
            for index in np.ndindex(y.shape):
                unit = np.zeros(y.shape, y.dtype)
                unit[index] = 1
                seeds: list[Any] = [None] * len(run.outputs)
                seeds[i] = unit
                rows.append(run.pull(seeds))
            blocks.append(
                run.like_arguments(
                    [
                        np.reshape(np.stack([r[k] for r in rows]), (*y.shape, *x.shape))
                        if rows
                        else Tensor(np.zeros((*y.shape, *x.shape), x.dtype))
                        for k, x in enumerate(run.inputs)
                    ]
                )
            )
        return rebuild(run.structure, blocks)

    return jacobians


def hessian(function: Callable[..., Any], argnums: Ints = 0) -> Callable[..., Any]:
    """Return a function that computes the second derivatives of ``function``, a single number.

    Their shape is (*shape of the argument, *shape of the argument).
    """
    return jacobian(grad(function, argnums), argnums)


def hvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """Return (value, Hessian times ``tangents``) without forming the Hessian (Pearlmutter 1994).

    ``function`` maps ``primals`` to a single number; the product has their structure, as a tuple.
    """
    run = _Run(function, tuple(primals), {}, tuple(range(len(primals))), False)
    value = run.single("hvp")
    tangents = tuple(tangents)
    run.check_tangents("hvp", tangents)

    def slope(*arguments: Any) -> Any:
        gradients = grad(function, tuple(range(len(arguments))))(*arguments)
        parts = [
            np.sum(g * _plain_or_recorded(t))
            for g, t in zip(flatten(gradients)[0], flatten(tangents)[0], strict=True)
        ]
        return sum(parts[1:], parts[0])

    product = grad(slope, tuple(range(len(primals))))(*primals)
    return _as_result(value, run), product


class _Run:
    """One call of a function whose arguments are aliased, ready to be differentiated."""

    def __init__(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        argnums: Ints,
        has_aux: bool,
    ) -> None:
        numbers, single = _numbers(argnums)
        if len({n % len(args) for n in numbers if args}) < len(numbers):
            raise GradError(f"argnums={argnums} names an argument twice")
        if any(not -len(args) <= n < len(args) for n in numbers):
            raise GradError(
                f"argnums={argnums}: the function was called with {len(args)} positional "
                f"arguments; count them from 0"
            )
        chosen = tuple(args[n] for n in numbers)
        leaves, self.given_structure = flatten(chosen)
        self._single_argument = single
        # Recorded where the caller records: the results can be differentiated again.
        self._outer = grad_enabled.get()
        with enable_grad():
            self.inputs = [_fresh(x, self._outer) for x in leaves]
            arguments = list(args)
            for n, a in zip(numbers, rebuild(self.given_structure, self.inputs), strict=True):
                arguments[n] = a
            value = function(*arguments, **kwargs)
        self.aux: Any = None
        if has_aux:
            value, self.aux = value
        results, self.structure = flatten(value)
        self.outputs = [r if isinstance(r, Tensor) else Tensor(np.asarray(r)) for r in results]
        self._create = self._outer and self._depends_on_more()

    def single(self, what: str) -> Tensor:
        """Return the only number of the result. Errors: GradError if there are more."""
        y = self.outputs[0] if len(self.outputs) == 1 else None
        if y is None or y.shape != () or y.dtype.kind != "f":
            found = "several results" if y is None else f"{y.dtype} of shape {y.shape}"
            raise GradError(
                f"{what} needs a function that returns one real number; this one returned "
                f"{found}: reduce it (.mean(), .sum()), or take jacobian or vjp"
            )
        return y

    def check_tangents(self, what: str, tangents: Any) -> list[Any]:
        """Return the leaves of tangents shaped like the primals. Errors: ShapeError."""
        given, structure = flatten(tangents)
        shapes = [np.shape(t) for t in given]
        if structure != self.given_structure or shapes != [x.shape for x in self.inputs]:
            raise ShapeError(
                f"{what}: the tangents ({_shapes(given)}) must have the structure and shapes of "
                f"the primals ({_shapes(self.inputs)})"
            )
        return given

    def result(self) -> Any:
        """Return the value in its structure, on the tape only if something outside is."""
        return rebuild(self.structure, [_as_result(y, self) for y in self.outputs])

    @property
    def recorded(self) -> bool:
        """Whether the results depend on tensors the caller differentiates."""
        return self._create

    def pull(self, cotangents: Sequence[Any]) -> list[Tensor]:
        """Return the gradients to all inputs; zeros where there is no dependence."""
        pairs = [
            (y, _like(c, y))
            for y, c in zip(self.outputs, cotangents, strict=True)
            if y.requires_grad and c is not None
        ]
        found: list[Any] = [None] * len(self.inputs)
        if pairs:
            create = self._outer and (self._create or any(c.requires_grad for _, c in pairs))
            found = engine.grad(
                [y for y, _ in pairs],
                self.inputs,
                gradient=[c for _, c in pairs],
                retain_graph=True,
                create_graph=create,
                allow_unused=True,
            )
        return [
            Tensor(np.zeros(x.shape, x.dtype)) if g is None else g
            for g, x in zip(found, self.inputs, strict=True)
        ]

    def push(self, tangents: Sequence[Tensor]) -> list[Tensor]:
        """Return the derivatives of all outputs along ``tangents``."""
        live = [y for y in self.outputs if y.requires_grad]
        with enable_grad():
            dual = [Tensor(np.zeros(y.shape, y.dtype), requires_grad=True) for y in live]
            pulled: list[Any] = []
            if live:
                pulled = engine.grad(
                    live,
                    self.inputs,
                    gradient=dual,
                    retain_graph=True,
                    create_graph=True,
                    allow_unused=True,
                )
            pairs = [
                (g, t)
                for g, t in zip(pulled, tangents, strict=False)
                if g is not None and g.requires_grad
            ]
            create = self._outer and (self._create or any(t.requires_grad for t in tangents))
            pushed: list[Any] = [None] * len(live)
            if pairs:
                pushed = engine.grad(
                    [g for g, _ in pairs],
                    dual,
                    gradient=[t for _, t in pairs],
                    retain_graph=True,
                    create_graph=create,
                    allow_unused=True,
                )
        by_output = dict(zip(map(id, live), pushed, strict=True))
        return [
            Tensor(np.zeros(y.shape, y.dtype)) if (t := by_output.get(id(y))) is None else t
            for y in self.outputs
        ]

    def like_arguments(self, gradients: Sequence[Any]) -> Any:
        """Return per-input values in the structure of the chosen arguments."""
        nested = rebuild(self.given_structure, gradients)
        return nested[0] if self._single_argument else nested

    def _depends_on_more(self) -> bool:
        """Whether the outputs depend on recorded tensors other than the fresh inputs."""
        if any(x._node is not None for x in self.inputs):
            return True
        roots = [y for y in self.outputs if y.requires_grad]
        own = set(self.inputs)
        return bool(roots) and any(leaf not in own for leaf in reach(roots)[1])


def _numbers(argnums: Ints) -> tuple[tuple[int, ...], bool]:
    if isinstance(argnums, int | np.integer):
        return (int(argnums),), True
    return tuple(int(n) for n in argnums), False


def _fresh(x: Any, outer: bool) -> Tensor:
    """A tensor to differentiate by: an alias on the tape if the caller differentiates ``x``."""
    if isinstance(x, Tensor) and x.requires_grad and outer:
        aliased: Tensor = alias(x)
        return aliased
    data = x.array if isinstance(x, Tensor) else np.asarray(x)
    if data.dtype.kind not in "fc":
        if isinstance(x, int | float) and not isinstance(x, bool):
            data = data.astype(np.float64)
        else:
            raise GradError(
                f"an argument to differentiate is {data.dtype}; derivatives need floating-point "
                f"numbers: use .astype(np.float64), or leave it out of argnums"
            )
    return Tensor(data, requires_grad=True)


def _as_result(y: Tensor, run: _Run) -> Tensor:
    return y if run.recorded else y.detach()


def _like(t: Any, x: Tensor) -> Tensor:
    return t if isinstance(t, Tensor) else Tensor(np.asarray(t, x.dtype))


def _plain_or_recorded(t: Any) -> Any:
    return t if isinstance(t, Tensor) else np.asarray(t)


def _shapes(leaves: Sequence[Any]) -> str:
    return ", ".join(str(np.shape(x)) for x in leaves)
