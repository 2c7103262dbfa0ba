"""Which way a convolution over one or two axes and its gradients go, of those at hand.

Where products are in tiles (AMX) each way has a price: nanoseconds of one direction, on one core of
a Granite Rapids, of what it multiplies and what it brings into another form.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from distgrad.kernels import onednn, split_products
from distgrad.kernels.direct import Direct
from distgrad.kernels.direct_plan import plans
from distgrad.kernels.im2row import Line, is_pixel, rows_of
from distgrad.kernels.onednn_convolution import Problem
from distgrad.kernels.vectors import BYTES
from distgrad.kernels.winograd import Tiles
from distgrad.ops.geometry import Windows

_BESIDE_ROWS, _BESIDE_LIBRARY = 64, 128
"""Channels from which on im2col, and oneDNN, are slower than Winograd's filtering by BLAS."""
_ENOUGH = 64
"""Tiles of Winograd's: for fewer, to bring filters into form costs more."""
_FEW, _WIDE = 4, 16
"""Channels at most, and pixels of a window at least, that oneDNN adds up slowly."""


def of(problem: Problem, library: Any, single: bool) -> Any:
    """Return the way to do it, in float32 if ``single``; the library's is oneDNN's, None if none.

    Arrays are (n, …, c), dense.
    """
    plane = _as_plane(problem)
    name = _name(plane, library is not None, single)
    way: Any = rows_of(plane)
    if name == "winograd":
        way = Tiles(plane)
    elif name == "direct":
        way = Direct(plane, way)
    if plane is not problem:
        way = Line(way)
    if name != "library":
        return way
    return _Scattering(library, way) if _scatters(plane) else library


def _as_plane(problem: Problem) -> Problem:
    """One axis, as images of height 1."""
    if len(problem.windows.kernel) == 2:
        return problem
    x, weight, y = ((*s[:2], 1, *s[2:]) for s in (problem.x, problem.weight, problem.y))
    k, s, p, d = (v[0] for v in problem.windows)
    return Problem(x, weight, y, Windows((1, k), (1, s), (0, p), (1, d)), problem.groups)


def _name(plane: Problem, library: bool, single: bool) -> str:
    if plane.groups > 1:
        return "library" if library else "rows"
    # Who lets the library round to bfloat16 wants its speed.
    if single and split_products.usable() and not (library and onednn.rounds()):
        return _cheapest(plane, library)
    least = _BESIDE_LIBRARY if library else _BESIDE_ROWS
    if _filters(plane) and min(plane.weight[:2]) >= least:
        return "winograd"
    return "library" if library else "rows"


def _filters(plane: Problem) -> bool:
    """Whether Winograd's filtering does it: 3 x 3 in steps of 1, to even heights and widths."""
    kernel, stride, padding, dilation = plane.windows
    n, o, *size = plane.y
    if min(o, plane.x[1]) < BYTES // 4:
        return False
    if kernel != (3, 3) or stride != (1, 1) or dilation != (1, 1) or max(padding) > 2:
        return False
    return not any(length % 2 for length in size) and n * math.prod(size) // 4 >= _ENOUGH


@lru_cache(256)
def _cheapest(plane: Problem, library: bool) -> str:
    o, c = plane.weight[:2]
    windows, inner = plane.y[0] * math.prod(plane.y[2:]), c * math.prod(plane.windows.kernel)
    products, filters = windows * inner * o, inner * o
    moved = windows * inner / 5 if is_pixel(plane.windows) else windows * inner * 1.1
    prices = {
        "rows": products / 165 + moved + filters * 1.2 + 8_000,
        "direct": _direct(plane) + windows * o / 6 + filters * 3 + 10_000,
    }
    if library:
        fast = min(1, (plane.y[3] + 3) / 11)  # it takes a few results of a row at once
        prices["library"] = products / 78 / fast + filters / 2 + 6_000
    if _filters(plane):
        prices["winograd"] = products / 337 + windows * (c + o) * 3.4 + filters * 1.6 + 30_000
    return min(prices, key=prices.__getitem__)


def _direct(plane: Problem) -> float:
    there, back, weight = plans(plane)
    # The gradient to the weight takes longer: sums are read and written for each image.
    products = there.products + back.products + weight.products * 1.3
    return products / 165 / 3 + (there.pixels + back.pixels + weight.pixels) * 32 / 8 / 3


def _scatters(plane: Problem) -> bool:
    """Whether the gradient to the data is the faster one by rows: to images, of large windows.

    On a Granite Rapids a fifth of the time for 3 channels and windows of 16 x 16, 0.4 for 7 x 7.
    """
    few = plane.weight[1] <= _FEW and plane.groups == 1
    return few and math.prod(plane.windows.kernel) >= _WIDE


class _Scattering:
    """The library's way, but for the gradient to the data."""

    def __init__(self, library: Any, rows: Any) -> None:
        self.forward, self.to_weight = library.forward, library.to_weight
        self.to_data = rows.to_data
