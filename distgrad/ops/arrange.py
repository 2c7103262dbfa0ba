"""Elements reversed, rotated and repeated: flip, roll, rot90, repeat, tile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad.autograd.apart import apart, varies_form
from distgrad.autograd.op import OpResult, Sample, dispatch, op
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Axis, Ints
from distgrad.autograd.whole import whole
from distgrad.errors import ShapeError
from distgrad.ops.helpers import integers
from distgrad.ops.shape import axis_numbers


@op(
    "... -> ...",
    function=np.flip,
    samples=lambda rng: [((rng.normal(size=(2, 3)),), s) for s in ({}, {"axis": -1})],
)
def flip(a: Array, *, axis: Axis = None) -> OpResult:
    """The order along ``axis`` (a number, several, or None for all) reversed, in new memory."""
    return np.copy(np.flip(a, axis)), lambda g: np.flip(g, axis)


def _rolls(rng: np.random.Generator) -> list[Sample]:
    settings: list[dict[str, Any]] = [
        {"shift": 2},
        {"shift": -1, "axis": 1},
        {"shift": (1, 2), "axis": (0, -1)},
    ]
    return [((rng.normal(size=(2, 3)),), s) for s in settings]


@op("... -> ...", function=np.roll, samples=_rolls)
def roll(a: Array, *, shift: Any, axis: Axis = None) -> OpResult:
    """Elements moved on along ``axis`` (all of them in a row if None), the last ones first."""
    back = tuple(-s for s in shift) if np.ndim(shift) else -shift
    return np.roll(a, shift, axis), lambda g: np.roll(g, back, axis)


@dispatch(np.fliplr)
def fliplr(m: Array | Tensor) -> Array:
    """Axis 1 reversed."""
    return np.flip(m, axis_numbers(1, m.ndim, "fliplr"))


@dispatch(np.flipud)
def flipud(m: Array | Tensor) -> Array:
    """Axis 0 reversed."""
    return np.flip(m, axis_numbers(0, m.ndim, "flipud"))


@dispatch(np.rot90)
def rot90(m: Array | Tensor, k: int = 1, axes: Sequence[int] = (0, 1)) -> Array:
    """The plane of two axes turned ``k`` times by 90°, from the first axis towards the second."""
    if len(axes) != 2:
        raise ShapeError(f"rot90 turns the plane of two axes; got axes={axes}")
    first, second = axis_numbers(axes, m.ndim, "rot90")
    if k % 4 == 0:
        return np.copy(m)
    if k % 4 == 2:
        return np.flip(m, (first, second))
    if k % 4 == 1:
        return np.swapaxes(np.flip(m, second), first, second)
    return np.flip(np.swapaxes(m, first, second), second)


@dispatch(np.repeat)
def repeat(a: Array | Tensor, repeats: TensorLike, axis: int | None = None) -> Any:
    """Each element ``repeats`` times in a row: a number, or one for each index along ``axis``.

    Errors: ShapeError for negative numbers, or another count of them.
    """
    if axis is None:
        return repeat(np.ravel(a), repeats, 0)
    (axis,) = axis_numbers(axis, a.ndim, "repeat")
    n = a.shape[axis]
    if np.size(repeats) == 1 and isinstance(repeats, Tensor):
        return _repeat_all_as_often(a, repeats, n, axis)
    if np.size(repeats) == 1:
        return _repeat_all(a, int(_times(repeats, n, axis).reshape(())), axis)
    return np.take(a, _repeated(repeats, n, axis), axis=axis)


@apart
def _repeated(repeats: TensorLike, n: int, axis: int) -> Array:
    """The indices along an axis of ``n``, each as often as it is to be there."""
    return np.repeat(np.arange(n), _times(repeats, n, axis))


def _times(repeats: TensorLike, n: int, axis: int) -> Array:
    times = integers(repeats, "repeats")
    if times.size not in {1, n} or times.ndim > 1 or (times < 0).any():
        raise ShapeError(
            f"repeat takes one number of at least 0, or one for each of the {n} indices along "
            f"axis {axis}; got {np.array2string(times, threshold=8)}"
        )
    return times


@whole
@varies_form
def _repeat_all_as_often(a: Array | Tensor, repeats: Tensor, n: int, axis: int) -> Array:
    return _repeat_all(a, int(_times(repeats, n, axis).reshape(())), axis)


def _repeat_all(a: Array | Tensor, times: int, axis: int) -> Array:
    # Broadcast, then fold the new axis in: its gradient is a sum, not a scatter.
    before, n, after = a.shape[:axis], a.shape[axis], a.shape[axis + 1 :]
    spread = np.broadcast_to(np.expand_dims(a, axis + 1), (*before, n, times, *after))
    folded = np.reshape(spread, (*before, n * times, *after))
    return np.copy(folded) if n == 1 or times == 1 else folded  # it may be written to


@dispatch(np.tile)
def tile(A: Array | Tensor, reps: Ints) -> Array:
    """The whole array repeated ``reps`` times along each axis, the last axes first."""
    times = tuple(int(r) for r in integers(reps, "reps").reshape(-1))
    if min(times, default=0) < 0:
        raise ShapeError(f"tile repeats 0 times or more; got {times}")
    ndim = max(A.ndim, len(times))
    shape = (1,) * (ndim - A.ndim) + A.shape
    times = (1,) * (ndim - len(times)) + times
    apart = np.reshape(A, tuple(n for length in shape for n in (1, length)))
    pairs = zip(times, shape, strict=True)
    spread = np.broadcast_to(apart, tuple(n for pair in pairs for n in pair))
    folded = np.reshape(spread, tuple(t * n for t, n in zip(times, shape, strict=True)))
    still_a_view = all(t == 1 or n == 1 for t, n in zip(times, shape, strict=True))
    return np.copy(folded) if still_a_view else folded  # it may be written to
