"""Twin of attention: products by NumPy's BLAS, softmax and its gradient fused, in place.

Scores are held of a part of the batch at a time, so that they stay in the cache; causal ones of a
block of queries, with the keys up to its last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array, Shape
from distgrad.kernels.arrays import Scalar, empty, flat, on_forms, run, suits, zeros
from distgrad.kernels.jit import kernel
from distgrad.kernels.mathematics import exp, exp_of_negative, rank, unrank
from distgrad.ops.linalg import T

_BLOCK = 64
"""Queries whose keys are cut off together: what a causal row does not see is not computed."""
_HELD = 4 << 20
"""Bytes of scores that are held at a time, or those of one sample if they are more."""
_MOST_PARTS = 64  # of a batch: a captured step has a line for each
Sums: TypeAlias = "tuple[Array, Array]"
"""Of each query its largest score, and one over the sum: weights are computed again from them."""


class _Block(NamedTuple):
    """The queries ``start`` to ``stop``, which look at ``end`` keys, the first one at ``sees``."""

    start: int
    stop: int
    end: int
    sees: int


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
    factor = q.dtype.type(1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    t, keys = q.shape[-2], k.shape[-2]
    lead = q.shape[:-2]
    if not lead == k.shape[:-2] == v.shape[:-2]:
        lead = np.broadcast_shapes(lead, k.shape[:-2])
        if np.broadcast_shapes(lead, v.shape[:-2]) != lead:
            return None  # the weights of one array would be those of several
    blocks = [_Block(0, t, keys, 0 if is_causal else keys)]
    if mask is not None:
        if not _fits(mask, (*lead, t, keys)) or mask.dtype not in (np.dtype(bool), q.dtype):
            return None
        added = mask
        if mask.dtype == bool:
            added = empty(q, mask.shape)
            run(_additive, flat(mask), flat(added), writes=(1,))
        return _by_parts(q, k, v, added, factor, blocks, lead)
    if is_causal and keys > _BLOCK:
        ends = [*range(_BLOCK, t, _BLOCK), t]
        blocks = [_Block(i, j, min(j, keys), i) for i, j in zip([0, *ends], ends, strict=False)]
    elif math.prod(lead) * t * keys * q.dtype.itemsize <= _HELD:
        return _at_once(q, k, v, factor, blocks[0].sees)
    return _by_parts(q, k, v, None, factor, blocks, lead)


def _fits(mask: Array, scores: Shape) -> bool:
    """Whether a mask can be added to the scores where they lie."""
    if not mask.size or mask.ndim > len(scores):
        return False
    return all(n in (1, m) for n, m in zip(mask.shape[::-1], scores[::-1], strict=False))


def _at_once(q: Array, k: Array, v: Array, factor: Scalar, sees: int) -> OpResult:
    """What ``_by_parts`` comes to for one part of one block, without its loops: most are small."""
    p = np.matmul(q, T(k), order="C")
    sums = _weigh(p, factor, sees)

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, ...]:
        p, ds = np.matmul(q, T(k), order="C"), np.matmul(g, T(v), order="C")
        _weigh_back(p, ds, factor, sees, sums)
        dq = np.matmul(ds, k) if wanted[0] else None
        dk = np.matmul(T(ds), q) if wanted[1] else None
        return dq, dk, np.matmul(T(p), g) if wanted[2] else None, None

    return np.matmul(p, v), Joint(vjp)


def _by_parts(
    q: Array,
    k: Array,
    v: Array,
    added: Array | None,
    factor: Scalar,
    blocks: Sequence[_Block],
    lead: Shape,
) -> OpResult:
    """Attention of a part of the batch after the other; ``added`` is a mask of numbers."""
    y, axes = empty(q, (*lead, q.shape[-2], v.shape[-1])), len(lead) + 2
    parts = _parts(q, k, v, blocks)

    def cut(part: slice | None, *arrays: Array | None) -> list[Any]:
        # A mask may have fewer axes than what it is added to, or one row for the whole batch.
        return [
            a if a is None or part is None or a.ndim < axes or a.shape[0] == 1 else a[part]
            for a in arrays
        ]

    sums: list[Sums] = []
    for part in parts:
        sums += _forward(factor, blocks, *cut(part, q, k, v, added, y))

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, ...]:
        new = zeros if _adds_up(blocks, k) else empty
        d = [
            empty(q, (*lead, *q.shape[-2:])) if wanted[0] else None,
            new(q, (*lead, *k.shape[-2:])) if wanted[1] else None,
            new(q, (*lead, *v.shape[-2:])) if wanted[2] else None,
            empty(q, (*lead, q.shape[-2], k.shape[-2])) if wanted[3] else None,
        ]
        for i, part in enumerate(parts):
            kept = sums[i * len(blocks) : (i + 1) * len(blocks)]
            _backward(factor, blocks, kept, *cut(part, q, k, v, added, g, *d))
        return tuple(d)

    return y, Joint(vjp)


def _parts(q: Array, k: Array, v: Array, blocks: Sequence[_Block]) -> list[slice | None]:
    """Return the parts of a batch whose scores are held together; [None] for all of it."""
    if q.ndim < 3 or not q.shape[:-2] == k.shape[:-2] == v.shape[:-2]:
        return [None]
    count, rows = q.shape[0], max(b.stop - b.start for b in blocks)
    of_one = math.prod(q.shape[1:-2]) * rows * k.shape[-2] * q.dtype.itemsize
    step = max(_HELD // of_one, -(-count // _MOST_PARTS), 1)
    if step >= count:
        return [None]
    return [slice(i, min(i + step, count)) for i in range(0, count, step)]


def _rows(a: Array, start: int, stop: int) -> Array:
    return a if stop - start == a.shape[-2] else a[..., start:stop, :]


def _forward(
    factor: Scalar, blocks: Sequence[_Block],
    q: Array, k: Array, v: Array, added: Array | None, y: Array,
) -> list[Sums]:  # fmt: skip
    """Let ``y`` be the attention; return the sums of each block."""
    sums = []
    for start, stop, end, sees in blocks:
        p, left = _scores(_rows(q, start, stop), _rows(k, 0, end), added, factor)
        sums.append(_weigh(p, left, sees))
        np.matmul(p, _rows(v, 0, end), out=_rows(y, start, stop))
    return sums


def _scores(q: Array, k: Array, added: Array | None, factor: Scalar) -> tuple[Array, Scalar]:
    """Return the scores, and the factor that is left to the weights."""
    # In C order whatever the inputs' is: the kernels work on a view of it.
    s = np.matmul(q, T(k), order="C")  # ... t s
    if added is None:
        return s, factor
    np.multiply(s, factor, out=s)
    return np.add(s, added, out=s), factor.dtype.type(1)


def _backward(
    factor: Scalar, blocks: Sequence[_Block], sums: Sequence[Sums],
    q: Array, k: Array, v: Array, added: Array | None, g: Array,
    dq: Array | None, dk: Array | None, dv: Array | None, to_mask: Array | None,
) -> None:  # fmt: skip
    """Write the gradients that are wanted; those to keys and values of several blocks are added."""
    add = _adds_up(blocks, k)
    for (start, stop, end, sees), kept in zip(blocks, sums, strict=True):
        theirs, ours = _rows(q, start, stop), _rows(g, start, stop)
        seen, values = _rows(k, 0, end), _rows(v, 0, end)
        p, left = _scores(theirs, seen, added, factor)
        ds = empty(p, p.shape) if to_mask is None else to_mask
        np.matmul(ours, T(values), out=ds)
        _weigh_back(p, ds, left, sees, kept)
        if dv is not None:
            _product(T(p), ours, _rows(dv, 0, end), add)
        if added is not None:  # what it is added to was scaled
            ds = np.multiply(ds, factor)
        if dq is not None:
            np.matmul(ds, seen, out=_rows(dq, start, stop))
        if dk is not None:
            _product(T(ds), theirs, _rows(dk, 0, end), add)


def _adds_up(blocks: Sequence[_Block], k: Array) -> bool:
    """Whether gradients to keys are sums over blocks, or some keys have none."""
    return [b.end for b in blocks] != [k.shape[-2]]


def _product(a: Array, b: Array, out: Array, add: bool) -> None:
    if add:
        np.add(out, np.matmul(a, b), out=out)
    else:
        np.matmul(a, b, out=out)


def _weigh(scores: Array, factor: Scalar, sees: int) -> Sums:
    """Let scores (…, t, s) become weights; query i of the t sees the keys up to ``sees`` + i."""
    s = scores.reshape(-1, *scores.shape[-2:])
    top, share = empty(s, s.shape[:2]), empty(s, s.shape[:2])
    run(_attend, s, factor, sees, top, share, writes=(0, 3, 4))
    return top, share


def _weigh_back(scores: Array, ds: Array, factor: Scalar, sees: int, sums: Sums) -> None:
    """Let scores become weights again, and the weights' gradients those of the products q kᵀ."""
    shape = (-1, *scores.shape[-2:])
    given = scores.reshape(shape), ds.reshape(shape), factor, sees, *sums
    run(_attend_back, *given, writes=(0, 1))


