"""Max pools with their indices, undone, and over windows of random places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import keeps_form
from distgrad.autograd.stream import lent_generator
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.autograd.whole import whole
from distgrad.errors import ShapeError
from distgrad.kinds import number, one_or_several
from distgrad.nn.functional import pool
from distgrad.nn.functional.pool import Setting
from distgrad.nn.functional.spatial import AXES
from distgrad.nn.functional.wrap import lengths_of, wrap, wrap_real
from distgrad.ops.geometry import Numbers, numbers
from distgrad.ops.helpers import fractional, integers
from distgrad.ops.pool import flat_index

Ratio: TypeAlias = Annotated[float | Sequence[float], one_or_several(number(0, 1, without=[0, 1]))]


def max_pool1d_with_indices(
    input: TensorLike,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    dilation: Setting = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """``max_pool1d`` with ``return_indices``, whatever that says."""
    settings = kernel_size, stride, padding, dilation, ceil_mode
    return pool.max_pool1d(input, *settings, return_indices=True)


def max_pool2d_with_indices(
    input: TensorLike,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    dilation: Setting = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """``max_pool2d`` with ``return_indices``, whatever that says."""
    settings = kernel_size, stride, padding, dilation, ceil_mode
    return pool.max_pool2d(input, *settings, return_indices=True)


def max_pool3d_with_indices(
    input: TensorLike,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    dilation: Setting = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """``max_pool3d`` with ``return_indices``, whatever that says."""
    settings = kernel_size, stride, padding, dilation, ceil_mode
    return pool.max_pool3d(input, *settings, return_indices=True)


def adaptive_max_pool1d_with_indices(
    input: TensorLike, output_size: pool.Sizes, return_indices: bool = False
) -> Any:
    """``adaptive_max_pool1d`` with ``return_indices``, whatever that says."""
    return pool.adaptive_max_pool1d(input, output_size, True)


def adaptive_max_pool2d_with_indices(
    input: TensorLike, output_size: pool.Sizes, return_indices: bool = False
) -> Any:
    """``adaptive_max_pool2d`` with ``return_indices``, whatever that says."""
    return pool.adaptive_max_pool2d(input, output_size, True)


def adaptive_max_pool3d_with_indices(
    input: TensorLike, output_size: pool.Sizes, return_indices: bool = False
) -> Any:
    """``adaptive_max_pool3d`` with ``return_indices``, whatever that says."""
    return pool.adaptive_max_pool3d(input, output_size, True)


def max_unpool1d(
    input: TensorLike,
    indices: TensorLike,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Each element of (n, c, l) at the place ``indices`` that max_pool1d found it, zeros around.

    As long as what was pooled, as far as the settings tell; ``output_size`` says which of several
    lengths that was. Errors: ShapeError for shapes that do not fit and an index out of range.
    """
    return _unpool("max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: TensorLike,
    indices: TensorLike,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """``max_unpool1d`` for (n, c, h, w); the indices are those of h·w elements."""
    return _unpool("max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: TensorLike,
    indices: TensorLike,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """``max_unpool1d`` for (n, c, d, h, w); the indices are those of d·h·w elements."""
    return _unpool("max_unpool3d", 3, input, indices, kernel_size, stride, padding, output_size)


def fractional_max_pool2d(
    input: TensorLike,
    kernel_size: Setting,
    output_size: Setting | None = None,
    output_ratio: Ratio | None = None,
    return_indices: bool = False,
    _random_samples: TensorLike | None = None,
) -> Any:
    """The largest of windows of (n, c, h, w) whose places are drawn (Graham 2014).

    Give ``output_size``, or ``output_ratio`` below 1. The draws, ``_random_samples`` (n, c, 2)
    in [0, 1), depend on seed, step, shard and call. Errors: ShapeError for settings that do not
    fit.
    """
    sizes = output_size, output_ratio
    found = _fractional("fractional_max_pool2d", 2, input, kernel_size, *sizes, _random_samples)
    return found if return_indices else found[0]


def fractional_max_pool3d(
    input: TensorLike,
    kernel_size: Setting,
    output_size: Setting | None = None,
    output_ratio: Ratio | None = None,
    return_indices: bool = False,
    _random_samples: TensorLike | None = None,
) -> Any:
    """``fractional_max_pool2d`` for (n, c, d, h, w), with samples (n, c, 3)."""
    sizes = output_size, output_ratio
    found = _fractional("fractional_max_pool3d", 3, input, kernel_size, *sizes, _random_samples)
    return found if return_indices else found[0]


def fractional_max_pool2d_with_indices(
    input: TensorLike,
    kernel_size: Setting,
    output_size: Setting | None = None,
    output_ratio: Ratio | None = None,
    return_indices: bool = False,
    _random_samples: TensorLike | None = None,
) -> Any:
    """``fractional_max_pool2d`` with ``return_indices``, whatever that says."""
    settings = kernel_size, output_size, output_ratio
    return fractional_max_pool2d(input, *settings, True, _random_samples)


def fractional_max_pool3d_with_indices(
    input: TensorLike,
    kernel_size: Setting,
    output_size: Setting | None = None,
    output_ratio: Ratio | None = None,
    return_indices: bool = False,
    _random_samples: TensorLike | None = None,
) -> Any:
    """``fractional_max_pool3d`` with ``return_indices``, whatever that says."""
    settings = kernel_size, output_size, output_ratio
    return fractional_max_pool3d(input, *settings, True, _random_samples)


@whole
@keeps_form
def _unpool(
    name: str,
    axes: int,
    input: TensorLike,
    indices: TensorLike,
    kernel_size: Setting,
    stride: Setting | None,
    padding: Setting,
    output_size: Sequence[int] | None,
) -> Tensor:
    x, place = wrap(input), integers(indices, f"{name}: indices")
    if x.ndim not in {axes + 1, axes + 2} or place.shape != x.shape:
        form = AXES[axes]
        raise ShapeError(
            f"{name} takes (n, c, {form}) or (c, {form}), and indices of that shape; got {x.shape} "
            f"and {place.shape}"
        )
    kernel = numbers(kernel_size, axes, "kernel_size")
    steps = kernel if stride is None else numbers(stride, axes, "stride")
    pads = numbers(padding, axes, "padding")
    each = zip(x.shape[-axes:], kernel, steps, pads, strict=True)
    usual = tuple((n - 1) * s - 2 * p + k for n, k, s, p in each)
    lengths = usual if output_size is None else _chosen(name, output_size, usual, steps)
    plane = math.prod(lengths)
    outside = (place < 0) | (place >= plane)
    if outside.any():
        raise ShapeError(
            f"{name}: index {place[outside][0]} is out of range for an output of {lengths}, "
            f"{plane} elements; give output_size, the shape that was pooled"
        )
    zeros = np.zeros((*x.shape[:-axes], plane), x.dtype)
    flat = (*x.shape[:-axes], math.prod(x.shape[-axes:]))
    put = ops.scatter(zeros, -1, place.reshape(flat), x.reshape(flat))
    return put.reshape((*x.shape[:-axes], *lengths))


def _chosen(name: str, output_size: Sequence[int], usual: Numbers, steps: Numbers) -> Numbers:
    wanted = lengths_of(name, output_size)[-len(usual) :]
    near = [abs(n - m) < s for n, m, s in zip(wanted, usual, steps, strict=False)]
    if len(wanted) != len(usual) or not all(near):
        raise ShapeError(
            f"{name}: output_size is less than a stride {steps} away from {usual}; got "
            f"{tuple(output_size)}"
        )
    return wanted


@whole
@keeps_form
def _fractional(
    name: str,
    axes: int,
    input: TensorLike,
    kernel_size: Setting,
    output_size: Setting | None,
    output_ratio: Ratio | None,
    samples: TensorLike | None,
) -> tuple[Tensor, Tensor]:
    x = wrap_real(name, input)
    if x.ndim not in {axes + 1, axes + 2}:
        form = AXES[axes]
        raise ShapeError(f"{name} takes (n, c, {form}) or (c, {form}); got {x.shape}")
    many = x if x.ndim == axes + 2 else x.reshape((1, *x.shape))
    lengths, kernel = many.shape[2:], numbers(kernel_size, axes, "kernel_size")
    sizes = fractional_sizes(name, lengths, output_size, output_ratio)
    if any(not 1 <= s <= n - k + 1 for n, k, s in zip(lengths, kernel, sizes, strict=True)):
        raise ShapeError(
            f"{name}: windows of {kernel} in {lengths} give 1 to "
            f"{tuple(n - k + 1 for n, k in zip(lengths, kernel, strict=True))} places; got "
            f"output_size={sizes}"
        )
    windows = _windows(_samples(name, many, axes, samples), lengths, kernel, sizes)
    plane = math.prod(lengths)
    values = many.array.reshape(-1)[flat_index(windows, plane)]
    first = np.argmax(np.where(np.isnan(values), np.inf, values), axis=-1)
    found = np.take_along_axis(windows, first[..., None], axis=-1)[..., 0]
    result = many.reshape((many.array.size,))[flat_index(found, plane)]
    indices = Tensor(found.astype(np.int64))
    if x.ndim == axes + 2:
        return result, indices
    return result.reshape(result.shape[1:]), indices.reshape(found.shape[1:])


def _windows(samples: Array, lengths: Numbers, kernel: Numbers, sizes: Numbers) -> Array:
    """The elements of each window, as indices of their plane: (n, c, *sizes, kernel)."""
    axes = len(lengths)
    place: Array = np.zeros((*samples.shape[:2], *(1,) * (2 * axes)), np.intp)
    for axis in range(axes):
        # PyTorch's order of the samples: (w, h) of images, (d, h, w) of volumes.
        sample = samples[..., axis if axes == 3 else 1 - axis]
        starts = _starts(sample, lengths[axis], kernel[axis], sizes[axis])
        held = starts[..., None] + np.arange(kernel[axis])
        shape = [*held.shape[:2], *(1,) * (2 * axes)]
        shape[2 + axis], shape[2 + axes + axis] = sizes[axis], kernel[axis]
        place = place * lengths[axis] + held.reshape(shape)
    return place.reshape((*place.shape[: 2 + axes], math.prod(kernel)))


def fractional_sizes(
    name: str, lengths: Numbers, output_size: Setting | None, output_ratio: Ratio | None
) -> Numbers:
    """Return the output's lengths. Errors: ShapeError unless one of both settings is given."""
    if (output_size is None) == (output_ratio is None):
        raise ShapeError(f"{name}: give either output_size or output_ratio")
    if output_size is not None:
        return numbers(output_size, len(lengths), "output_size")
    given = output_ratio if isinstance(output_ratio, Sequence) else [output_ratio] * len(lengths)
    ratios = [float(r) for r in given if r is not None]
    if len(ratios) != len(lengths) or not all(0 < r < 1 for r in ratios):
        raise ShapeError(
            f"{name}: output_ratio is between 0 and 1, or {len(lengths)} of that; got "
            f"{output_ratio}"
        )
    return tuple(int(n * r) for n, r in zip(lengths, ratios, strict=True))


def _samples(name: str, x: Tensor, axes: int, samples: TensorLike | None) -> Array:
    n, *rest = shape = (*x.shape[:2], axes)
    if samples is None:
        return lent_generator().random(shape).astype(fractional(x.dtype))
    given = wrap(samples).array
    # More samples than images are taken as in PyTorch: the first ones.
    if given.ndim != len(shape) or given.shape[1:] != tuple(rest) or len(given) < n:
        raise ShapeError(f"{name}: _random_samples has shape {given.shape}, expected {shape}")
    return np.asarray(given[:n])


def _starts(sample: Array, length: int, kernel: int, size: int) -> Array:
    """Where the windows begin: ⌊(i + u) α⌋ - ⌊u α⌋, the last at the end."""
    last = np.full((*sample.shape, 1), length - kernel)
    if size == 1:
        return last
    one = sample.dtype.type
    alpha = one(length - kernel) / one(size - 1)
    u = sample[..., None]
    first = ((np.arange(size - 1) + u).astype(sample.dtype) * alpha).astype(np.intp)
    return np.concatenate([first - (u * alpha).astype(np.intp), last], axis=-1)
