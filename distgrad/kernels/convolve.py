"""Twin of convolution: windows to rows by kernels, products by NumPy's BLAS.

A few images at a time, so that their rows stay in the cache and are never kept. Inside, channels
come last: a window is then a few long runs of memory, and tall products are BLAS's fastest.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.types import Array, Ints
from distgrad.kernels.arrays import dense, flat, suits
from distgrad.kernels.jit import kernel
from distgrad.ops.conv import check_channels
from distgrad.ops.geometry import Numbers, Windows, numbers, windows_of

_ROWS = 1024  # so many windows make a product large enough for BLAS
_scratch = threading.local()


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
    """The twin of ``ops.convolution`` over one or two axes, for one group."""
    if groups != 1 or not suits(images, weight, bias) or images.ndim != weight.ndim:
        return None
    if images.ndim == 3:
        return _line(images, weight, bias, stride=stride, padding=padding, dilation=dilation)
    if images.ndim != 4:
        return None
    n, c, *_ = images.shape
    o, i, *window = weight.shape
    check_channels(c, o, i, groups)
    if bias is not None and bias.shape != (o,):
        return None  # the reference words the error
    geometry = windows_of(window, stride, padding, dilation)
    size = geometry.counts(images.shape[2:])
    x = dense(images)
    filters = np.ascontiguousarray(weight.transpose(0, 2, 3, 1)).reshape(o, -1)  # o y*x*i
    shift = np.zeros(o, x.dtype) if bias is None else flat(bias)
    y = np.empty((n, o, size[0] * size[1]), x.dtype)
    for part in _parts(n, y.shape[2]):
        rows = _rows(x[part], geometry, size)
        product = np.matmul(rows, filters.T, out=_buffer("product", (len(rows), o), x.dtype))
        _to_planes(product.reshape(-1, y.shape[2], o), shift, y[part])

    planes = y.shape  # the closure must not keep y itself

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, ...]:
        gy = dense(g).reshape(planes)
        dx = np.empty_like(x) if wanted[0] else None
        dw = np.zeros_like(filters)
        for part in _parts(n, planes[2]):
            g_rows = _buffer("product", (gy[part].size // o, o), x.dtype)
            _to_channels_last(gy[part], g_rows.reshape(-1, planes[2], o))
            if wanted[1]:
                dw += np.matmul(g_rows.T, _rows(x[part], geometry, size))
            if dx is not None:
                shape = (len(g_rows), filters.shape[1])
                d_rows = np.matmul(g_rows, filters, out=_buffer("rows", shape, x.dtype))
                _add_rows(d_rows, geometry, size, dx[part])
        return (
            dx,
            np.ascontiguousarray(dw.reshape(o, *window, i).transpose(0, 3, 1, 2)),
            np.add.reduce(np.add.reduce(gy, axis=2), axis=0) if wanted[2] else None,
        )

    return y.reshape(n, o, *size), Joint(vjp)


def _line(
    x: Array, weight: Array, bias: Array | None, *, stride: Ints, padding: Ints, dilation: Ints
) -> tuple[Array, Joint] | None:
    """One axis, as images of height 1."""
    result = convolution(
        x[:, :, None],
        weight[:, :, None],
        bias,
        stride=(1, *numbers(stride, 1, "stride")),
        padding=(0, *numbers(padding, 1, "padding")),
        dilation=(1, *numbers(dilation, 1, "dilation")),
    )
    if result is None:
        return None
    y, joint = result

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, ...]:
        # x is read inside joint; mentioned here, a change of it in place is noticed.
        assert x.ndim == 3
        dx, dw, db = joint.function(wanted, g[:, :, None])
        return (None if dx is None else dx[:, :, 0]), dw[:, :, 0], db

    return y[:, :, 0], Joint(vjp)


def _parts(n: int, windows: int) -> Iterator[slice]:
    step = max(1, _ROWS // windows)
    return (slice(i, min(i + step, n)) for i in range(0, n, step))


def _buffer(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Memory that is used again by the next call: fresh pages cost more than what is done there."""
    size = math.prod(shape)
    key = f"{name} {dtype}"
    held: Array | None = _scratch.__dict__.get(key)
    if held is None or held.size < size:
        held = _scratch.__dict__[key] = np.empty(size, dtype)
    return held[:size].reshape(shape)


