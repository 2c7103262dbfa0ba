"""Convolutions by rows of windows and NumPy's BLAS, over one or two axes, in groups or not.

A few images at a time, so that their rows stay in the cache and are never kept. Channels come last:
a window is then a few long runs of memory, and a product's result is already where it belongs.
Where each channel has a filter of its own there are no products: kernels do it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from distgrad.autograd.types import Array
from distgrad.kernels.jit import exact_kernel, kernel
from distgrad.kernels.onednn_convolution import Problem
from distgrad.kernels.products import product
from distgrad.kernels.scalars import element
from distgrad.kernels.vectors import BYTES, add, load, load_some, store, store_some
from distgrad.ops.geometry import Numbers, Windows

_ROWS = 1024  # so many windows make a product large enough for BLAS
_scratch = threading.local()


def rows_of(plane: Problem) -> Rows | Channels:
    """Return the way to do it over two axes."""
    groups, windows = plane.groups, plane.windows
    alone = groups == plane.x[1] and groups > 1
    return Channels(windows, plane.y[1] // groups) if alone else Rows(windows, groups)


def is_pixel(windows: Windows) -> bool:
    """Whether each pixel is a window of its own, and there is nothing to copy."""
    one = (1,) * len(windows.kernel)
    return windows.kernel == windows.stride == one and not any(windows.padding)


class Line:
    """One axis, as images of height 1."""

    def __init__(self, plane: Any) -> None:
        self.plane = plane

    def forward(self, x: Array, weight: Array, bias: Array | None, y: Array) -> None:
        """Let ``y`` be the convolution of ``x``."""
        self.plane.forward(x[:, None], weight[:, :, None], bias, y[:, None])

    def to_data(self, g: Array, weight: Array, dx: Array) -> None:
        """Let ``dx`` be the gradient to ``x``, of the gradient ``g`` to ``y``."""
        self.plane.to_data(g[:, None], weight[:, :, None], dx[:, None])

    def to_weight(self, x: Array, g: Array, dw: Array, db: Array | None) -> None:
        """Let ``dw`` and ``db`` be the gradients to the weight and the bias."""
        self.plane.to_weight(x[:, None], g[:, None], dw[:, :, None], db)


class Rows:
    """A convolution and its gradients, of arrays (n, h, w, c) and weights (o, c / groups, y, x)."""

    def __init__(self, windows: Windows, groups: int) -> None:
        self.windows, self.groups = windows, groups
        self._whole = is_pixel(windows) and groups == 1

    def forward(self, x: Array, weight: Array, bias: Array | None, y: Array) -> None:
        """Let ``y`` be the convolution of ``x``."""
        for xs, ws, at in self._groups(x, weight):
            ys = y[..., at]
            filters = _filters(ws).T
            for part in self._parts(ys):
                rows = _rows(xs[part], self.windows, y.shape[1:3])
                out = ys[part].reshape(len(rows), -1) if self.groups == 1 else None
                found = product(rows, filters, out)
                if out is None:
                    ys[part] = found.reshape(ys[part].shape)
                if bias is not None:
                    ys[part] += bias[at]

    def to_data(self, g: Array, weight: Array, dx: Array) -> None:
        """Let ``dx`` be the gradient to ``x``, of the gradient ``g`` to ``y``."""
        for ds, ws, at in self._groups(dx, weight):
            gs = g[..., at]
            filters = _filters(ws)
            for part in self._parts(gs):
                g_rows = gs[part].reshape(-1, filters.shape[0])
                if self._whole:
                    product(g_rows, filters, ds.reshape(-1, ds.shape[3]))
                    continue
                shape = len(g_rows), filters.shape[1]
                rows = product(g_rows, filters, buffer("rows", shape, g.dtype))
                _add_rows(rows, self.windows, g.shape[1:3], ds[part])

    def to_weight(self, x: Array, g: Array, dw: Array, db: Array | None) -> None:
        """Let ``dw`` and ``db`` be the gradients to the weight and the bias."""
        for xs, ws, at in self._groups(x, dw):
            gs = g[..., at]
            o, i, *kernel_ = ws.shape
            total = np.zeros((o, math.prod(kernel_) * i), g.dtype)
            for part in self._parts(gs):
                g_rows = gs[part].reshape(-1, o)
                total += product(g_rows.T, _rows(xs[part], self.windows, g.shape[1:3]))
            ws[...] = total.reshape(o, *kernel_, i).transpose(0, 3, 1, 2)
        if db is not None:
            db[...] = summed(g)

    def _parts(self, y: Array) -> Iterator[slice]:
        """A few images at a time, or all if nothing is copied."""
        step = len(y) if self._whole else max(1, _ROWS // (y.shape[1] * y.shape[2]))
        return (slice(i, min(i + step, len(y))) for i in range(0, len(y), step))

    def _groups(self, x: Array, weight: Array) -> Iterator[tuple[Array, Array, slice]]:
        """Each group's channels, its filters, and where its results are."""
        i, o = x.shape[-1] // self.groups, len(weight) // self.groups
        for j in range(self.groups):
            at = slice(j * o, (j + 1) * o)
            yield x[..., j * i : (j + 1) * i], weight[at], at


