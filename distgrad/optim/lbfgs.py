"""LBFGS: a quasi-Newton method for losses that may be evaluated several times a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from distgrad.autograd.mode import enable_grad
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.kinds import Steps, Times
from distgrad.optim.line_search import Point, strong_wolfe
from distgrad.optim.norms import inner
from distgrad.optim.optimizer import Group, Loss, Number, Optimizer, Params

Evaluate = Callable[[], tuple[float, Array]]


class LBFGS(Optimizer):
    """Limited-memory BFGS (Liu & Nocedal 1989), PyTorch's form.

    ``step(closure)`` makes up to ``max_iter`` iterations with up to ``max_eval`` calls (None: 5/4
    of that) of ``closure``, which computes the loss and its gradients anew; it returns the first
    loss. ``line_search_fn`` is None, for steps of ``lr``, or "strong_wolfe". The last
    ``history_size`` iterations are remembered. It ends early where no gradient is larger than
    ``tolerance_grad``, or steps or losses change by less than ``tolerance_change``. One group only.

    On several ranks the loss that ``closure`` returns must be that of the global batch, the same
    on all of them (``ShardSum``), because it decides where to go on; the gradients are.
    """

    def __init__(
        self,
        params: Params,
        lr: Number = 1.0,
        max_iter: Times = 20,
        max_eval: Times | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: Steps = 100,
        line_search_fn: Literal["strong_wolfe"] | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "max_iter": max_iter,
                "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                "tolerance_grad": tolerance_grad,
                "tolerance_change": tolerance_change,
                "history_size": history_size,
                "line_search_fn": line_search_fn,
            },
        )

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Refuse a second group. Errors: ShapeError."""
        if self.param_groups:
            raise ShapeError(
                "LBFGS takes one group: its steps mix all parameters, so none has settings of its "
                "own; pass all of them in one list"
            )
        super().add_param_group(param_group)

    def step(self, closure: Callable[[], Loss] | None = None) -> Loss | None:
        """Iterate until one of the limits is met; returns the loss of the first evaluation.

        Errors: TypeError without a closure.
        """
        if closure is None:
            raise TypeError(
                "LBFGS evaluates the loss several times a step: write optimizer.step(closure), "
                "where closure() calls zero_grad(), computes the loss, calls backward() and "
                "returns the loss"
            )
        params = self.param_groups[0]["params"]
        losses: list[Loss] = []

        def evaluate() -> tuple[float, Array]:
            with enable_grad():
                loss = closure()
            losses[:] = losses[:1] or [loss]
            value = float(loss.detach() if isinstance(loss, Tensor) else loss)  # type: ignore[arg-type]
            for listener in {p._listener for p in params[:1]} - {None}:
                listener.compare("the loss that the closure of LBFGS returned", value)
            return value, _gathered(params)

        _Iterations(self._own[params[0]], params, self.param_groups[0], evaluate).run()
        return losses[0]


class _Iterations:
    """The iterations of one step: the state (PyTorch's names) is kept in the first parameter's."""

    def __init__(
        self, state: dict[str, Any], params: list[Tensor], group: Group, evaluate: Evaluate
    ) -> None:
        self.state, self.params, self.group, self.evaluate = state, params, group, evaluate
        self.lr = float(group["lr"])
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

    def run(self) -> None:
        group, state = self.group, self.state
        loss, g = self._evaluated()
        calls = 1
        if _largest(g) <= group["tolerance_grad"]:
            return
        least = group["tolerance_change"]
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            first = state["n_iter"] == 1
            d = self._first(g) if first else self._direction(g)
            t = min(1.0, 1.0 / float(np.sum(np.abs(g)))) * self.lr if first else self.lr
            state["d"], state["t"] = Tensor(d), t
            state["prev_flat_grad"], state["prev_loss"] = Tensor(g.copy()), loss
            slope = inner(g, d)
            if slope > -least:
                return
            before = loss
            last = iteration == group["max_iter"]
            if group["line_search_fn"] is not None:
                start = Point(0.0, loss, g, slope)
                found, more = self._search(start, t, d, least, group["max_eval"] - calls)
                _, loss, g, _ = found
                state["t"] = t = found.t
                _move(self.params, t, d)
                calls += more
            else:
                _move(self.params, t, d)
                if not last:  # a last evaluation would change nothing
                    loss, g = self._evaluated()
                    calls += 1
            if (
                last
                or calls >= group["max_eval"]
                or _largest(g) <= group["tolerance_grad"]
                or _largest(d * t) <= least
                or abs(loss - before) < least
            ):
                return

    def _evaluated(self) -> tuple[float, Array]:
        self.state["func_evals"] += 1
        return self.evaluate()

    def _first(self, g: Array) -> Array:
        self.state.update({"old_dirs": [], "old_stps": [], "ro": [], "H_diag": 1.0})
        return -g

    def _direction(self, g: Array) -> Array:
        """Return -H g, the inverse Hessian H made of the steps s and the changes y of gradients."""
        state = self.state
        ys, steps, ro = state["old_dirs"], state["old_stps"], state["ro"]
        y = g - state["prev_flat_grad"].array
        s = state["d"].array * float(state["t"])
        curvature = inner(y, s)
        if curvature > 1e-10:
            if len(ys) == self.group["history_size"]:
                for oldest in (ys, steps, ro):
                    oldest.pop(0)
            ys.append(Tensor(y))
            steps.append(Tensor(s))
            ro.append(1.0 / curvature)
            state["H_diag"] = curvature / inner(y, y)
        # The two loops of Nocedal (1980).
        r = -g
        pairs = [*zip([y.array for y in ys], [s.array for s in steps], map(float, ro), strict=True)]
        alphas = []
        for y, s, rho in reversed(pairs):
            alphas.append(inner(s, r) * rho)
            r -= alphas[-1] * y
        r *= float(state["H_diag"])
        for (y, s, rho), alpha in zip(pairs, reversed(alphas), strict=True):
            r += (alpha - inner(y, r) * rho) * s
        return r

    def _search(
        self, start: Point, t: float, d: Array, least: float, most: int
    ) -> tuple[Point, int]:
        origin = [p.array.copy() for p in self.params]

        def at(t: float) -> Point:
            _move(self.params, t, d)
            loss, g = self._evaluated()
            for p, value in zip(self.params, origin, strict=True):
                p.array[...] = value
            return Point(t, loss, g, inner(g, d))

        return strong_wolfe(at, start, t, _largest(d), least, most)


def _gathered(params: list[Tensor]) -> Array:
    """Return a copy of all gradients as one array; zeros where there is none."""
    return np.concatenate(
        [_flat(np.zeros(p.shape, p.dtype) if p.grad is None else p.grad.array) for p in params]
    )


def _flat(a: Array) -> Array:
    flat = np.ascontiguousarray(a).reshape(-1)
    return flat.view(flat.real.dtype) if flat.dtype.kind == "c" else flat


def _move(params: list[Tensor], t: float, d: Array) -> None:
    """θ ← θ + t d."""
    start = 0
    for p in params:
        size = p.array.size * (2 if p.dtype.kind == "c" else 1)
        part = d[start : start + size].astype(p.array.real.dtype, copy=False)
        p.array += t * part.view(p.dtype).reshape(p.shape)
        start += size


def _largest(a: Array) -> float:
    return float(np.max(np.abs(a))) if a.size else 0.0
