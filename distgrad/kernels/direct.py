"""Convolutions as products in tiles (AMX) of the images themselves: no windows are written.

Images and filters lie in parts, as kernels/split_products.py has them; kernels/direct_plan.py says
where. What is computed of windows that reach from one row into the next is left out.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distgrad.autograd.types import Array
from distgrad.kernels import amx_tiles
from distgrad.kernels.amx_tiles import PAIRED, PIXEL, SIDE, STEP
from distgrad.kernels.direct_plan import (
    CHANNELS,
    COLUMNS,
    COUNT,
    EACH,
    GROUP,
    HEIGHT,
    IMAGE_Y,
    IMAGES,
    JOB,
    JOBS,
    LENGTH,
    NUMBERS,
    PITCH,
    PIXEL_Y,
    REACH,
    ROW_Y,
    ROWS,
    START,
    STEP_X,
    STEP_Y,
    STEPS,
    STRIP,
    WIDE,
    WIDTH,
    Plan,
    blocks_of,
    plans,
)
from distgrad.kernels.im2row import buffer
from distgrad.kernels.jit import exact_kernel, part
from distgrad.kernels.onednn_convolution import Problem
from distgrad.kernels.scalars import element, least
from distgrad.kernels.split_panels import (
    HEAD,
    columns_in_parts,
    pair,
    reaches,
    split,
    turned_in_parts,
)
from distgrad.kernels.vectors import (
    add,
    address,
    apart,
    broadcast,
    load,
    load_some,
    store,
    store_some,
)

_WORD = 4
_F32 = np.dtype(np.float32)
_MANY = 4096
"""Results that are added up before their sum is added to that of all, which is more exact."""


class Direct:
    """A convolution and its gradients, of arrays (n, h, w, c) and weights (o, c, y, x).

    An ``other`` way computes what has a NaN, an infinity or a number as good as one.
    """

    def __init__(self, problem: Problem, other: Any) -> None:
        self._plans, self._other = plans(problem), other

    def forward(self, x: Array, weight: Array, bias: Array | None, y: Array) -> None:
        """Let ``y`` be the convolution of ``x``."""
        shift = np.zeros(len(weight), _F32) if bias is None else bias
        if not _convolved(self._plans.forward, x, weight.transpose(2, 3, 1, 0), shift, y):
            self._other.forward(x, weight, bias, y)

    def to_data(self, g: Array, weight: Array, dx: Array) -> None:
        """Let ``dx`` be the gradient to ``x``, of the gradient ``g`` to ``y``."""
        plan, nothing = self._plans.to_data, np.zeros(dx.shape[3], _F32)
        if not plan.covers:
            dx.fill(0)
        if not _convolved(plan, g, weight.transpose(2, 3, 0, 1), nothing, dx):
            self._other.to_data(g, weight, dx)

    def to_weight(self, x: Array, g: Array, dw: Array, db: Array | None) -> None:
        """Let ``dw`` and ``db`` be the gradients to the weight and the bias."""
        plan, (o, c, *kernel) = self._plans.to_weight, dw.shape
        high, wide = blocks_of(o), plan.blocks
        shape = wide, high, len(plan.taps), SIDE, SIDE
        size = math.prod(shape)
        sums = buffer("sums", (2, size + high * SIDE), _F32)
        sums.fill(0)
        pixels = plan.length * wide * (PIXEL + plan.images * PAIRED)
        panels = high * (SIDE * SIDE + plan.counts * STEP)
        room = buffer("direct", (HEAD + pixels + panels + 16,), _F32)
        if not _correlate(x.reshape(-1), g.reshape(-1), sums.reshape(-1), plan.table, room):
            self._other.to_weight(x, g, dw, db)
            return
        # Its axes are c / 32, o / 32, the places of the filter, o and c.
        blocks = sums[0, :size].reshape(shape).transpose(1, 3, 0, 4, 2)
        dw[...] = blocks.reshape(high * SIDE, wide * SIDE, *kernel)[:o, :c]
        if db is not None:
            db[...] = sums[0, size : size + o]


def _convolved(plan: Plan, x: Array, weight: Array, shift: Array, y: Array) -> bool:
    """Convolve with weights (y, x, c, o), unless a number is too large."""
    channels, wide = weight.shape[2:]
    filters = buffer("filters", (len(plan.taps), plan.blocks * SIDE, wide), _F32)
    filters[:, channels:] = 0
    for one, tap in zip(filters, plan.taps, strict=True):
        one[:channels] = weight[tap]
    pixels = plan.length * plan.blocks * plan.images * PIXEL
    size = HEAD + SIDE * SIDE + pixels + plan.group * plan.steps * STEP + 16
    room = buffer("direct", (size,), _F32)
    lines = x.reshape(-1), filters.reshape(-1), shift, y.reshape(-1)
    done: bool = _convolve(*lines, plan.table, room)
    return done


@exact_kernel
def _convolve(x: Array, filters: Array, shift: Array, y: Array, table: Array, room: Array) -> bool:
    """Convolve by a plan's ``table``; return whether all numbers were small enough."""
    wide, strip, rows = element(table, WIDE), element(table, STRIP), element(table, ROWS)
    steps, group, images = element(table, STEPS), element(table, GROUP), element(table, IMAGES)
    jobs = NUMBERS + images * START
    places = jobs + element(table, JOBS) * JOB
    start = -(address(room, 0) // _WORD) % 16
    parts = start + HEAD + SIDE * SIDE
    panels = parts + images * element(table, EACH) * PIXEL
    store(room, start, broadcast(np.float32(0)))
    amx_tiles.begin()
    for left in range(0, wide, group * SIDE):
        right = least(wide, left + group * SIDE)
        to = panels
        for column in range(left, right, SIDE):
            lines = least(SIDE, wide - column)
            columns_in_parts(filters, column, wide, lines, steps * SIDE, room, start, to)
            to += steps * STEP
        for image in range(element(table, COUNT)):
            for top in range(0, rows, strip):
                for k in range(images):
                    _in_parts(x, image, top, k, table, room, start, parts)
                for job in range(jobs, places, JOB):
                    at = image * element(table, IMAGE_Y) + top * element(table, ROW_Y)
                    _multiply(y, at, left, right, top, job, places, shift, table, room, start)
    amx_tiles.end()
    return not reaches(room, start)


@part
def _multiply(
    y: Array, at: int, left: int, right: int, top: int, job: int, places: int, shift: Array,
    table: Array, room: Array, start: int,
) -> None:  # fmt: skip
    """Compute the results of one remainder, of a strip and a group of filters."""
    apart()
    first, count, columns = element(table, job), element(table, job + 1), element(table, job + 4)
    rows = least(element(table, STRIP), element(table, job + 3) - top)
    at += element(table, job + 2)
    pitch, row, pixel = element(table, PITCH), element(table, ROW_Y), element(table, PIXEL_Y)
    tile = start + HEAD
    parts = tile + SIDE * SIDE
    panel = parts + element(table, IMAGES) * element(table, EACH) * PIXEL + first * STEP
    for q in range(0, (rows - 1) * pitch + columns if rows > 0 else 0, SIDE):
        b, r, c = panel, q // pitch, q % pitch
        for column in range(left, right, SIDE):
            to = at + r * row + c * pixel + column
            amx_tiles.convolve_tiles(
                *(address(room, parts + q * PIXEL), address(table, places + first)),
                *(address(room, b), count, address(room, tile), address(y, to), pixel * _WORD),
            )
            n, i, j = element(table, WIDE) - column, r, c
            low, high = load_some(shift, column, n), load_some(shift, column + 16, n - 16)
            for k in range(tile, tile + SIDE * SIDE, SIDE):
                if j < columns and i < rows:
                    store_some(y, to, n, add(load(room, k), low))
                    store_some(y, to + 16, n - 16, add(load(room, k + 16), high))
                j += 1
                to += pixel
                if j == pitch:
                    i, j = i + 1, 0
                    to = at + i * row + column
            b += element(table, STEPS) * STEP


@exact_kernel
def _correlate(x: Array, g: Array, sums: Array, table: Array, room: Array) -> bool:
    """Let the first half of ``sums`` be those of the blocks of filters, then of g itself."""
    channels, wide, pitch = element(table, CHANNELS), element(table, WIDE), element(table, PITCH)
    strip, length, images = element(table, STRIP), element(table, LENGTH), element(table, IMAGES)
    rows, columns = element(table, ROWS), element(table, COLUMNS)
    places = NUMBERS + images * START + element(table, JOBS) * JOB
    start = -(address(room, 0) // _WORD) % 16
    pixels = start + HEAD
    deep, tall = (channels + SIDE - 1) // SIDE, (wide + SIDE - 1) // SIDE
    taken = pixels + deep * length * PIXEL
    parts = taken + tall * SIDE * SIDE
    panels = parts + images * deep * length * PAIRED
    most = ((strip - 1) * pitch + columns + SIDE - 1) // SIDE * STEP
    waiting, size = 0, len(sums) // 2
    side, beside = least(SIDE, tall * SIDE), tall > 0  # no constants: they are another function
    store(room, start, broadcast(np.float32(0)))
    amx_tiles.begin()
    for image in range(element(table, COUNT)):
        for top in range(0, rows, strip):
            here, to = least(strip, rows - top), parts
            for k in range(images):
                _in_parts(x, image, top, k, table, room, start, pixels - k * deep * length * PIXEL)
                for j in range(deep):
                    _in_pairs(room, pixels + j * length * PIXEL, length, to)
                    to += length * PAIRED
            count = ((here - 1) * pitch + columns + SIDE - 1) // SIDE
            at = (image * rows + top) * columns * wide
            for step in range(count):
                _take(g, at, columns, wide, here, pitch, step * SIDE, sums, room, taken)
                to = panels + step * STEP
                for i in range(taken, taken + tall * SIDE, SIDE):
                    turned_in_parts(room, i, tall * SIDE, beside, side, side, room, start, to)
                    to += most
            to = size
            for j in range(deep):
                for i in range(tall):
                    for place in range(places, places + element(table, STEPS), deep):
                        b = parts + (j * length + element(table, place)) * PAIRED
                        amx_tiles.correlate_tiles(
                            *(address(room, panels + i * most), address(room, b), count),
                            *(address(sums, to), waiting > 0),
                        )
                        to += SIDE * SIDE
            waiting += here * columns
            if waiting >= _MANY or (image == element(table, COUNT) - 1 and top + strip >= rows):
                for k in range(0, size, 16):
                    store(sums, k, add(load(sums, k), load(sums, size + k)))
                for k in range(to, size + size, 16):
                    store(sums, k, broadcast(np.float32(0)))
                waiting = 0
    amx_tiles.end()
    return not reaches(room, start)


@part
def _take(
    g: Array, at: int, columns: int, channels: int, rows: int, pitch: int, q: int, sums: Array,
    room: Array, to: int,
) -> None:  # fmt: skip
    """Write 32 pixels from the q-th on, 0 for those behind a row, and add them to the last sums."""
    apart()
    deep = (channels + SIDE - 1) // SIDE * SIDE
    r, c = q // pitch, q % pitch
    for _ in range(SIDE):
        n, place = channels if c < columns and r < rows else 0, at + (r * columns + c) * channels
        for k in range(0, deep, 16):
            found, sum_ = load_some(g, place + k, n - k), len(sums) - deep + k
            store(room, to + k, found)
            store(sums, sum_, add(load(sums, sum_), found))
        to += deep
        c += 1
        if c == pitch:
            r, c = r + 1, 0


@part
def _in_parts(
    x: Array, image: int, top: int, k: int, table: Array, room: Array, start: int, to: int
) -> None:
    """Write the parts of the k-th image's strip, and its padding, from the k-th place on."""
    apart()
    height, width = element(table, HEIGHT), element(table, WIDTH)
    channels, step = element(table, CHANNELS), element(table, STEP_X)
    jump = element(table, LENGTH) * PIXEL
    to += k * element(table, EACH) * PIXEL
    worst, nothing, end = load(room, start), broadcast(np.float32(0)), to + jump
    across = NUMBERS + k * START
    for r in range(element(table, STRIP) + element(table, REACH)):
        y = (top + r) * element(table, STEP_Y) + element(table, across)
        z = element(table, across + 1)
        for _ in range(element(table, PITCH)):
            n = channels if 0 <= y < height and 0 <= z < width else 0
            place, here = to, ((image * height + y) * width + z) * channels
            for m in range(n, n - channels, -SIDE):
                one, two = load_some(x, here, m), load_some(x, here + 16, m - 16)
                worst = split(one, two, room, place, 16, worst)
                here += SIDE
                place += jump
            to += PIXEL
            z += step
    last = jump * ((channels + SIDE - 1) // SIDE)
    for first in range(to, end, 16):
        for place in range(first, first + last, jump):
            store(room, place, nothing)
    store(room, start, worst)


@part
def _in_pairs(room: Array, at: int, length: int, to: int) -> None:
    """Write the parts of 32 channels, each pixel's beside those of the pixel 16 on."""
    apart()
    for place in range(at, at + (length - 16) * PIXEL, PIXEL):
        for k in range(0, PIXEL, 16):
            pair(room, place + k, 16 * PIXEL, to + k, PIXEL)
        to += PAIRED
