"""What fused twins come to as machine-level calls: the same kernels, their arrays as Forms.

A twin that is declared ``on_forms`` is run on them as an op's body is. Others take real arrays:
what they hand to their kernels is told here once more. What is neither stays a line of Python.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.op import Op
from distgrad.capture.calls import Tape, Unlowered
from distgrad.capture.forms import Form
from distgrad.ops import slopes
from distgrad.ops.activation import of_sigmoid
from distgrad.ops.indexing import checked_rows, picks_all
from distgrad.ops.softmax import check_labels

Lowering = Callable[..., Any]
_TABLE: dict[Op, Lowering] = {}
CHECKS = "checks"


def lowering(op: Op) -> Lowering | None:
    """Return ``f(tape, *forms, **settings)``, which returns what the twin does; None without."""
    found = _TABLE.get(op)
    if found is not None:
        return found
    twin = op.fused
    if getattr(twin, "on_forms", False):
        return lambda tape, *forms, **settings: _taken(twin, forms, settings)
    made = getattr(twin, "made", None)
    if made is None:
        return None
    _, inputs, loops = made._how
    if loops.__name__ == "_loops":
        return lambda tape, *forms, **settings: _elementwise(tape, made, inputs, forms, settings)
    return None


def _twin(op: Op) -> Callable[[Lowering], Lowering]:
    def known(body: Lowering) -> Lowering:
        _TABLE[op] = body
        return body

    return known


def _taken(twin: Any, forms: Any, settings: dict[str, Any]) -> Any:
    found = twin(*forms, **settings)
    _need(found is not None)
    return found


def _need(holds: bool, why: str = "a twin of these") -> None:
    if not holds:
        raise Unlowered(why)


def _rows(a: Form) -> Form:
    return a.reshape(a.size)


def _dense(a: Form) -> Form:
    return a if a.dense else a.copy()


# -- made by the recipe ---------------------------------------------------------------------------


def _elementwise(
    tape: Tape, made: Any, inputs: tuple[str, ...], forms: Any, settings: dict[str, Any]
) -> Any:
    first = forms[0]
    _need(all(isinstance(f, Form) and f.dense and f.dtype == first.dtype for f in forms))
    _need(all(f.shape == first.shape for f in forms) and len(forms) == len(inputs))
    kernels = made[first.dtype]
    found = None if kernels is None else kernels.settled(settings)
    _need(found is not None)
    p: tuple[Any, ...] = found or ()
    rows = [_rows(f) for f in forms]
    result = tape.new(first.shape, first.dtype)
    kept = dict(zip(inputs, rows, strict=True), y=_rows(result))
    n = len(rows) + 1
    tape.kernel(kernels.forward, *rows, kept["y"], *p, writes=1, units=range(n), out=n - 1)

    def closure(back: Any) -> Callable[[Form], Form]:
        def vjp(g: Form) -> Form:
            d: Form = tape.new(first.shape, first.dtype)
            read = [_rows(_dense(g)), *[kept[name] for name in back.reads]]
            n = len(read) + 1
            tape.kernel(back.run, *read, _rows(d), *p, units=range(n), out=n - 1)
            return d

        return vjp

    closures = tuple([closure(b) for b in kernels.backs])
    return result, closures if len(inputs) > 1 else closures[0]


@_twin(ops.sigmoid)
def _sigmoid(tape: Tape, a: Form) -> Any:
    from distgrad.kernels import pointwise  # noqa: PLC0415 (numba)

    y, _ = _elementwise(tape, pointwise.sigmoid.made, ("x",), (a,), {})  # type: ignore[attr-defined]
    return y, of_sigmoid(y)


@_twin(ops.clamp)
def _clamp(tape: Tape, a: Form, low: Any, high: Any) -> Any:
    from distgrad.kernels import limits  # noqa: PLC0415 (numba)

    settings = limits.bounds(low, high)
    _need(settings is not None)
    y, vjp = _elementwise(tape, limits.between.made, ("x",), (a,), settings or {})  # type: ignore[attr-defined]
    return y, (vjp, None, None)


def _wave(quarters: int) -> Lowering:
    def wave(tape: Tape, a: Form) -> Any:
        from distgrad.kernels import angles  # noqa: PLC0415 (numba)

        _need(a.dense)
        x, y = _rows(a), tape.new(a.shape, a.dtype)
        tape.kernel(angles.waves, x, quarters, _rows(y), units=(0, 2), out=2)

        def vjp(g: Form) -> Form:
            d: Form = tape.new(a.shape, a.dtype)
            read = _rows(_dense(g)), x
            tape.kernel(angles.times_waves, *read, quarters + 1, _rows(d), units=(0, 1, 3), out=3)
            return d

        return y, vjp

    return wave


_TABLE[ops.sin], _TABLE[ops.cos] = _wave(0), _wave(1)


@_twin(ops.tanh_backward)
def _tanh_backward(tape: Tape, g: Form, y: Form) -> Any:
    from distgrad.kernels import slopes as kernels  # noqa: PLC0415 (numba)

    d, _ = _elementwise(tape, kernels.of_tanh.made, ("a", "b"), (y, g), {})  # type: ignore[attr-defined]
    return d, slopes.of_tanh_backward(g, y)  # type: ignore[arg-type]


@_twin(ops.sigmoid_backward)
def _sigmoid_backward(tape: Tape, g: Form, y: Form) -> Any:
    from distgrad.kernels import slopes as kernels  # noqa: PLC0415 (numba)

    d, _ = _elementwise(tape, kernels.of_sigmoid.made, ("a", "b"), (y, g), {})  # type: ignore[attr-defined]
    return d, slopes.of_sigmoid_backward(g, y)  # type: ignore[arg-type]


@_twin(ops.scaled_product)
def _scaled_product(tape: Tape, a: Form, b: Form, c: Form, *, factor: float = 1.0) -> Any:
    from distgrad.kernels import slopes as kernels  # noqa: PLC0415 (numba)

    _need(all(isinstance(f, Form) and f.dense and f.shape == c.shape for f in (a, b, c)))
    d = tape.new(c.shape, c.dtype)
    rows = map(_rows, (a, b, c))
    tape.kernel(
        kernels.product_of_three, *rows, c.dtype.type(factor), _rows(d), units=(0, 1, 2, 4), out=4
    )
    return d, slopes.of_scaled_product(a, b, c, factor)  # type: ignore[arg-type]


# -- labels and masks ------------------------------------------------------------------------------


@_twin(ops.cross_entropy)
def _cross_entropy(
    tape: Tape,
    logits: Form,
    labels: Any,
    *,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Any:
    from distgrad.kernels import rows  # noqa: PLC0415 (numba)

    _need(isinstance(labels, Form) and labels.dtype == np.int64 and logits.ndim == 2)
    _need(labels.shape == logits.shape[:1] and labels.dense)
    x, dtype, n = _dense(logits), logits.dtype, logits.shape[0]
    whole = np.dtype(np.int64)
    targets, seen = tape.new((n,), whole), tape.new((2,), whole)
    p, loss = tape.new(x.shape, dtype), tape.new((n,), dtype)
    smoothing = dtype.type(label_smoothing)
    tape.kernel(
        rows._cross_entropy, x, labels, ignore_index, smoothing, p, loss, targets, seen, writes=4
    )

    def refuse(given: Any) -> None:
        check_labels(given, logits.shape, ignore_index)  # names it

    tape.check(seen[1], refuse, labels)
    scale = tape.new((1,), dtype)
    tape.kernel("share", seen, scale)
    scale = scale.reshape(())

    def vjp(g: Form) -> Form:
        weights = g * scale if reduction == "mean" else g
        d: Form = tape.new(x.shape, dtype)
        each = int(reduction == "none")
        weights = _rows(_dense(weights))
        tape.kernel(rows._cross_entropy_back, weights, each, p, targets, smoothing, d)
        return d

    if reduction == "none":
        return loss, (vjp, None)
    total = np.add.reduce(loss)
    return (total * scale if reduction == "mean" else total), (vjp, None)


@_twin(ops.embedding)
def _embedding(tape: Tape, indices: Any, weight: Form, *, padding_idx: int | None = None) -> Any:
    from distgrad.kernels import scatter  # noqa: PLC0415 (numba)

    _need(isinstance(indices, Form) and indices.dtype == np.int64 and weight.dense)
    whole, (_, width) = np.dtype(np.int64), weight.shape
    given = _rows(_dense(indices))
    rows, seen = tape.new((given.size,), whole), tape.new((1,), whole)
    y = tape.new((*indices.shape, width), weight.dtype)
    tape.kernel("look_up", given, weight, rows, seen, y.reshape(-1, width), writes=3)

    def refuse(asked: Any) -> None:
        checked_rows(asked, weight)  # type: ignore[arg-type]  # names the first

    tape.check(seen[0], refuse, indices)

    def vjp(g: Form) -> Form:
        d: Form = tape.zeros(weight.shape, weight.dtype)
        tape.kernel(scatter.add_rows, _dense(g).reshape(-1, width), rows, d)
        if padding_idx is not None:
            tape.kernel("clear", d[padding_idx], units=(0,))
        return d

    return y, (None, vjp)


@_twin(ops.dropout)
def _dropout(tape: Tape, a: Form, keep: Any, *, p: float) -> Any:
    from distgrad.kernels import masked  # noqa: PLC0415 (numba)

    _need(isinstance(keep, Form) and a.dense and keep.dense and keep.shape == a.shape)
    mask, none = _rows(keep), a.dtype.type(0)
    levels = a.dtype.type(1 / (1 - p) if p < 1 else 0.0), none, none

    def kept(x: Form) -> Form:
        y: Form = tape.new(x.shape, x.dtype)
        tape.kernel(masked.kept, _rows(_dense(x)), mask, *levels, _rows(y), units=(0, 1, 5))
        return y

    return kept(a), (kept, None)


# -- bodies that ask for arrays -------------------------------------------------------------------


def _getitem(tape: Tape, a: Form, *, index: Any) -> Any:
    return a[index], lambda g: _put_back(tape, g, index, a.shape, a.dtype)


def _add_at(tape: Tape, g: Form, *, index: Any, shape: Any, dtype: Any) -> Any:
    return _put_back(tape, g, index, shape, np.dtype(dtype)), lambda gg: gg[index]


def _put_back(tape: Tape, g: Form, index: Any, shape: Any, dtype: Any) -> Form:
    place = tape.new(shape, dtype)[index]
    _need(g.dtype == dtype and g.shape == place.shape)
    if picks_all(index, shape):
        return g.reshape(shape)
    whole: Form = (tape.zeros if place.size < math.prod(shape) else tape.new)(shape, dtype)
    tape.elementwise(np.positive, [g], whole[index])
    return whole


BODIES: dict[Op, Lowering] = {ops.getitem: _getitem, ops.add_at: _add_at}
"""In place of bodies that Forms cannot go through."""
