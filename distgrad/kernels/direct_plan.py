"""How a convolution goes through images in parts, as kernels/direct.py has it: integers only.

A strip of an image lies pixel by pixel, ``pitch`` to a row and row behind row, with its padding:
so what results side by side see with one place of the filter lies side by side, too. Where steps
are longer than 1, the image is cut into one for each remainder.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain, product
from typing import NamedTuple

import numpy as np

from distgrad.kernels.amx_tiles import PAIRED, PIXEL, SIDE, STEP
from distgrad.kernels.onednn_convolution import Problem
from distgrad.ops.geometry import Numbers

# What a plan's table begins with: where each number is.
COUNT, HEIGHT, WIDTH, CHANNELS, WIDE, STEP_Y, STEP_X, PITCH, STRIP, REACH = range(10)
LENGTH, ROWS, COLUMNS, STEPS, GROUP, IMAGE_Y, ROW_Y, PIXEL_Y, IMAGES, JOBS, EACH = range(10, 21)
NUMBERS, START, JOB = 21, 2, 5
"""How many those are, and how many each start and each job has."""
_WORD = 4
_STRIP, _PAIRS, _FILTERS = 600_000, 1_300_000, 800_000
"""Bytes, at most, of a strip and of a group of filters: together they stay in a core's cache."""


class _Axis(NamedTuple):
    """One axis of a convolution of an image that is cut into some, one for each remainder."""

    step: int
    """How far the pixels of each are apart in the whole one."""
    starts: tuple[int, ...]
    """Where each begins in the whole one: before 0 is padding."""
    places: tuple[tuple[tuple[int, int, int], ...], ...]
    """Of each remainder of results: place in the filter, number of the image, place in that."""

    @property
    def reach(self) -> int:
        """How far a result's last pixel is from its first one."""
        return max((at for places in self.places for _, _, at in places), default=0)


def _forward(kernel: int, stride: int, padding: int, dilation: int) -> _Axis:
    """Return how results are made of data."""
    at = [divmod(i * dilation, stride) for i in range(kernel)]
    images = sorted({image for _, image in at})
    places = tuple((i, images.index(image), place) for i, (place, image) in enumerate(at))
    return _Axis(stride, tuple(image - padding for image in images), (places,))


def _back(kernel: int, stride: int, padding: int, dilation: int) -> _Axis:
    """Return how the gradient to the data is made of that to results, once for each remainder."""
    # Number r + stride q is made of the results q + (r + padding - i dilation) / stride.
    all_ = [[(i, r + padding - i * dilation) for i in range(kernel)] for r in range(stride)]
    whole = [[(i, at // stride) for i, at in row if at % stride == 0] for row in all_]
    start = min(at for row in whole for _, at in row)
    return _Axis(1, (start,), tuple(tuple((i, 0, at - start) for i, at in row) for row in whole))


class Plan:
    """A convolution of images of ``source`` to such of ``result``, both (n, h, w, c).

    Results of each of the axes' remainders are ``steps`` apart. ``paired`` is for the gradient to
    the weight.
    """

    def __init__(
        self, source: Numbers, result: Numbers, axes: tuple[_Axis, _Axis], steps: Numbers,
        paired: bool = False,
    ) -> None:  # fmt: skip
        down, right = axes
        (n, _, length, channels), (_, height, width, wide) = source, result
        self.rows, self.columns = -(-height // steps[0]), -(-width // steps[1])
        starts = [*product(down.starts, right.starts)]
        self.images = len(starts)
        self.blocks = blocks_of(channels)
        self.pitch = self.columns + right.reach - _shared(right, self.columns, length)
        pixel = self.images * self.blocks * PIXEL
        if paired:
            panels = blocks_of(wide) * STEP // SIDE
            pixel = self.images * self.blocks * PAIRED + self.blocks * PIXEL + panels
        most = (_PAIRS if paired else _STRIP) // (pixel * _WORD * self.pitch) - down.reach
        strips = -(-self.rows // max(1, min(self.rows, most)))
        self.strip = -(-self.rows // strips)
        self.counts = blocks_of((self.strip - 1) * self.pitch + self.columns)
        """Blocks of 32 results, those between rows too."""
        self.length = self.counts * SIDE + down.reach * self.pitch + right.reach + 16
        """Pixels of a strip, with those that the last blocks see, and are paired with."""
        self.taps: list[tuple[int, int]] = []
        """Places (y, x) of the filter, in the order in which they are multiplied."""
        jobs, places, first = list[tuple[int, ...]](), list[int](), 0
        for (a, ys), (b, xs) in product(enumerate(down.places), enumerate(right.places)):
            for (i, image_y, y), (j, image_x, x) in product(ys, xs):
                self.taps.append((i, j))
                image, place = image_y * len(right.starts) + image_x, y * self.pitch + x
                for k in range(self.blocks):
                    places.append((image * self.blocks + k) * self.length + place)
            count, at = len(places) - first, (a * width + b) * wide
            if count:
                size = len(range(a, height, steps[0])), len(range(b, width, steps[1]))
                jobs.append((first, count, at, *size))
            first = len(places)
        self.covers = len(jobs) == len(down.places) * len(right.places)
        """Whether each result has a place of the filter."""
        self.group = max(1, min(blocks_of(wide), _FILTERS // (len(places) * STEP * _WORD)))
        """Panels of 32 filters that are in parts at a time."""
        self.steps = len(places)
        numbers = (
            *(*source, wide, down.step, right.step, self.pitch, self.strip, down.reach),
            *(self.length, self.rows, self.columns, self.steps, self.group),
            *(height * width * wide, steps[0] * width * wide, steps[1] * wide),
            *(self.images, len(jobs), self.blocks * self.length),
        )
        self.table = np.array([*numbers, *chain(*starts), *chain(*jobs), *places], np.int64)
        """What a kernel has to know: numbers; where images start (y, x); of each remainder of
        results the first step, steps, where they begin, rows and columns; and of each step where
        its pixels are in a strip's memory, in pixels of 32 channels."""
        self.products = (
            n * strips * self.counts * SIDE * len(places) * SIDE * blocks_of(wide) * SIDE
        )
        """Multiplications, of all that is computed."""
        self.pixels = n * strips * self.length * pixel // PIXEL * -(-blocks_of(wide) // self.group)
        """Pixels of 32 channels that are brought in parts."""


def _shared(axis: _Axis, columns: int, length: int) -> int:
    """Return how many pixels of padding behind a row may be those before the next one."""
    for shared in range(axis.reach, 0, -1):
        last, pitch = (shared - 1) * axis.step, columns + axis.reach - shared
        if all(last + at < 0 and pitch * axis.step + at >= length for at in axis.starts):
            return shared
    return 0


def blocks_of(n: int) -> int:
    """Return how many blocks of 32 so many lines, or channels, are."""
    return -(-n // SIDE)


class Plans(NamedTuple):
    """How a convolution and its gradients go."""

    forward: Plan
    to_data: Plan
    to_weight: Plan


@lru_cache(256)
def plans(problem: Problem) -> Plans:
    """Return how a convolution over two axes goes."""
    (n, c, *size), (o, *_) = problem.x, problem.weight
    x, y = (n, *size, c), (n, *problem.y[2:], o)
    down, right = zip(*problem.windows, strict=True)
    there, again = ((way(*down), way(*right)) for way in (_forward, _back))
    return Plans(
        Plan(x, y, there, (1, 1)),
        Plan(y, x, again, problem.windows.stride),
        Plan(x, y, there, (1, 1), paired=True),
    )
