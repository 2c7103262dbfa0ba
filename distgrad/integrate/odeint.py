"""``odeint``: the solution of dy/dt = f(t, y) at given times, differentiable step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad.arguments import explained
from distgrad.autograd.mode import no_grad
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import NonFiniteError, ShapeError
from distgrad.integrate import steps
from distgrad.integrate.steps import Field, State, Tableau, combined, step

METHODS: dict[str, Tableau] = {
    "dopri5": steps.DOPRI5,
    "bosh3": steps.BOSH3,
    "adaptive_heun": steps.ADAPTIVE_HEUN,
    "rk4": steps.RK4,
    "heun3": steps.HEUN3,
    "heun2": steps.HEUN2,
    "midpoint": steps.MIDPOINT,
    "euler": steps.EULER,
}
"""The methods by torchdiffeq's names; the first three choose their steps."""

_FIXED_OPTIONS = {"step_size": "no step is longer"}
_ADAPTIVE_OPTIONS = {"first_step": "the length of it", "max_num_steps": "the most there may be"}


@explained
def odeint(
    func: Callable[..., Any],
    y0: Any,
    t: TensorLike,
    *,
    rtol: float = 1e-7,
    atol: float = 1e-9,
    method: str | None = None,
    options: dict[str, Any] | None = None,
    event_fn: Any = None,
) -> Any:
    """Return y at the times ``t`` (1-d, rising or falling), of shape (len(t), *y0.shape).

    ``func(t, y)`` is dy/dt; ``y0`` is y at ``t[0]``, a Tensor or a tuple of them (then so is the
    result). The signature is torchdiffeq's. Adaptive methods ("dopri5", the default, "bosh3",
    "adaptive_heun") keep the estimated error of a step below ``atol + rtol |y|`` and interpolate;
    fixed ones ("rk4", "euler", "midpoint", …) step from time to time, in steps no longer than
    ``options={"step_size": …}``. Every step is on the tape, so memory grows with their number:
    ``odeint_adjoint`` needs none. Gradients flow to y0, t and what func reads.
    Errors: ShapeError for times or options that make no sense, NonFiniteError where steps shrink to
    nothing.
    """
    if event_fn is not None:
        raise ShapeError("odeint: event_fn is not supported; solve to a fixed time and look there")
    y, field, rebuilt = flat_problem(func, y0)
    times = checked_times(t, y)
    tableau, settings = _method(method, options)
    if tableau.error is None:
        solution = _fixed(tableau, field, times, y, settings)
    else:
        rtol, atol = float(rtol), float(atol)
        if not (rtol >= 0 and atol >= 0 and rtol + atol > 0):
            raise ShapeError(f"odeint: {rtol=} and {atol=} must be 0 or more, one of them more")
        solution = _adaptive(tableau, field, times, y, rtol, atol, settings)
    return rebuilt([np.stack([s[i] for s in solution], axis=0) for i in range(len(y))])


def flat_problem(
    func: Callable[..., Any], y0: Any
) -> tuple[State, Field, Callable[[Sequence[Any]], Any]]:
    """The state as a tuple of Tensors, func of such tuples, and how to return results."""
    several = isinstance(y0, tuple | list)
    y = tuple([v if isinstance(v, Tensor) else Tensor(v) for v in (y0 if several else (y0,))])
    if not y or any(v.dtype.kind != "f" for v in y):
        kinds = ", ".join(str(v.dtype) for v in y) or "nothing"
        raise ShapeError(f"odeint: y0 must be Tensors of real numbers; got {kinds}")

    def field(t: Any, state: State) -> State:
        found = func(t, state) if several else (func(t, state[0]),)
        found = tuple(found)
        shapes, wanted = [np.shape(_data(v)) for v in found], [v.shape for v in y]
        if shapes != wanted:
            raise ShapeError(
                f"odeint: func(t, y) returned shapes {shapes} for a state of {wanted}; it is "
                f"dy/dt and must be like y"
            )
        return found

    return y, field, (tuple if several else _only)


def _only(parts: Sequence[Any]) -> Any:
    return parts[0]


def checked_times(t: TensorLike, y: State) -> Tensor:
    """The times as a Tensor of the state's dtype. Errors: ShapeError unless strictly monotonic."""
    times = t if isinstance(t, Tensor) else Tensor(np.asarray(t))
    if times.ndim != 1 or len(times) < 1:
        raise ShapeError(f"odeint: t must be a vector of times; got shape {times.shape}")
    moves = np.diff(times.array)
    if not (np.all(moves > 0) or np.all(moves < 0)):
        raise ShapeError("odeint: t must be strictly increasing or decreasing")
    dtype = np.result_type(*[v.dtype for v in y])
    return times if times.dtype == dtype else times.astype(dtype)


def _method(name: str | None, options: dict[str, Any] | None) -> tuple[Tableau, dict[str, Any]]:
    chosen = "dopri5" if name is None else name
    if chosen not in METHODS:
        raise ShapeError(f"odeint: method {name!r} is none of {', '.join(METHODS)}")
    taken = _FIXED_OPTIONS if METHODS[chosen].error is None else _ADAPTIVE_OPTIONS
    unknown = set(options or {}) - set(taken)
    if unknown:
        known = "; ".join(f"{k} ({v})" for k, v in taken.items())
        raise ShapeError(
            f"odeint: options {sorted(unknown)} are not supported by method {chosen!r}; it takes "
            f"{known}"
        )
    given = {name: value for name, value in (options or {}).items() if value is not None}
    for option, value in given.items():
        if not value > 0:
            raise ShapeError(f"odeint: options {option}={value} must be above 0")
    return METHODS[chosen], given