@kernel
def _additive(mask: Array, out: Array) -> None:
    """Booleans become what is added to scores: 0 where a key takes part."""
    none = out.dtype.type(-np.inf)
    for i in range(out.size):
        out[i] = 0 if mask[i] else none


@kernel
def _attend(s: Array, factor: Scalar, first: int, tops: Array, shares: Array) -> None:
    """Scores become weights, row by row; row i sees the keys up to ``first`` + i."""
    zero, one, none = s.dtype.type(0), s.dtype.type(1), s.dtype.type(-np.inf)
    keys = _numbers(s.shape[2])
    # Whole rows, what is not seen as -∞: they are as long as vectors like it, the seen parts not.
    for m in range(s.shape[0]):
        for i in range(s.shape[1]):
            end = np.int32(first + i + 1)
            highest = rank(none)
            for j in range(s.shape[2]):
                highest = max(highest, rank(s[m, i, j] * factor if keys[j] < end else none))
            top = unrank(highest)
            if top == none:  # it sees no key
                top = zero
            total = zero
            for j in range(s.shape[2]):
                e = exp(s[m, i, j] * factor - top if keys[j] < end else none)
                s[m, i, j] = e
                total += e
            r = one / total if total != zero else zero
            for j in range(s.shape[2]):
                s[m, i, j] *= r
            tops[m, i] = top
            shares[m, i] = r


@kernel
def _attend_back(
    s: Array, ds: Array, factor: Scalar, first: int, tops: Array, shares: Array
) -> None:
    """Scores become weights, and gradients of these those of the products q kᵀ, in place."""
    zero, none = ds.dtype.type(0), ds.dtype.type(-np.inf)
    keys = _numbers(s.shape[2])
    for m in range(s.shape[0]):
        for i in range(s.shape[1]):
            end = np.int32(first + i + 1)
            top, r = tops[m, i], shares[m, i]
            dot = zero
            for j in range(s.shape[2]):
                # Where this is no number for NaN, neither is r.
                p = exp_of_negative(s[m, i, j] * factor - top if keys[j] < end else none) * r
                s[m, i, j] = p
                dot += p * ds[m, i, j] if keys[j] < end else zero
            for j in range(s.shape[2]):
                d = s[m, i, j] * (ds[m, i, j] - dot) * factor
                ds[m, i, j] = d if keys[j] < end else zero


@kernel
def _numbers(n: int) -> Array:
    """0, 1, …: numbers that are as wide as float32 are compared as fast as these."""
    numbers = np.empty(n, np.int32)
    for j in range(n):
        numbers[j] = j
    return numbers
