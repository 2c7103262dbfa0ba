"""Twin of attention: a block of queries at a time, from products to weights and back.

Scores stay in the cache; backward makes them once more, and weights from the largest score and the
sum of each query (Dao et al. 2022). What no causal query of a block sees is not computed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array, Shape
from distgrad.kernels.arrays import constant, empty, flat, on_forms, run, spanned, suits
from distgrad.kernels.attend_kernels import GRADIENTS, VALUES, additive, attend
from distgrad.ops.helpers import inverse


@on_forms
def scaled_dot_product_attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
) -> OpResult | None:
    """The twin of ``ops.scaled_dot_product_attention``."""
    if not suits(q, k, v) or min(q.ndim, k.ndim, v.ndim) < 2:
        return None
    (t, d), (s, e) = q.shape[-2:], v.shape[-2:]
    if k.shape[-2:] != (s, d):
        return None  # which the reference refuses: the kernel looks at nothing
    lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    factor = q.dtype.type(1 / math.sqrt(d) if scale is None else scale)
    read = [_Rows.of(a) for a in (q, k, v)]
    if mask is None:
        read.append(read[0])  # which is not looked at
    elif _fits(mask, q, (*lead, t, s)):
        read.append(_Rows.of(_added(mask, q, s)))
    else:
        return None
    sizes = math.prod(lead), t, s, d, e, int(is_causal), int(mask is not None)
    memory, (y,), made = _new(q, [(q, (*lead, t, e))])
    sums = empty(q, (2 * sizes[0] * t,))
    numbers = _numbers((*sizes, VALUES), lead, (*[r.form for r in read], *made))
    given = [r.memory for r in read]  # and no gradient, whose place something has to take
    run(attend, *given, given[0], constant(q, numbers), sums, memory, factor, writes=(6, 7))

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, ...]:
        new = [(a, (*lead, *a.shape[-2:])) for a in (q, k, v)]
        new += [(q, (*lead, t, s))] * wanted[3]
        memory, grads, made = _new(q, new)
        come = _Rows.of(g)
        arrays = (*[r.form for r in (*read, come)], *made)
        numbers = _numbers((*sizes, GRADIENTS + wanted[3]), lead, arrays)
        back = (*given, come.memory, constant(q, numbers), sums, memory, factor)
        run(attend, *back, writes=(7,))
        return tuple([a if w else None for a, w in zip((*grads, None), wanted, strict=False)])

    return y, Joint(vjp)


# -- where rows lie -------------------------------------------------------------------------------


class _Form(NamedTuple):
    """Where the matrices of an array begin, and by how much its rows are apart, in elements."""

    shape: Shape
    strides: Shape
    step: int
    first: int = 0


class _Rows(NamedTuple):
    memory: Array
    form: _Form

    @staticmethod
    def of(a: Array) -> _Rows:
        """Return an array's rows, each without gaps: else a copy's."""
        form = _form(a.shape, a.strides, a.itemsize) if a.flags.writeable else None
        if form is None:
            a = a.copy()
            form = _form(a.shape, a.strides, a.itemsize)
            assert form is not None, "a copy has no gaps"
        return _Rows(spanned(a), form)


# What depends on shapes alone is kept: of small arrays it would be most of the time.


@lru_cache(maxsize=256)
def _form(shape: Shape, strides: Shape, item: int) -> _Form | None:
    """Return where rows lie; None where they have gaps, or memory runs backwards."""
    if strides[-1] != item or min(strides) < 0:
        return None
    *outer, step = [s // item for s in strides[:-1]]
    # A mask's one row is added to all.
    return _Form(shape[:-2], tuple(outer), step if shape[-2] > 1 else 0)


class _Place(NamedTuple):
    """A part of memory, the shape it has there, and the axes of the array that it is."""

    part: slice
    shape: Shape
    axes: Shape | None


def _new(
    like: Array, wanted: Sequence[tuple[Array, Shape]]
) -> tuple[Array, list[Array], Sequence[_Form]]:
    """Return new arrays in one stretch of memory: what is to be read together is, and handed over.

    Each has its axes in memory in the order of those of another array.
    """
    size, places, forms = _parts(tuple([(a.shape, a.strides, shape) for a, shape in wanted]))
    memory = empty(like, (size,))
    arrays = []
    for part, shape, axes in places:
        a = memory[part].reshape(shape)
        arrays.append(a if axes is None else a.transpose(axes))
    return memory, arrays, forms


@lru_cache(maxsize=256)
def _parts(
    wanted: tuple[tuple[Shape, Shape, Shape], ...],
) -> tuple[int, list[_Place], list[_Form]]:
    places, forms, first = [], [], 0
    for of, strides, shape in wanted:
        axes = [*range(len(shape))]
        order = sorted(axes, key=lambda i: -strides[i]) if of[:-2] == shape[:-2] else axes
        if order[-1] != axes[-1]:
            order = axes
        turned = tuple([shape[i] for i in order])
        back = inverse(tuple(order))
        last = first + math.prod(shape)
        places.append(_Place(slice(first, last), turned, None if order == axes else back))
        steps = [math.prod(turned[i + 1 :]) for i in range(len(turned))]
        *outer, step = [steps[i] for i in back[:-1]]
        forms.append(_Form(shape[:-2], tuple(outer), step, first))
        first = last
    return first, places, forms


@lru_cache(maxsize=256)
def _numbers(sizes: tuple[int, ...], lead: Shape, forms: tuple[_Form, ...]) -> Array:
    """Return what the kernels need to know: sizes, steps from row to row, first elements."""
    first = np.zeros((len(forms), *lead), np.int64)
    for number, form in enumerate(forms):
        first[number] += form.first
        steps = zip(form.shape[::-1], form.strides[::-1], strict=True)
        for axis, (n, step) in enumerate(steps):
            if n > 1:
                first[number] += (np.arange(n) * step).reshape(n, *[1] * axis)
    head = [*sizes, *[form.step for form in forms]]
    return np.concatenate([head, first.reshape(len(forms), -1).T.reshape(-1)])


def _fits(mask: Array, q: Array, scores: Shape) -> bool:
    """Whether a mask can be added to the scores."""
    if mask.dtype not in (q.dtype, bool):
        return False
    if not mask.size or mask.ndim > len(scores) or not mask.ndim:
        return False
    return all(n in (1, m) for n, m in zip(mask.shape[::-1], scores[::-1], strict=False))


def _added(mask: Array, q: Array, keys: int) -> Array:
    """Return the mask as numbers to add, at least two axes of them, the last one whole."""
    if mask.dtype == bool:
        numbers = empty(q, mask.shape)
        run(additive, flat(mask), flat(numbers), writes=(1,))
        mask = numbers
    if mask.ndim < 2:
        mask = mask.reshape(1, -1)
    if mask.shape[-1] != keys:
        whole = empty(q, (*mask.shape[:-1], keys))
        np.add(mask, q.dtype.type(0), out=whole)
        mask = whole
    return mask