def _fixed(
    tableau: Tableau, field: Field, times: Tensor, y: State, settings: dict[str, Any]
) -> list[State]:
    solution, longest = [y], settings.get("step_size", math.inf)
    for i in range(len(times) - 1):
        start, whole = times[i], times[i + 1] - times[i]
        count = max(1, math.ceil(abs(whole.item()) / longest - 1e-9))
        h = whole / count if count > 1 else whole
        for k in range(count):
            y, _ = step(tableau, field, start + k * h if k else start, h, y)
        solution.append(y)
    return solution


def _adaptive(
    tableau: Tableau,
    field: Field,
    times: Tensor,
    y: State,
    rtol: float,
    atol: float,
    settings: dict[str, Any],
) -> list[State]:
    solution = [y]
    ends = times.array.astype(np.float64)
    if len(ends) == 1:
        return solution
    sign = 1.0 if ends[-1] > ends[0] else -1.0
    start = times[0]  # a step's time is this and a number, so that gradients reach t[0]
    gone, left = 0.0, settings.get("max_num_steps", 2**31 - 1)
    slope = field(start, y)
    h = settings.get("first_step") or _first_step(tableau, field, start, sign, y, slope, rtol, atol)
    at = 1
    while at < len(ends):
        if left <= 0:
            raise NonFiniteError(f"odeint: max_num_steps reached at t = {ends[0] + gone:.6g}")
        left -= 1
        now = ends[0] + gone
        if now + sign * h == now or not math.isfinite(h):
            raise NonFiniteError(
                f"odeint: underflow in dt {h:.3g} at t = {now:.6g}: the solution is not finite "
                f"there, or the problem is too stiff for {rtol=}, {atol=}"
            )
        time = start + gone if gone else start
        after, ks = step(tableau, field, time, sign * h, y, slope)
        last = field(time + sign * h, after)
        ratio = _error_ratio(tableau, h, [*ks, last], y, after, rtol, atol)
        if ratio <= 1:
            while at < len(ends) and sign * (ends[at] - ends[0] - gone) <= h * (1 + 1e-12):
                part = (times[at] - time) / (sign * h)
                solution.append(_interpolated(tableau, part, sign * h, y, after, [*ks, last]))
                at += 1
            gone, y, slope = gone + sign * h, after, last
        h *= _factor(ratio, tableau.order)
    return solution


def _factor(ratio: float, order: int) -> float:
    if ratio == 0:
        return 10.0
    if not math.isfinite(ratio):
        return 0.2
    # Not shorter after a step that was good, nor by more than to a fifth.
    least = 1.0 if ratio <= 1 else 0.2
    return min(10.0, max(0.9 * math.pow(ratio, -1 / order), least))


def _error_ratio(
    tableau: Tableau, h: float, ks: list[State], y: State, after: State, rtol: float, atol: float
) -> float:
    ratios = [0.0]
    with np.errstate(all="ignore"):
        for i, (one, two) in enumerate(zip(y, after, strict=True)):
            error = h * sum(
                w * _data(k[i]) for w, k in zip(tableau.error or (), ks, strict=True) if w
            )
            scale = atol + rtol * np.maximum(np.abs(_data(one)), np.abs(_data(two)))
            ratios.append(rms(error / scale))
    return math.nan if any(math.isnan(r) for r in ratios) else max(ratios)


def _interpolated(tableau: Tableau, x: Any, h: Any, y0: State, y1: State, ks: list[State]) -> State:
    """The polynomial of 4th order with the values, slopes and middle of a step, at part ``x``."""
    if abs(x.item() - 1) < 1e-12 and not x.requires_grad:
        return y1
    middle = combined(y0, h, tableau.middle or (), ks)
    found = []
    for i, (a, b, m) in enumerate(zip(y0, y1, middle, strict=True)):
        f0, f1 = h * ks[0][i], h * ks[-1][i]
        p4 = 2 * (f1 - f0) - 8 * (b + a) + 16 * m
        p3 = 5 * f0 - 3 * f1 + 18 * a + 14 * b - 32 * m
        p2 = f1 - 4 * f0 - 11 * a - 5 * b + 16 * m
        found.append(a + x * (f0 + x * (p2 + x * (p3 + x * p4))))
    return tuple(found)


def _first_step(
    tableau: Tableau,
    field: Field,
    start: Any,
    sign: float,
    y: State,
    slope: State,
    rtol: float,
    atol: float,
) -> float:
    """Hairer, Nørsett & Wanner, II.4."""
    with no_grad():
        scales = [atol + rtol * np.abs(_data(v)) for v in y]
        d0 = max(rms(_data(v) / s) for v, s in zip(y, scales, strict=True))
        d1 = max(rms(_data(v) / s) for v, s in zip(slope, scales, strict=True))
        h0 = 1e-6 if d0 < 1e-5 or d1 < 1e-5 else 0.01 * d0 / d1
        moved = tuple([v + (sign * h0) * k for v, k in zip(y, slope, strict=True)])
        after = field(start + sign * h0, moved)
        d2 = max(
            rms((_data(b) - _data(a)) / s) / h0
            for a, b, s in zip(slope, after, scales, strict=True)
        )
        largest = max(d1, d2)
        h1 = max(1e-6, h0 * 1e-3) if largest <= 1e-15 else (0.01 / largest) ** (1 / tableau.order)
        return float(min(100 * h0, h1))


def rms(x: Any) -> float:
    """The root of the mean square; 0 of nothing."""
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64)))) if x.size else 0.0


def _data(x: Any) -> Any:
    return x.array if isinstance(x, Tensor) else np.asarray(x)
