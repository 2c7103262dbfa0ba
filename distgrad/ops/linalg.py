"""Matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.op import Sample, op


def T(a: Any) -> Any:  # noqa: N802 (the formula's letter)
    """The last two axes exchanged."""
    return np.swapaxes(a, -1, -2)


def _products(rng: np.random.Generator) -> list[Sample]:
    shapes = [
        ((2, 3), (3, 4)),
        ((3,), (3, 2)),
        ((2, 3), (3,)),
        ((3,), (3,)),
        ((2, 1, 2, 3), (3, 3, 2)),
    ]
    return [((rng.normal(size=a), rng.normal(size=b)), {}) for a, b in shapes]


@op(
    "m k, k n -> m n",
    "... m k, ... k n -> ... m n",
    ufunc=np.matmul,
    method=("__matmul__", "__rmatmul__"),
    samples=_products,
)
def matmul(a: Any, b: Any) -> Any:
    """Matrix product over the last two axes; others broadcast; vectors as in NumPy."""
    if a.ndim > 1 and b.ndim > 1:
        return np.matmul(a, b), (lambda g: _to_left(g, a, b), lambda g: _to_right(g, a, b))
    a2 = np.expand_dims(a, 0) if a.ndim == 1 else a
    b2 = np.expand_dims(b, 1) if b.ndim == 1 else b
    vectors = ((-2,) if a.ndim == 1 else ()) + ((-1,) if b.ndim == 1 else ())

    def restore(g: Any) -> Any:
        for axis in sorted(vectors):
            g = np.expand_dims(g, axis if g.ndim + 1 >= -axis else 0)
        return g

    def left(g: Any) -> Any:
        full = _to_left(restore(g), a2, b2)
        return np.reshape(full, full.shape[:-2] + a.shape) if a.ndim == 1 else full

    def right(g: Any) -> Any:
        full = _to_right(restore(g), a2, b2)
        return np.reshape(full, full.shape[:-2] + b.shape) if b.ndim == 1 else full

    return np.matmul(a, b), (left, right)


def _to_left(g: Any, a: Any, b: Any) -> Any:
    return np.matmul(g, T(b))


def _to_right(g: Any, a: Any, b: Any) -> Any:
    if b.ndim == 2 and a.ndim > 2:
        # One large product instead of a sum over many small ones.
        return np.matmul(T(np.reshape(a, (-1, a.shape[-1]))), np.reshape(g, (-1, g.shape[-1])))
    return np.matmul(T(a), g)


@op(
    "... i, o i, o -> ... o",
    samples=lambda rng: [
        ((rng.normal(size=s), rng.normal(size=(4, 3)), rng.normal(size=4)), {})
        for s in ((2, 3), (2, 5, 3), (3,))
    ],
)
def linear(x: Any, weight: Any, bias: Any) -> Any:
    """x Wᵀ + b over the last axis, W of shape (out, in); b may be None."""

    def flat(a: Any) -> Any:
        return np.reshape(a, (-1, a.shape[-1]))

    # One product of two matrices whatever the rank of x; the bias is added where it stands.
    y = np.matmul(flat(x), T(weight))
    if bias is not None:
        y = np.add(y, bias, out=y) if type(y) is np.ndarray and y.dtype == bias.dtype else y + bias
    shape = x.shape
    return np.reshape(y, (*shape[:-1], weight.shape[0])), (
        lambda g: np.reshape(np.matmul(flat(g), weight), shape),
        lambda g: np.matmul(T(flat(g)), flat(x)),
        lambda g: np.add.reduce(flat(g), axis=0),
    )
