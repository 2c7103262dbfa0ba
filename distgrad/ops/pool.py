"""Pooling of images: the largest or the mean of each window."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.op import Sample, op
from distgrad.autograd.tensor import Array
from distgrad.errors import ShapeError
from distgrad.ops.helpers import Pair, data_of, output_length, pair
from distgrad.ops.indexing import put_back
from distgrad.ops.windows import fold_back, unfold_


def _cases(rng: np.random.Generator) -> list[Sample]:
    x = rng.permutation(2 * 2 * 5 * 4).reshape(2, 2, 5, 4) / 10
    settings: list[dict[str, Any]] = [
        {"kernel_size": 2},
        {"kernel_size": (3, 2), "stride": 1, "padding": 1},
        {"kernel_size": 2, "stride": (3, 2), "padding": (0, 1)},
    ]
    return [((x,), s) for s in settings]


@op("n c h w -> n c y x", samples=_cases)
def max_pool2d(x: Any, *, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Any:
    """The largest of each window; of equal ones the first gets the gradient (as in PyTorch)."""
    n, c, h, w = x.shape
    kernel, steps, pads = pool_geometry(kernel_size, stride, padding)
    index = _winners(data_of(x), kernel, steps, pads)
    size, shape, dtype = n * c * h * w, x.shape, x.dtype

    def vjp(g: Any) -> Any:
        return np.reshape(put_back(g, index=index, shape=(size,), dtype=dtype), shape)

    return np.reshape(x, (-1,))[index], vjp


@op("n c h w -> n c y x", samples=_cases)
def avg_pool2d(x: Any, *, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Any:
    """The mean of each window, zeros of the padding included (PyTorch's default)."""
    n, c, h, w = x.shape
    kernel, steps, pads = pool_geometry(kernel_size, stride, padding)
    geometry: Any = (kernel, steps, pads, (1, 1))
    rows = output_length(h, kernel[0], steps[0], pads[0], 1)
    count = kernel[0] * kernel[1]
    windows = np.reshape(unfold_(x, *geometry), (n, c, count, rows, -1))
    shape = windows.shape

    def vjp(g: Any) -> Any:
        spread = np.broadcast_to(np.expand_dims(g / count, 2), shape)
        return fold_back(np.reshape(spread, (n, c * count, -1)), (h, w), *geometry)

    return np.add.reduce(windows, axis=2) / count, vjp


def pool_geometry(kernel_size: Any, stride: Any, padding: Any) -> tuple[Pair, Pair, Pair]:
    """Return kernel, stride (the kernel if None) and padding as pairs. Errors: ShapeError."""
    kernel = pair(kernel_size, "kernel_size")
    steps = kernel if stride is None else pair(stride, "stride")
    pads = pair(padding, "padding")
    if any(2 * p > k for p, k in zip(pads, kernel, strict=True)):
        raise ShapeError(
            f"padding {pads} is more than half of the kernel {kernel}, so that some windows would "
            f"hold nothing but padding; use a smaller padding"
        )
    return kernel, steps, pads


def _winners(x: Array, kernel: Pair, stride: Pair, padding: Pair) -> Array:
    """The flat index in ``x`` of the largest element of each window."""
    n, c, h, w = x.shape
    (s, r), (p, q) = stride, padding
    rows = output_length(h, kernel[0], s, p, 1)
    cols = output_length(w, kernel[1], r, q, 1)
    padded = np.pad(x, ((0, 0), (0, 0), (p, p), (q, q)), constant_values=-np.inf)
    windows = np.stack(
        [
            padded[:, :, i : i + s * rows : s, j : j + r * cols : r]
            for i in range(kernel[0])
            for j in range(kernel[1])
        ]
    )
    place = np.argmax(windows, axis=0)
    # Where all is -inf the padding wins: the nearest real element stands in for it.
    y = np.clip(place // kernel[1] + (np.arange(rows) * s - p)[:, None], 0, h - 1)
    z = np.clip(place % kernel[1] + (np.arange(cols) * r - q), 0, w - 1)
    image = np.arange(n * c).reshape(n, c, 1, 1) * (h * w)
    return np.asarray(image + y * w + z)
