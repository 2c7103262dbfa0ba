"""New tensors that are counted up: from a start in steps, or in a number of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.apart import apart, keeps_form, of_settings
from distgrad.autograd.device import Device
from distgrad.autograd.dtypes import get_default_dtype
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import DTypeLike
from distgrad.errors import ShapeError
from distgrad.functions.arguments import array_of, check_place, dtype_or, made
from distgrad.functions.counting import MANY, line, spaced
from distgrad.functions.out import with_out

__all__ = ["arange", "linspace", "logspace", "range"]


@apart
@keeps_form
@of_settings
def arange(
    start: float | None = None,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Return ``start``, ``start + step``, … below ``end`` (from 0 if one number is given).

    int64 if all are whole numbers, the default dtype otherwise.
    """
    check_place(device, layout, pin_memory)
    if start is None and end is None:
        raise TypeError("arange takes an end, or a start and an end")
    given = (0, start) if end is None else (0 if start is None else start, end)
    first, last, step = [_number("arange", x) for x in (*given, step)]
    if step == 0:
        raise ShapeError("arange: the step is not 0")
    whole = all(map(_is_whole, (first, last, step)))
    kind = dtype_or(dtype, out, np.int64 if whole else get_default_dtype())
    if kind.kind == "f" and (count := _many(first, last, step)):
        # NumPy's floats are as far apart as its first two.
        y = line(count, kind, step if whole else first + step - first, first)
        y[:2] = first, first + step
    else:
        y = np.arange(first, last, step).astype(kind, copy=False)
    return made(y, requires_grad, out)


def _many(first: Any, last: Any, step: Any) -> int:
    """How many numbers ``np.arange`` returns, if they are many and exact in float64; else 0."""
    if {type(first), type(last), type(step)} <= _PYTHONS and abs(first) + abs(last) < _EXACT:
        steps = (last - first) / step
        return math.ceil(steps) if MANY < steps < _EXACT else 0
    return 0


_EXACT = 1 << 53


@with_out
@apart
@keeps_form
def range(  # deprecated in PyTorch, and still typed
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: DTypeLike | None = None,
    device: Device = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return ``start``, ``start + step``, … up to and with ``end``, of the default dtype."""
    check_place(device)
    first, last = (0, start) if end is None else (start, end)
    if step == 0:
        raise ShapeError("range: the step is not 0")
    count = max(math.floor((last - first) / step) + 1, 0)
    kind = dtype_or(dtype, None, get_default_dtype())
    if kind.kind == "f" and _many(first, last, step):
        return made(line(count, kind, step, first), requires_grad)
    return made((first + step * np.arange(count)).astype(kind), requires_grad)


@apart
@keeps_form
@of_settings
def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Return ``steps`` numbers evenly from ``start`` to ``end``, both included."""
    check_place(device, layout)
    first, last, count, kind = _ends("linspace", start, end, steps, dtype, out)
    step: Any = (last - first) / (count - 1) if count > 1 else 0
    if not isinstance(step, float) or not step or kind.kind != "f":  # NumPy's rules for the rest
        return made(np.linspace(first, last, count, dtype=kind), requires_grad, out)

    y = line(count, kind, step, first)
    y[-1] = last
    return made(y, requires_grad, out)


@apart
@keeps_form
@of_settings
def logspace(
    start: float,
    end: float,
    steps: int,
    base: float = 10.0,
    *,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Return ``base`` to the powers of ``linspace(start, end, steps)``."""
    check_place(device, layout)
    first, last, count, kind = _ends("logspace", start, end, steps, dtype, out)
    real = count > 1 and type(first) in _PYTHONS and type(last) in _PYTHONS
    ends = spaced(first, last, count) if real else np.linspace(first, last, count)
    powers = np.power(base, ends)
    return made(powers.astype(kind), requires_grad, out)


def _ends(
    name: str, start: Any, end: Any, steps: Any, dtype: DTypeLike | None, out: Tensor | None
) -> tuple[Any, Any, int, np.dtype[Any]]:
    first, last = _number(name, start), _number(name, end)
    count = int(_number(name, steps))
    if count < 0:
        raise ShapeError(f"{name}: there are 0 steps or more; got {count}")
    total = (first + last) * 1.0  # of real or of complex numbers
    kind = get_default_dtype() if type(total) is float else array_of(total, None).dtype
    return first, last, count, dtype_or(dtype, out, kind)


def _is_whole(x: Any) -> bool:
    return hasattr(x, "__index__")


def _number(name: str, x: Any) -> Any:
    if type(x) in _PYTHONS or not isinstance(x, Tensor | np.ndarray | np.generic):
        return x
    if np.ndim(x):
        raise ShapeError(f"{name} takes numbers and tensors of no axis; got shape {x.shape}")
    return x.item()


_PYTHONS = {int, float}