def _rows(x: Array, geometry: Windows, size: Numbers) -> Array:
    """The windows of images (b, c, h, w), a row each: (b windows, y x c)."""
    kernel_, stride, padding, dilation = geometry
    padded = _padded(x, padding)
    padded.fill(0)
    _to_padded(x, *padding, padded)
    rows = _buffer("rows", (len(x), *size, *kernel_, x.shape[1]), x.dtype)
    runs = _runs(kernel_, dilation, x.shape[1])
    _im2row(
        _lines(padded), rows.reshape(*rows.shape[:4], *runs[:2]), *stride, dilation[0], *runs[2:]
    )
    return rows.reshape(-1, kernel_[0] * kernel_[1] * x.shape[1])


def _add_rows(d_rows: Array, geometry: Windows, size: Numbers, dx: Array) -> None:
    kernel_, stride, padding, dilation = geometry
    padded = _padded(dx, padding)
    padded.fill(0)
    runs = _runs(kernel_, dilation, dx.shape[1])
    rows = d_rows.reshape(len(dx), *size, kernel_[0], *runs[:2])
    _row2im(rows, _lines(padded), *stride, dilation[0], *runs[2:])
    _from_padded(padded, *padding, dx)


def _runs(kernel_: Numbers, dilation: Numbers, channels: int) -> tuple[int, int, int, int]:
    """How many runs of memory a line of a window is, their length, distance, and one pixel's."""
    if dilation[1] == 1:
        return 1, kernel_[1] * channels, 0, channels
    return kernel_[1], channels, dilation[1] * channels, channels


def _padded(x: Array, padding: Numbers) -> Array:
    b, c, h, w = x.shape
    return _buffer("padded", (b, h + 2 * padding[0], w + 2 * padding[1], c), x.dtype)


def _lines(padded: Array) -> Array:
    return padded.reshape(*padded.shape[:2], -1)


@kernel
def _to_padded(x: Array, ph: int, pw: int, padded: Array) -> None:
    """(b, c, h, w) into the inside of (b, h + 2 ph, w + 2 pw, c)."""
    for b in range(x.shape[0]):
        for y in range(x.shape[2]):
            inside = padded[b, y + ph, pw:]
            for c in range(x.shape[1]):
                line = x[b, c, y]
                for z in range(x.shape[3]):
                    inside[z, c] = line[z]


@kernel
def _from_padded(padded: Array, ph: int, pw: int, x: Array) -> None:
    for b in range(x.shape[0]):
        for y in range(x.shape[2]):
            inside = padded[b, y + ph, pw:]
            for c in range(x.shape[1]):
                line = x[b, c, y]
                for z in range(x.shape[3]):
                    line[z] = inside[z, c]


@kernel
def _im2row(padded: Array, rows: Array, sh: int, sw: int, dh: int, step: int, pixel: int) -> None:
    images, height, width, lines, runs, length = rows.shape
    for b in range(images):
        for y in range(height):
            for z in range(width):
                for i in range(lines):
                    for j in range(runs):
                        source = padded[b, y * sh + i * dh, z * sw * pixel + j * step :]
                        out = rows[b, y, z, i, j]
                        for k in range(length):
                            out[k] = source[k]


@kernel
def _row2im(rows: Array, padded: Array, sh: int, sw: int, dh: int, step: int, pixel: int) -> None:
    images, height, width, lines, runs, length = rows.shape
    for b in range(images):
        for y in range(height):
            for z in range(width):
                for i in range(lines):
                    for j in range(runs):
                        out = padded[b, y * sh + i * dh, z * sw * pixel + j * step :]
                        source = rows[b, y, z, i, j]
                        for k in range(length):
                            out[k] += source[k]


@kernel
def _to_planes(rows: Array, shift: Array, y: Array) -> None:
    """(b, l, o) + shift into (b, o, l), 16 windows at a time: a cache line of the output."""
    images, windows, channels = rows.shape
    for b in range(images):
        for start in range(0, windows, 16):
            stop = min(start + 16, windows)
            tile = rows[b, start:stop]
            for c in range(channels):
                out = y[b, c, start:stop]
                for z in range(tile.shape[0]):
                    out[z] = tile[z, c] + shift[c]


@kernel
def _to_channels_last(g: Array, rows: Array) -> None:
    """(b, o, l) into (b, l, o)."""
    images, windows, channels = rows.shape
    for b in range(images):
        for start in range(0, windows, 16):
            stop = min(start + 16, windows)
            tile = rows[b, start:stop]
            for c in range(channels):
                line = g[b, c, start:stop]
                for z in range(tile.shape[0]):
                    tile[z, c] = line[z]