class Channels:
    """The same where each channel has ``filters`` of its own (groups = c, o = filters x c)."""

    def __init__(self, windows: Windows, filters: int) -> None:
        self.windows, self.filters = windows, filters

    def forward(self, x: Array, weight: Array, bias: Array | None, y: Array) -> None:
        """Let ``y`` be the convolution of ``x``."""
        shift = np.zeros(len(weight), x.dtype) if bias is None else bias
        padded = self._repeated(x)
        _each(padded, _taps(weight), shift, *self.windows.stride, *self.windows.dilation, y)

    def to_data(self, g: Array, weight: Array, dx: Array) -> None:
        """Let ``dx`` be the gradient to ``x``, of the gradient ``g`` to ``y``."""
        padded = _zeros((*dx.shape[:3], g.shape[3]), dx.dtype, self.windows.padding)
        _each_back(g, _taps(weight), *self.windows.stride, *self.windows.dilation, padded)
        inside = _inside(padded, dx.shape, self.windows.padding)
        if self.filters == 1:
            dx[...] = inside
        else:
            np.add.reduce(inside.reshape(*dx.shape, self.filters), axis=4, out=dx)

    def to_weight(self, x: Array, g: Array, dw: Array, db: Array | None) -> None:
        """Let ``dw`` and ``db`` be the gradients to the weight and the bias."""
        taps = np.zeros((*dw.shape[2:], len(dw)), g.dtype)
        padded = self._repeated(x)
        _each_weight(padded, g, *self.windows.stride, *self.windows.dilation, taps)
        dw[:, 0] = taps.transpose(2, 0, 1)
        if db is not None:
            db[...] = summed(g)

    def _repeated(self, x: Array) -> Array:
        """Each channel once for each of its filters, and the padding."""
        if self.filters > 1:
            x = np.repeat(x, self.filters, axis=3)
        return _padded(x, self.windows.padding)


def summed(g: Array) -> Array:
    """Return the sum over all axes but the last: a product is faster than NumPy's sum of rows."""
    rows = g.reshape(-1, g.shape[-1])
    return np.asarray(np.matmul(np.ones(len(rows), g.dtype), rows))


