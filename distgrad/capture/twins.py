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
from distgrad.capture import functions, lookups, reductions  # noqa: F401 (what Forms know)
from distgrad.capture.calls import Tape, Unlowered
from distgrad.capture.forms import Form
from distgrad.kernels import arrays
from distgrad.ops import slopes
from distgrad.ops.activation import of_sigmoid
from distgrad.ops.checked import checked_rows
from distgrad.ops.choice import where_
from distgrad.ops.helpers import memory_order
from distgrad.ops.indexing import picks_all
from distgrad.ops.softmax import check_labels

Lowering = Callable[..., Any]
blank: Any = arrays.blank  # which are typed for arrays alone
in_memory: Any = arrays.in_memory
in_order: Any = arrays.in_order
_TABLE: dict[Op, Lowering] = {}
CHECKS = "checks"


def lowering(op: Op) -> Lowering | None:
    """Return ``f(tape, *forms, **settings)``, which returns what the twin does; None without."""
    found = _TABLE.get(op)
    if found is not None:
        return found
    twin = op.fused
    each = getattr(twin, "each", None)
    if getattr(twin, "on_forms", False):

        def taken(tape: Tape, *forms: Any, **settings: Any) -> Any:
            if each is not None and settings.get("reduction") == "none":
                rest = {k: v for k, v in settings.items() if k != "reduction"}
                return _elementwise(tape, each.made, ("a", "b"), forms, rest)
            return _taken(twin, forms, settings)

        return taken
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
    given = [f for f in forms if isinstance(f, Form)]
    dtype = given[0].dtype
    _need(len(forms) == len(inputs) and all(f.dtype == dtype for f in given))
    _need(all(isinstance(f, Form) or type(f) in (int, float) for f in forms))
    kernels = made[dtype]
    p = None if kernels is None else kernels.settled(settings)
    if p is None:
        raise Unlowered("a twin of these")
    shape = np.broadcast_shapes(*[f.shape for f in given])
    # It lies as the first input that has its shape, unless that alone is asked and has gaps.
    first = next((f for f in given if f.shape == shape), None)
    order = None if first is None else memory_order(first)  # type: ignore[arg-type]
    alone = len(forms) < 3 and all(isinstance(f, Form) and f.shape == shape for f in forms)
    if alone and order is not None and not given[0].transpose(order).dense:
        order = None

    def row(x: Any) -> Form:
        whole: Any = x if isinstance(x, Form) else tape.constant(np.asarray(x, dtype))
        spread = whole if whole.shape == shape else np.broadcast_to(whole, shape)
        found: Form = in_order(spread, order)
        return found

    rows = [row(f) for f in forms]
    result, y = blank(given[0], shape, order)
    kept = dict(zip(inputs, rows, strict=True), y=y)
    n = len(rows) + 1
    tape.kernel(kernels.forward, *rows, y, *p, writes=1, units=range(n), out=n - 1)

    def closure(back: Any) -> Callable[[Form], Form]:
        def vjp(g: Form) -> Form:
            found: Form
            found, d = blank(given[0], shape, order)
            read = [in_order(g, order), *[kept[name] for name in back.reads]]
            n = len(read) + 1
            tape.kernel(back.run, *read, d, *p, units=range(n), out=n - 1)
            return found

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

        x, order = in_memory(a)
        y, row = blank(a, a.shape, order)
        tape.kernel(angles.waves, x, quarters, row, units=(0, 2), out=2)

        def vjp(g: Form) -> Form:
            d: Form
            d, row = blank(a, a.shape, order)
            read = in_order(g, order), x
            tape.kernel(angles.times_waves, *read, quarters + 1, row, units=(0, 1, 3), out=3)
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

    _need(all(isinstance(f, Form) and f.shape == c.shape for f in (a, b, c)))
    z, order = in_memory(c)
    d, row = blank(c, c.shape, order)
    rows = in_order(a, order), in_order(b, order), z
    units = 0, 1, 2, 4
    tape.kernel(kernels.product_of_three, *rows, c.dtype.type(factor), row, units=units, out=4)
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

    _need(isinstance(keep, Form) and keep.shape == a.shape)
    _, order = in_memory(a)
    mask, none = in_order(keep, order), a.dtype.type(0)
    levels = a.dtype.type(1 / (1 - p) if p < 1 else 0.0), none, none

    def kept(x: Form) -> Form:
        y: Form
        y, row = blank(x, x.shape, order)
        tape.kernel(masked.kept, in_order(x, order), mask, *levels, row, units=(0, 1, 5))
        return y

    return kept(a), (kept, None)


# -- bodies that ask for arrays -------------------------------------------------------------------


def _getitem(tape: Tape, a: Form, *, index: Any) -> Any:
    if type(index) is tuple and any(not isinstance(k, _PARTS) for k in index):
        return lookups.picked(tape, a, index)  # the gradients are added up one by one, as there
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


_PARTS = (int, slice, type(None), type(...))
_TABLE[ops.getitem] = lambda tape, a, *, index: lookups.picked(tape, a, index)
_TABLE[ops.take_along], _TABLE[ops.nll] = lookups.taken_along, lookups.nll
_TABLE[where_] = lambda _, *forms: where_.function(*forms)
INDEXED = {ops.getitem, ops.take_along}
"""Whose settings may be arrays that the step computes."""

BODIES: dict[Op, Lowering] = {ops.getitem: _getitem, ops.add_at: _add_at}
"""In place of bodies that Forms cannot go through."""
