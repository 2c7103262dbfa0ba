"""Twins of convolution and its transpose. What comes out is channels-last: (n, c, …) in shape,
(n, …, c) in memory, which is what products give and what the next layer wants.

By oneDNN where it is installed and has a kernel (float32), else by im2col and BLAS with numba; by
Winograd's filtering, or in tiles (AMX), where that is faster: kernels/ways.py says which.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from distgrad import kernels
from distgrad.autograd.node import Joint
from distgrad.autograd.types import Array, Ints
from distgrad.kernels import onednn_convolution
from distgrad.kernels.arrays import channels_first, channels_last, dense, suits
from distgrad.kernels.onednn_convolution import Problem
from distgrad.ops.conv import check_channels
from distgrad.ops.geometry import Numbers, windows_of


class _Way(Protocol):
    """How a convolution is computed: arrays are (n, …, c), dense, and those it fills are new."""

    def forward(self, x: Array, weight: Array, bias: Array | None, y: Array) -> None: ...

    def to_data(self, g: Array, weight: Array, dx: Array) -> None: ...

    def to_weight(self, x: Array, g: Array, dw: Array, db: Array | None) -> None: ...


def convolution(
    images: Array,
    weight: Array,
    bias: Array | None,
    *,
    stride: Ints = 1,
    padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> tuple[Array, Joint] | None:
    """The twin of ``ops.convolution``."""
    if not suits(images, weight, bias) or images.ndim != weight.ndim or images.ndim < 3:
        return None
    o, i, *_ = weight.shape
    check_channels(images.shape[1], o, i, groups)
    if bias is not None and bias.shape != (o,):
        return None  # the reference words the error
    windows = windows_of(weight.shape[2:], stride, padding, dilation)
    y_shape = (images.shape[0], o, *windows.counts(images.shape[2:]))
    problem = Problem(images.shape, weight.shape, y_shape, windows, groups)
    way = _way(problem, bias is not None, images.dtype)
    if way is None:
        return None
    shape, x, filters = images.shape, channels_last(images), dense(weight)
    y = _new(y_shape, x.dtype)
    way.forward(x, filters, None if bias is None else dense(bias), y)

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, ...]:
        # Backward may run on another thread, which has ways of its own.
        way = _way(problem, bias is not None, x.dtype)
        assert way is not None
        gy = channels_last(g)
        dx = dw = db = None
        if wanted[1] or wanted[2]:
            dw = np.empty(filters.shape, x.dtype)
            db = None if bias is None else np.empty(bias.shape, x.dtype)
            way.to_weight(x, gy, dw, db)
        if wanted[0]:
            dx = _new(shape, x.dtype)
            way.to_data(gy, filters, dx)
        return None if dx is None else channels_first(dx), dw, db

    return channels_first(y), Joint(vjp)


def convolution_transpose(
    images: Array,
    weight: Array,
    bias: Array | None,
    *,
    size: Numbers,
    stride: Ints = 1,
    padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> tuple[Array, Joint] | None:
    """The twin of ``ops.convolution_transpose``: the gradient of a convolution to its data."""
    if not suits(images, weight, bias) or images.ndim != weight.ndim or images.ndim < 3:
        return None
    o, i, *_ = weight.shape
    windows = windows_of(weight.shape[2:], stride, padding, dilation)
    fits = len(size) == weight.ndim - 2 and windows.counts(size) == images.shape[2:]
    if not fits or groups < 1 or o % groups or images.shape[1] != o:
        return None  # the reference words the error
    if bias is not None and bias.shape != (i * groups,):
        return None
    y_shape = (images.shape[0], i * groups, *size)
    problem = Problem(y_shape, weight.shape, images.shape, windows, groups)
    way = _way(problem, False, images.dtype)
    if way is None:
        return None
    shape, x, filters = images.shape, channels_last(images), dense(weight)
    y = _new(y_shape, x.dtype)
    way.to_data(x, filters, y)
    if bias is not None:
        y += bias

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, ...]:
        way = _way(problem, False, x.dtype)
        assert way is not None
        gy = channels_last(g)
        dx = dw = db = None
        if wanted[0]:
            dx = _new(shape, x.dtype)
            way.forward(gy, filters, None, dx)
        if wanted[1]:
            dw = np.empty(filters.shape, x.dtype)
            way.to_weight(gy, x, dw, None)
        if wanted[2]:
            rows = gy.reshape(-1, gy.shape[-1])
            db = np.matmul(np.ones(len(rows), x.dtype), rows)
        return None if dx is None else channels_first(dx), dw, db

    return channels_first(y), Joint(vjp)


def _new(shape: Numbers, dtype: Any) -> Array:
    """A new array of shape (n, c, …), as (n, …, c)."""
    n, c, *lengths = shape
    return np.empty((n, *lengths, c), dtype)


def _way(problem: Problem, bias: bool, dtype: np.dtype[Any]) -> _Way | None:
    library = onednn_convolution.plan(problem, bias) if dtype == np.float32 else None
    if len(problem.windows.kernel) <= 2 and (of := kernels.part("ways", "of")) is not None:
        way: _Way = of(problem, library, dtype == np.float32)
        return way
    return library