def buffer(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Memory that is used again by the next call: fresh pages cost more than what is done there."""
    size = math.prod(shape)
    key = f"{name} {dtype}"
    held: Array | None = _scratch.__dict__.get(key)
    if held is None or held.size < size:
        held = _scratch.__dict__[key] = np.empty(size, dtype)
    return held[:size].reshape(shape)


def _filters(weight: Array) -> Array:
    """(o, c, y, x) as (o, y x c)."""
    return np.ascontiguousarray(weight.transpose(0, 2, 3, 1)).reshape(len(weight), -1)


def _taps(weight: Array) -> Array:
    return np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0))  # y x c


def _rows(x: Array, geometry: Windows, size: Numbers) -> Array:
    """The windows of images (b, h, w, c), a row each: (b windows, y x c)."""
    kernel_, _, padding, _ = geometry
    c = x.shape[-1]
    if is_pixel(geometry):
        return x.reshape(-1, c)
    padded = _padded(x, padding)
    rows = buffer("rows", (len(x), *size, *kernel_, c), x.dtype)
    _each_run(padded.reshape(-1), rows.reshape(-1), _sizes(padded, geometry, size), False)
    return rows.reshape(-1, kernel_[0] * kernel_[1] * c)


def _add_rows(d_rows: Array, geometry: Windows, size: Numbers, dx: Array) -> None:
    padding = geometry.padding
    if is_pixel(geometry):
        dx[...] = d_rows.reshape(dx.shape)
        return
    padded = _zeros(dx.shape, dx.dtype, padding)
    _each_run(padded.reshape(-1), d_rows.reshape(-1), _sizes(padded, geometry, size), True)
    dx[...] = _inside(padded, dx.shape, padding)


def _sizes(padded: Array, geometry: Windows, size: Numbers) -> Array:
    """What ``_each_run`` has to know: how many there are of what, and how far apart."""
    (high, wide), (down, right), _, (below, beside) = geometry
    images, _, width, c = padded.shape
    # Pixels side by side are one run of memory.
    runs, length = (wide, c) if beside > 1 else (1, wide * c)
    row = width * c
    return np.array(
        [
            *(images, *size, high, runs, length),
            *(padded[0].size, down * row, right * c, below * row, beside * c),
        ],
        np.int64,
    )


def _padded(x: Array, padding: Numbers) -> Array:
    if not any(padding) and x.flags.c_contiguous and x.flags.writeable:
        return x
    padded = _zeros(x.shape, x.dtype, padding)
    _inside(padded, x.shape, padding)[...] = x
    return padded


def _zeros(shape: Numbers, dtype: np.dtype[Any], padding: Numbers) -> Array:
    b, h, w, c = shape
    padded = buffer("padded", (b, h + 2 * padding[0], w + 2 * padding[1], c), dtype)
    padded.fill(0)
    return padded


def _inside(padded: Array, shape: Numbers, padding: Numbers) -> Array:
    (top, left), (h, w) = padding, shape[1:3]
    return padded[:, top : top + h, left : left + w]


@exact_kernel
def _each_run(images: Array, rows: Array, sizes: Array, back: bool) -> None:
    """Copy windows, run by run, into rows; or add these to them, if ``back``."""
    lanes, to, length = BYTES // rows.itemsize, 0, element(sizes, 5)
    runs, further, pixel = element(sizes, 4), element(sizes, 9), element(sizes, 10)
    for b in range(element(sizes, 0)):
        for y in range(element(sizes, 1)):
            for z in range(element(sizes, 2)):
                first = b * element(sizes, 6) + y * element(sizes, 7) + z * element(sizes, 8)
                for i in range(element(sizes, 3) * runs):
                    at = first + i // runs * further + i % runs * pixel
                    for k in range(0, length, lanes):
                        n = length - k
                        if n >= lanes:
                            found = load(images, at + k)
                            if back:
                                store(images, at + k, add(found, load(rows, to + k)))
                            else:
                                store(rows, to + k, found)
                        else:
                            found = load_some(images, at + k, n)
                            if back:
                                store_some(
                                    images, at + k, n, add(found, load_some(rows, to + k, n))
                                )
                            else:
                                store_some(rows, to + k, n, found)
                    to += length


@kernel
def _each(
    x: Array, taps: Array, shift: Array, sh: int, sw: int, dh: int, dw: int, y: Array
) -> None:
    for b in range(y.shape[0]):
        for p in range(y.shape[1]):
            for q in range(y.shape[2]):
                out = y[b, p, q]
                for c in range(out.size):
                    out[c] = shift[c]
                for i in range(taps.shape[0]):
                    for j in range(taps.shape[1]):
                        pixel, tap = x[b, p * sh + i * dh, q * sw + j * dw], taps[i, j]
                        for c in range(out.size):
                            out[c] += pixel[c] * tap[c]


@kernel
def _each_back(g: Array, taps: Array, sh: int, sw: int, dh: int, dw: int, d: Array) -> None:
    for b in range(g.shape[0]):
        for p in range(g.shape[1]):
            for q in range(g.shape[2]):
                here = g[b, p, q]
                for i in range(taps.shape[0]):
                    for j in range(taps.shape[1]):
                        pixel, tap = d[b, p * sh + i * dh, q * sw + j * dw], taps[i, j]
                        for c in range(here.size):
                            pixel[c] += here[c] * tap[c]


@kernel
def _each_weight(x: Array, g: Array, sh: int, sw: int, dh: int, dw: int, taps: Array) -> None:
    for b in range(g.shape[0]):
        for p in range(g.shape[1]):
            for q in range(g.shape[2]):
                here = g[b, p, q]
                for i in range(taps.shape[0]):
                    for j in range(taps.shape[1]):
                        pixel, tap = x[b, p * sh + i * dh, q * sw + j * dw], taps[i, j]
                        for c in range(here.size):
                            tap[c] += here[c] * pixel[c]
