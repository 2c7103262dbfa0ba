"""Matrix products, and NumPy's other products lowered to them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from distgrad.autograd.op import OpResult, Sample, dispatch, op
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Closure, Ints, Operand, Shape
from distgrad.errors import ShapeError
from distgrad.ops.few_rows import turned, turned_is_faster
from distgrad.ops.helpers import conjugate, data_of, either, either_fused, in_float32, inverse


def T(a: Array | Tensor) -> Any:  # noqa: N802 (the formula's letter)
    """The last two axes exchanged."""
    return a.swapaxes(-1, -2)


def H(a: Array | Tensor) -> Any:  # noqa: N802 (the formula's letter)
    """The last two axes exchanged, and conjugated if complex."""
    return conjugate(T(a))


def arrays(*values: TensorLike) -> list[Array]:
    """Return lists and numbers as arrays, arrays and Tensors as they are."""
    found: list[Any] = [x if hasattr(x, "ndim") else np.asarray(x) for x in values]
    return found


def array_of(value: TensorLike) -> Array:
    """Return a list or number as an array, an array or Tensor as it is."""
    return arrays(value)[0]


_NUMBERS = (int, float, complex)

Axes: TypeAlias = "int | tuple[Ints, Ints]"
"""Of a product: how many, or those of a and those of b."""


Product: TypeAlias = "Callable[..., Array]"
"""A function of two matrices, or stacks of them, and maybe ``out``: their product."""


def _products(rng: np.random.Generator) -> list[Sample]:
    shapes = [
        ((2, 3), (3, 4)),
        ((3,), (3, 2)),
        ((2, 3), (3,)),
        ((3,), (3,)),
        ((2, 1, 2, 3), (3, 3, 2)),
        ((2, 3, 2), (2, 3)),
        ((3,), (2, 3, 2)),
        ((2, 3, 2), (2,)),
    ]
    return [((rng.normal(size=a), rng.normal(size=b)), {}) for a, b in shapes]


@op(
    "m k, k n -> m n",
    "... m k, ... k n -> ... m n",
    "k, ... k n -> ... n",
    "... m k, k -> ... m",
    "k, k -> ",
    ufunc=np.matmul,
    method=("__matmul__", "__rmatmul__"),
    samples=_products,
)
def matmul(a: Operand, b: Operand) -> OpResult:
    """Matrix product over the last two axes; others broadcast; vectors as in NumPy."""
    return matmul_by(np.matmul, a, b)


def matmul_by(product: Product, a: Operand, b: Operand) -> OpResult:
    """Return what ``matmul`` does, matrices multiplied by this function."""
    if isinstance(a, _NUMBERS) or isinstance(b, _NUMBERS):
        raise ValueError("a number is no matrix: write * for its product")
    if a.ndim > 2 and b.ndim == 2:  # one large product instead of many small ones
        y = _shaped(product(_rows(a), b), (*a.shape[:-1], b.shape[1]))
        return y, _gradients(product, a, b)
    if a.ndim > 1 and b.ndim > 1:
        return product(a, b), _gradients(product, a, b)
    if a.ndim == b.ndim == 1:
        return np.matmul(a, b), (lambda g: g * conjugate(b), lambda g: g * conjugate(a))
    if a.ndim == 2 and b.ndim == 1:
        return np.matmul(a, b), (
            lambda g: np.expand_dims(g, -1) * conjugate(b),
            lambda g: np.matmul(H(a), g),
        )
    a2 = np.expand_dims(a, 0) if a.ndim == 1 else a
    b2 = np.expand_dims(b, 1) if b.ndim == 1 else b
    vectors = ((-2,) if a.ndim == 1 else ()) + ((-1,) if b.ndim == 1 else ())

    to_left, to_right = _gradients(product, a2, b2)
    a_shape, b_shape = a.shape, b.shape

    def restore(g: Array) -> Array:
        for axis in sorted(vectors):
            g = np.expand_dims(g, axis if g.ndim + 1 >= -axis else 0)
        return g

    def left(g: Array) -> Array:
        full = to_left(restore(g))
        return np.reshape(full, full.shape[:-2] + a_shape) if len(a_shape) == 1 else full

    def right(g: Array) -> Array:
        full = to_right(restore(g))
        return np.reshape(full, full.shape[:-2] + b_shape) if len(b_shape) == 1 else full

    return np.matmul(a, b), (left, right)


def _gradients(product: Product, a: Array, b: Array) -> tuple[Closure, Closure]:
    """The gradients of a b to both; each keeps the other factor alone."""
    if b.ndim == 2 and a.ndim > 2:
        shape = a.shape
        return (
            lambda g: _shaped(product(_rows(g), H(b)), shape),
            lambda g: product(H(_rows(a)), _rows(g)),
        )
    return (lambda g: product(g, H(b))), (lambda g: product(H(a), g))


def _rows(a: Array) -> Array:
    """All axes but the last as one."""
    if a.ndim == 2:
        return a
    return _shaped(a, (math.prod(a.shape[:-1]), a.shape[-1]))


def _shaped(a: Array, shape: tuple[int, ...]) -> Array:
    # A matrix is its own rows: nothing to record under create_graph.
    return a if a.shape == shape else np.reshape(a, shape)


@op(
    "... i, o i, o -> ... o",
    samples=lambda rng: [
        ((rng.normal(size=s), rng.normal(size=(4, 3)), rng.normal(size=4)), {})
        for s in ((2, 3), (2, 5, 3), (3,))
    ],
)
def linear(x: Array, weight: Array, bias: Array | None) -> OpResult:
    """x Wᵀ + b over the last axis, W of shape (out, in); b may be None."""
    return linear_by(np.matmul, x, weight, bias)


def linear_by(
    product: Product,
    x: Array,
    weight: Array,
    bias: Array | None,
    add: Callable[..., Array] = np.add,
) -> OpResult:
    """Return what ``linear`` does, matrices multiplied and the bias added by these functions."""
    shape = x.shape
    # One product of two matrices whatever the rank of x; the bias is added where it stands.
    rows = x if len(shape) == 2 else _rows(x)
    if product is np.matmul and turned_is_faster(rows, weight):
        y = turned(rows, weight, bias)
    else:
        y = product(rows, T(weight))
        if bias is not None:
            # On the tape nothing is changed in place.
            kind: Any = type(y)
            same = kind is type(bias) and kind is not Tensor and y.dtype == bias.dtype
            y = add(y, bias, out=y) if same else y + bias
    if len(shape) == 2 and weight.dtype.kind != "c" and x.dtype.kind != "c":
        return y, (
            lambda g: product(g, weight),
            lambda g, out=None: product(T(g), x, out=out),
            lambda g, out=None: np.add.reduce(g, axis=0, out=out),
        )
    return _shaped(y, (*shape[:-1], weight.shape[0])), (
        lambda g: _shaped(product(_rows(g), conjugate(weight)), shape),
        lambda g, out=None: product(T(_rows(g)), conjugate(_rows(x)), out=out),
        lambda g, out=None: np.add.reduce(_rows(g), axis=0, out=out),
    )


@dispatch(np.dot)
def dot(a: TensorLike, b: TensorLike) -> Any:
    """``np.dot``: sums over the last axis of a and the last but one (a vector's last) of b."""
    a, b = arrays(a, b)
    if a.ndim == 0 or b.ndim == 0:
        return np.multiply(a, b)
    if a.ndim == 1 or b.ndim == 1 or (a.ndim == 2 and b.ndim == 2):
        return np.matmul(a, b)
    return tensordot(a, b, axes=(-1, -2))


@dispatch(np.inner)
def inner(a: TensorLike, b: TensorLike) -> Any:
    """``np.inner``: sums over the last axes of both."""
    a, b = arrays(a, b)
    if a.ndim == 0 or b.ndim == 0:
        return np.multiply(a, b)
    return tensordot(a, b, axes=(-1, -1))


@dispatch(np.vdot)
def vdot(a: TensorLike, b: TensorLike) -> Any:
    """``np.vdot``: the flattened arrays' inner product, the first one conjugated."""
    a, b = arrays(a, b)
    return np.matmul(np.reshape(conjugate(a), (-1,)), np.reshape(b, (-1,)))


@dispatch(np.outer)
def outer(a: TensorLike, b: TensorLike) -> Any:
    """``np.outer``: every element of a times every element of b."""
    a, b = arrays(a, b)
    return outer_product(np.reshape(a, (-1,)), np.reshape(b, (-1,)))


@op("m, n -> m n")
@in_float32
def outer_product(a: Array, b: Array) -> OpResult:
    """Every element of a vector times every element of another."""
    first, second = conjugate(a), conjugate(b)
    value = np.multiply(a[:, None], b)
    return value, (lambda g: np.matmul(g, second), lambda g: np.matmul(first, g))


@dispatch(np.tensordot)
def tensordot(a: TensorLike, b: TensorLike, axes: Axes = 2) -> Any:
    """``np.tensordot``: sums over pairs of axes, or over the last and first ``axes`` of them.

    Errors: ShapeError naming the first pair whose lengths differ.
    """
    a, b = arrays(a, b)
    left, right = _paired_axes(a, b, axes)
    for i, j in zip(left, right, strict=True):
        if a.shape[i] != b.shape[j]:
            raise ShapeError(
                f"tensordot pairs axis {i} of a with axis {j} of b, of lengths {a.shape[i]} and "
                f"{b.shape[j]} (shapes {a.shape} and {b.shape}); choose axes of equal length"
            )
    return contraction(a, b, left=tuple(left), right=tuple(right))


def _contractions(rng: np.random.Generator) -> list[Sample]:
    a, b = rng.normal(size=(5, 3, 4)), rng.normal(size=(4, 2, 3))
    settings = [((1, 2), (2, 0)), ((2,), (0,)), ((), ())]
    return [((a, b), {"left": left, "right": right}) for left, right in settings]


@op("..., ... -> ...", samples=_contractions)
def contraction(a: Array, b: Array, *, left: Shape, right: Shape) -> OpResult:
    """Sums over pairs of axes, ``left`` of a and ``right`` of b, from 0 on; the others are left."""
    rows = (*(i for i in range(a.ndim) if i not in left), *left)
    columns = (*right, *(j for j in range(b.ndim) if j not in right))
    of_a, of_b = tuple([a.shape[i] for i in rows]), tuple([b.shape[j] for j in columns])
    m, n = of_a[: len(rows) - len(left)], of_b[len(right) :]
    # The matrices that are multiplied: the axes that are left by those that are summed over.
    k = math.prod(of_b[: len(right)])
    x = np.reshape(np.transpose(a, rows), (math.prod(m), k))
    z = np.reshape(np.transpose(b, columns), (k, math.prod(n)))
    y = either_fused(matmul, x, z)
    product = y.shape

    def to_a(g: Array) -> Any:
        d = either_fused(matmul, np.reshape(g, product), H(z))
        return np.transpose(np.reshape(d, of_a), inverse(rows))

    def to_b(g: Array) -> Any:
        d = either_fused(matmul, H(x), np.reshape(g, product))
        return np.transpose(np.reshape(d, of_b), inverse(columns))

    return np.reshape(y, (*m, *n)), (to_a, to_b)


def _paired_axes(a: Array, b: Array, axes: Axes) -> tuple[list[int], list[int]]:
    """The axes of a and of b that are summed over in pairs, from 0 on."""
    if isinstance(axes, int | np.integer):
        left, right = range(-axes, 0), range(axes)
    else:
        left, right = (np.atleast_1d(np.asarray(x, np.int64)).tolist() for x in axes)
    if len(left) != len(right) or len(left) > min(a.ndim, b.ndim):
        raise ShapeError(
            f"tensordot sums over as many axes of a as of b; axes={axes!r} does not fit the shapes "
            f"{a.shape} and {b.shape}"
        )
    return [_axis(i, a, "a") for i in left], [_axis(j, b, "b") for j in right]


def _axis(axis: int, a: Array | Tensor, name: str) -> int:
    if not -a.ndim <= axis < a.ndim:
        raise ShapeError(f"axis {axis} is out of range for {name} of shape {a.shape}")
    return int(axis) % int(a.ndim)


@dispatch(np.kron)
def kron(a: TensorLike, b: TensorLike) -> Any:
    """``np.kron``: the Kronecker product, b scaled by each element of a and laid out in blocks."""
    return kronecker(*arrays(a, b))


@op(
    "... m, ... n -> ... k",
    samples=lambda rng: [
        ((rng.normal(size=s), rng.normal(size=t)), {})
        for s, t in (((2, 3), (3, 2)), ((2,), (3, 2)), ((1, 2, 2), (3,)))
    ],
)
def kronecker(a: Array, b: Array) -> OpResult:
    """The Kronecker product: b scaled by each element of a and laid out in blocks."""
    axes = max(a.ndim, b.ndim)
    of_a, of_b = a.shape, b.shape
    left, right = ((1,) * (axes - len(s)) + s for s in (of_a, of_b))
    x = np.reshape(a, [n for m in left for n in (m, 1)])
    z = np.reshape(b, [n for m in right for n in (1, m)])
    blocks = [n for pair in zip(left, right, strict=True) for n in pair]

    def back(g: Array, other: Array, first: int, shape: Shape) -> Any:
        along = np.reshape(g, blocks) * conjugate(other)
        return np.reshape(np.sum(along, axis=tuple(range(first, 2 * axes, 2))), shape)

    return np.reshape(np.multiply(x, z), [m * n for m, n in zip(left, right, strict=True)]), (
        lambda g: back(g, z, 1, of_a),
        lambda g: back(g, x, 0, of_b),
    )


@dispatch(np.cross)
def cross(
    a: Array | Tensor,
    b: Array | Tensor,
    axisa: int = -1,
    axisb: int = -1,
    axisc: int = -1,
    axis: int | None = None,
) -> Array:
    """``np.cross``: the vector product of vectors of length 3. Errors: ShapeError."""
    a, b = arrays(a, b)
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = to_last(a, axisa, "a"), to_last(b, axisb, "b")
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        raise ShapeError(
            f"cross takes vectors of length 3; got lengths {a.shape[-1]} and {b.shape[-1]}: append "
            f"a zero to vectors of the plane"
        )
    y = vector_product(a, b)
    last = _axis(axisc, y, "the result")
    return y if last == y.ndim - 1 else np.moveaxis(y, -1, last)


def _pairs_of_vectors(rng: np.random.Generator) -> list[Sample]:
    return [((rng.normal(size=(2, 3)), rng.normal(size=shape)), {}) for shape in ((2, 3), (3,))]


@op("... c, ... c -> ... c", samples=_pairs_of_vectors)
def vector_product(a: Array, b: Array) -> OpResult:
    """a × b of vectors along the last axis, of length 3."""
    return _crossed(data_of(a), data_of(b)), (
        lambda g: either(vector_product, conjugate(b), g),
        lambda g: either(vector_product, g, conjugate(a)),
    )


def _crossed(a: Array, b: Array) -> Array:
    y = np.empty(np.broadcast_shapes(a.shape, b.shape), np.result_type(a, b))
    for k, i, j in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        part = np.multiply(a[..., i], b[..., j], out=y[..., k])
        part -= a[..., j] * b[..., i]
    return y


def to_last(a: Array | Tensor, axis: int, name: str) -> Any:
    """``axis`` moved to the end, the others left in order."""
    i = _axis(axis, a, name)
    if i == a.ndim - 1:
        return a
    return np.transpose(a, [*(j for j in range(a.ndim) if j != i), i])
