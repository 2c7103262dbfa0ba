"""Borders around the last axes."""

from __future__ import annotations

from collections.abc import Sequence

from distgrad import ops
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.nn.functional.wrap import wrap

NUMPY_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(
    input: TensorLike, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """A border around the last axes: ``pad`` is (before, after) of the last, then the one before.

    ``mode`` is 'constant' (``value`` or 0; negative widths cut off), 'reflect' (mirrored at the
    edge element, less than a length wide), 'replicate' (the edge element) or 'circular' (from the
    other end, at most a length wide). Errors: ShapeError for widths that do not fit, other modes.
    """
    input = wrap(input)
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ShapeError(
            f"pad needs (before, after) for each of at most {input.ndim} axes, the last axis "
            f"first; got {tuple(pad)}"
        )
    last = [(int(pad[i]), int(pad[i + 1])) for i in range(0, len(pad), 2)]
    widths = [(0, 0)] * (input.ndim - len(last)) + last[::-1]
    if mode == "constant":
        if min(map(min, last), default=0) < 0:
            input, widths = _cut(input, widths), [_not_negative(w) for w in widths]
        return wrap(ops.pad_constant(input, pad_width=tuple(widths), constant_values=value or 0))
    if mode not in NUMPY_MODES:
        raise ShapeError(
            f"pad: mode is 'constant', 'reflect', 'replicate' or 'circular'; got {mode!r}"
        )
    if value:
        raise ShapeError(f"pad: value={value} belongs to mode='constant'; got mode={mode!r}")
    for n, width in zip(input.shape, widths, strict=True):
        _check(mode, n, width)
    if not any(map(any, last)):
        return input.clone()
    return wrap(ops.pad_border(input, pad_width=tuple(widths), mode=NUMPY_MODES[mode]))


def _cut(x: Tensor, widths: Sequence[tuple[int, int]]) -> Tensor:
    for axis, (n, (before, after)) in enumerate(zip(x.shape, widths, strict=True)):
        if before < 0 or after < 0:
            length = n + min(before, 0) + min(after, 0)
            if length < 0:
                raise ShapeError(f"pad: {(before, after)} cuts more than the {n} of axis {axis}")
            x = wrap(ops.narrow(x, axis, max(-before, 0), length))
    return x


def _not_negative(width: tuple[int, int]) -> tuple[int, int]:
    return max(width[0], 0), max(width[1], 0)


def _check(mode: str, n: int, width: tuple[int, int]) -> None:
    most = {"reflect": n - 1, "circular": n}.get(mode, max(width) if n else 0)
    if width != (0, 0) and not (min(width) >= 0 and max(width) <= most):
        raise ShapeError(
            f"pad: mode={mode!r} cannot pad an axis of length {n} by {width}; widths are 0 to "
            f"{most} here"
        )
