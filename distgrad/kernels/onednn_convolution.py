"""Convolutions by oneDNN: forward and both gradients, over one to three axes, in groups or not.

Arrays are channels-last (n, …, c) and dense, weights as everywhere (o, c / groups, …): the library
wants these in an order of its own, into which they are brought each time.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from distgrad.autograd.types import Array
from distgrad.kernels import onednn
from distgrad.kernels.onednn import Library, LibraryError, Pointer, Primitive, longs, memory
from distgrad.ops.conv import convolution
from distgrad.ops.geometry import Numbers, Windows, windows_of

_DIRECT, _TRAINING = 1, 64  # dnnl_types.h


class Problem(NamedTuple):
    """A convolution: shapes (n, c, …), (o, c / groups, …) and (n, o, …), and how it goes."""

    x: Numbers
    weight: Numbers
    y: Numbers
    windows: Windows
    groups: int


class Convolution:
    """A convolution and both its gradients, for one thread.

    Errors: LibraryError where the library has no kernel for it.
    """

    def __init__(self, library: Library, problem: Problem, bias: bool) -> None:
        self._library, groups = library, problem.groups
        o, i, *kernel = problem.weight
        grouped = (groups, o // groups, i, *kernel) if groups > 1 else problem.weight
        x, y = (library.layout(s, onednn.strides_last(s)) for s in (problem.x, problem.y))
        weight, own = (library.layout(grouped, s) for s in (None, onednn.strides(grouped)))
        shift = library.layout((o,), (1,)) if bias else None
        self._x, self._y, self._own, self._shift = x, y, own, shift
        kept = [m for m in (x, y, weight, own, shift) if m is not None]
        library.free_with(self, "memory_desc", *kept)
        _, stride, padding, dilation = problem.windows
        pads = longs(padding)
        how = longs(stride), longs([d - 1 for d in dilation]), pads, pads
        self._descriptions: dict[str, Pointer] = {}
        self._primitives: dict[str, tuple[Primitive, Primitive, int]] = {}

        def described(part: str, name: str, *arguments: Any) -> Pointer:
            name = f"convolution_{name}_primitive_desc_create"
            made = library.made(name, library.engine, *arguments, library.attributes)
            library.free_with(self, "primitive_desc", made)
            self._descriptions[part] = made
            if library.implementation(made).startswith("ref"):  # it is no kernel, but a definition
                raise LibraryError(name, onednn.UNIMPLEMENTED)
            return made

        with library.alone():
            there = described("y", "forward", _TRAINING, _DIRECT, x, weight, shift, y, *how)
            described("x", "backward_data", _DIRECT, x, weight, y, *how, there)
            described("weight", "backward_weights", _DIRECT, x, weight, shift, y, *how, there)

    def forward(self, x: Array, weight: Array, bias: Array | None, y: Array) -> None:
        """Let ``y`` be the convolution of ``x``."""
        run, order, size = self._part("y", onednn.ASK_WEIGHTS)
        kept = memory("weight", size)
        order(weight, kept)
        run(x, kept, *([bias] if bias is not None else []), y)

    def to_data(self, g: Array, weight: Array, dx: Array) -> None:
        """Let ``dx`` be the gradient to ``x``, of the gradient ``g`` to ``y``."""
        run, order, size = self._part("x", onednn.ASK_WEIGHTS)
        kept = memory("weight", size)
        order(weight, kept)
        run(dx, kept, g)

    def to_weight(self, x: Array, g: Array, dw: Array, db: Array | None) -> None:
        """Let ``dw`` and ``db`` be the gradients to the weight and the bias."""
        run, order, size = self._part("weight", onednn.ASK_DIFF_WEIGHTS)
        kept = memory("weight", size)
        run(x, kept, *([db] if db is not None else []), g)
        order(kept, dw)

    def _part(self, name: str, ask: int) -> tuple[Primitive, Primitive, int]:
        """Return a primitive, that which brings weights into its order, and their size in that."""
        found = self._primitives.get(name)
        if found is None:
            found = self._primitives[name] = self._made(name, ask)
        return found

    def _made(self, name: str, ask: int) -> tuple[Primitive, Primitive, int]:
        library, description = self._library, self._descriptions[name]
        weight = library.asked(description, ask)
        indices = {
            "y": (onednn.SRC, onednn.WEIGHTS, onednn.BIAS, onednn.DST),
            "x": (onednn.DIFF_SRC, onednn.WEIGHTS, None, onednn.DIFF_DST),
            "weight": (onednn.SRC, onednn.DIFF_WEIGHTS, onednn.DIFF_BIAS, onednn.DIFF_DST),
        }[name]
        pairs = zip(indices, (self._x, weight, self._shift, self._y), strict=True)
        layouts = [(i, m) for i, m in pairs if i is not None and m is not None]
        source, target = (self._own, weight) if name != "weight" else (weight, self._own)
        return (
            Primitive(library, description, layouts),
            onednn.conversion(library, self, source, target),
            library.bytes_of(weight),
        )


def plan(problem: Problem, bias: bool) -> Convolution | None:
    """Return this thread's way to do it; None where the library is not used, or has no kernel."""
    found: Convolution | None = onednn.kept((problem, bias), lambda: _planned(problem, bias))
    return found


