"""What looks up and writes at places that are known when the step runs: rows, labels, indices.

A place that is out of range is noted by a kernel; the op that would have refused it says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.tensor import Tensor
from distgrad.capture.calls import Tape, Unlowered
from distgrad.capture.forms import Form
from distgrad.ops.softmax import check_labels

_WHOLE = np.dtype(np.int64)


def picked(tape: Tape, a: Form, index: Any) -> tuple[Form, Callable[[Form], Form]]:
    """``a[index]`` at one or two arrays of whole numbers beside each other, after whole slices."""
    keys = index if type(index) is tuple else (index,)
    before = 0
    while before < len(keys) and type(keys[before]) is slice and keys[before] == slice(None):
        before += 1
    given, axes = [_places(tape, k) for k in keys[before:]], range(before, len(keys))
    if not 1 <= len(given) <= 2 or len(keys) > a.ndim or a.dtype.char not in "fd" or not a.dense:
        raise Unlowered("an index that copies")
    shape, lengths = given[0].shape, [a.shape[i] for i in axes]
    if any(k.shape != shape for k in given):
        raise Unlowered("an index that is broadcast")
    places = _looked_at(
        tape, given, lengths, lambda *at: _refused(ops.getitem, a, index=_key(index, before, at))
    )
    outer, inner = a.shape[:before], a.shape[len(keys) :]
    parts = math.prod(outer), math.prod(lengths), math.prod(inner)
    row = (places.size, parts[0], parts[2])
    # NumPy puts the index's axes first in memory.
    turned = [*range(len(shape), len(shape) + before), *range(len(shape))]
    turned += range(len(turned), len(turned) + len(inner))
    y = tape.new((*shape, *outer, *inner), a.dtype)
    tape.kernel("pick", a.reshape(parts), places, y.reshape(row))
    back = [turned.index(i) for i in range(len(turned))]

    def vjp(g: Form) -> Form:
        d: Form = tape.zeros(a.shape, a.dtype)
        first = g.transpose(back)
        rows = (first if first.dense else first.copy()).reshape(row)
        tape.kernel("add_picked", rows, places, d.reshape(parts))
        return d

    return y.transpose(turned), vjp


def _key(index: Any, before: int, at: Sequence[Any]) -> Any:
    return (*(slice(None),) * before, *at) if type(index) is tuple else at[0]


def _places(tape: Tape, index: Any) -> Form:
    """Return an index as it lies in a row. Errors: Unlowered for what is none."""
    if isinstance(index, np.ndarray) and index.dtype == _WHOLE:
        index = tape.constant(np.ascontiguousarray(index))
    if not isinstance(index, Form) or index.dtype != _WHOLE or not index.ndim:
        raise Unlowered("an index that copies")
    return index if index.dense else index.copy()


def _looked_at(
    tape: Tape, given: Sequence[Form], lengths: Sequence[int], refuse: Callable[..., None]
) -> Form:
    """Return places counted from 0, of two axes as if they were one."""
    size = given[0].size
    places, seen = tape.new((size,), _WHOLE), tape.new((1,), _WHOLE)
    rows = [k.reshape(size) for k in given]
    name = "places_of_one" if len(given) == 1 else "places_of_two"
    tape.kernel(name, *rows, *lengths, places, seen, writes=2)
    tape.check(seen, refuse, *given)
    found: Form = places
    return found


def _refused(op: Any, a: Form, **settings: Any) -> None:
    """Let an op say what is wrong with its settings."""
    op(Tensor(np.broadcast_to(np.zeros((), a.dtype), a.shape)), **settings)


def taken_along(
    tape: Tape,
    a: Form,
    *,
    index: Any,
    axis: int,
    name: str = "",
    negative: bool = False,
    drop: bool = False,
) -> tuple[Form, Callable[[Form], Form]]:
    """``ops.take_along`` by its twin's kernels."""
    from distgrad.kernels import places as kernels  # noqa: PLC0415 (numba)
    from distgrad.kernels.along import beside  # noqa: PLC0415 (numba)

    whole, along = _places(tape, index), axis % a.ndim
    shape = whole.shape
    if len(shape) != a.ndim or shape != (*a.shape[:along], shape[along], *a.shape[along + 1 :]):
        raise Unlowered("an index of another shape")
    settings = {"axis": axis, "negative": negative} | ({"name": name} if name else {})
    seen, unsigned = tape.new((1,), _WHOLE), np.dtype(np.uint64)
    places = tape.new(shape, unsigned)
    row = whole.reshape(whole.size), places.reshape(whole.size)
    tape.kernel("places_along", row[0], a.shape[along], int(negative), row[1], seen, writes=2)
    tape.check(seen, lambda at: _refused(ops.take_along, a, index=at, **settings), whole)
    y = tape.new(shape, a.dtype)
    at = _beside(places, along)

    def run(lines: Any, general: Any, x: Form, to: Form) -> None:
        parts = beside(x, along), at, beside(to, along)  # type: ignore[arg-type]
        if at.shape[2] == 1:
            tape.kernel(lines, *[p.reshape(p.shape[:2]) for p in parts])
        else:
            tape.kernel(general, *parts)

    run(kernels._take_lines, kernels._take, a, y)

    def vjp(g: Form) -> Form:
        d: Form = tape.zeros(a.shape, a.dtype)
        run(kernels._add_lines, kernels._add, g.reshape(shape), d)
        return d

    return y.reshape(shape[:along] + shape[along + 1 :]) if drop else y, vjp


def _beside(a: Form, axis: int) -> Form:
    """Return a dense array as (outer, n, inner)."""
    shape = a.shape
    return a.reshape(math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))


def nll(
    tape: Tape,
    log_probs: Form,
    labels: Any,
    *,
    weight: Any = None,
    reduction: str = "mean",
    ignore_index: int = -100,
) -> Any:
    """``ops.nll`` of rows by its twin's kernels."""
    from distgrad.kernels import rows as kernels  # noqa: PLC0415 (numba)

    shape, dtype = log_probs.shape, log_probs.dtype
    if weight is not None or len(shape) != 2:
        raise Unlowered("a twin of these")
    given = _places(tape, labels)
    targets, seen = tape.new(shape[:1], _WHOLE), tape.new((2,), _WHOLE)
    loss, x = tape.new(shape[:1], dtype), log_probs if log_probs.dense else log_probs.copy()
    tape.kernel(kernels._nll, x, given, ignore_index, loss, targets, seen, writes=3)

    def refuse(asked: Any) -> None:
        check_labels(asked, shape, ignore_index, "nll_loss")

    tape.check(seen[1], refuse, given)
    scale = tape.new((1,), dtype)
    tape.kernel("share", seen, scale)
    scale = scale.reshape(())

    def vjp(g: Form) -> Form:
        weights = g * scale if reduction == "mean" else g
        weights = (weights if weights.dense else weights.copy()).reshape(weights.size)
        d: Form = tape.zeros(shape, dtype)
        each = int(reduction == "none")
        tape.kernel(kernels._nll_back, weights, each, targets, d)
        return d

    if reduction == "none":
        return loss, (vjp, None)
    total = np.add.reduce(loss)
    return (total * scale if reduction == "mean" else total), (vjp, None)
