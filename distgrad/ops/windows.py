"""Windows of images as columns, and back: im2col and col2im, adjoint to each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.op import Sample, op
from distgrad.autograd.tensor import Tensor
from distgrad.ops.helpers import Pair, output_length


def _cases(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(2, 2, 4, 5))
    return [
        ((x,), {"kernel": (2, 3), "stride": (1, 1), "padding": (0, 1), "dilation": (1, 1)}),
        ((x,), {"kernel": (2, 2), "stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}),
    ]


@op("n c h w -> n ck l", samples=_cases)
def unfold(x: Any, *, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Any:
    """The windows of (n, c, h, w) as columns: (n, c kh kw, windows), as torch's F.unfold."""
    n, _, h, w = x.shape
    (p, q), (s, r), (d, e) = padding, stride, dilation
    rows = output_length(h, kernel[0], s, p, d)
    cols = output_length(w, kernel[1], r, q, e)
    padded = np.pad(x, ((0, 0), (0, 0), (p, p), (q, q))) if p or q else x
    shifted = [
        padded[:, :, i * d : i * d + s * rows : s, j * e : j * e + r * cols : r]
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]
    y = np.reshape(np.stack(shifted, axis=2), (n, -1, rows * cols))
    return y, lambda g: fold_back(g, (h, w), kernel, stride, padding, dilation)


def _columns(rng: np.random.Generator) -> list[Sample]:
    settings: Any = {"kernel": (2, 2), "stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}
    return [((rng.normal(size=(2, 8, 9)),), {"size": (4, 5), **settings})]


@op("n ck l -> n c h w", samples=_columns)
def fold(y: Any, *, size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Any:
    """Add the columns of ``unfold`` back to images of ``size`` (h, w), as torch's F.fold."""
    return fold_back(y, size, kernel, stride, padding, dilation), lambda g: unfold_(
        g, kernel, stride, padding, dilation
    )


def unfold_(x: Any, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Any:
    """``unfold`` for arrays and Tensors alike: a gradient closure may hold either."""
    run = unfold if isinstance(x, Tensor) else unfold.function
    y = run(x, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    return y if isinstance(x, Tensor) else y[0]


def fold_back(y: Any, size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Any:
    """``fold`` for arrays and Tensors alike."""
    if isinstance(y, Tensor):
        return fold(y, size=size, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    (h, w), (p, q), (s, r), (d, e) = size, padding, stride, dilation
    rows = output_length(h, kernel[0], s, p, d)
    cols = output_length(w, kernel[1], r, q, e)
    parts = np.reshape(y, (y.shape[0], -1, kernel[0], kernel[1], rows, cols))
    padded = np.zeros((*parts.shape[:2], h + 2 * p, w + 2 * q), y.dtype)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            padded[:, :, i * d : i * d + s * rows : s, j * e : j * e + r * cols : r] += parts[
                :, :, i, j
            ]
    return padded[:, :, p : p + h, q : q + w]