def _planned(problem: Problem, bias: bool) -> Convolution | None:
    library = loaded()
    if library is None:
        return None
    try:
        return Convolution(library, problem, bias)
    except LibraryError as error:
        if error.status not in {onednn.UNIMPLEMENTED, onednn.INVALID}:
            raise
        return None


@cache
def loaded() -> Library | None:
    """Load and test the library, once; None where it is not there, not wanted or not usable."""
    path, version = onednn.installed()
    if not version or onednn.off():
        return None
    try:
        library = Library(path)
        _test(library)
    except (OSError, AttributeError, LibraryError, _WrongError) as error:
        onednn.REFUSED.append(f"oneDNN {version} cannot be used: {error}")
        warnings.warn(
            f"{onednn.REFUSED[0]}; im2col and BLAS convolve instead, slower. Install "
            f"{onednn.WHEEL} anew, or set DISTGRAD_ONEDNN=0 to say that this is meant",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return library


class _WrongError(ArithmeticError):
    """The library's numbers are not those of the definition."""


def _test(library: Library) -> None:
    """Compare with the definition: whole numbers, whose sums are exact. Errors: _WrongError."""
    rng = np.random.default_rng(0)
    for c, o, groups, stride, dilation in ((3, 16, 1, 1, 1), (32, 32, 1, 2, 1), (16, 16, 16, 1, 2)):
        size, settings = (9, 8), {"stride": stride, "padding": 1, "dilation": dilation}
        windows = windows_of((3, 3), **settings)
        problem = Problem(
            (2, c, *size), (o, c // groups, 3, 3), (2, o, *windows.counts(size)), windows, groups
        )
        x, w, g, b = (
            rng.integers(-4, 5, shape).astype(np.float32)
            for shape in (problem.x, problem.weight, problem.y, (o,))
        )
        y, vjps = convolution.function(x, w, b, groups=groups, **settings)
        assert isinstance(vjps, tuple)
        wanted = [y, *[vjp(g) for vjp in vjps if vjp is not None]]
        last = [np.ascontiguousarray(np.moveaxis(a, 1, -1)) for a in (x, g)]
        found = [np.empty_like(last[1]), np.empty_like(last[0]), np.empty_like(w), np.empty_like(b)]
        way = Convolution(library, problem, True)
        way.forward(last[0], w, b, found[0])
        way.to_data(last[1], w, found[1])
        way.to_weight(last[0], last[1], found[2], found[3])
        found[:2] = [np.moveaxis(a, -1, 1) for a in found[:2]]
        if not all(np.array_equal(f, v) for f, v in zip(found, wanted, strict=True)):
            raise _WrongError(f"it computes a wrong convolution of {problem}")
