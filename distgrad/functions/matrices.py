"""Products of matrices and vectors, sums with products, diagonals: PyTorch's names and arguments.

Factors by PyTorch's older names (``torch.qr``, ``torch.lu``) are in decompositions.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import count_of, fixed
from distgrad.autograd.dtypes import get_default_dtype
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import DistgradError, ShapeError
from distgrad.functions import linalg
from distgrad.functions.out import with_out
from distgrad.functions.promotion import alike, apply, pair, reals
from distgrad.functions.shapes import broadcast_shapes
from distgrad.ops.diagonal import diag as numpys_diag
from distgrad.ops.indexing import as_tensor
from distgrad.ops.linalg import kron as numpys_kron
from distgrad.ops.linalg import tensordot as numpys_tensordot

__all__ = [
    "addbmm",
    "addcdiv",
    "addcmul",
    "addmm",
    "addmv",
    "addr",
    "baddbmm",
    "block_diag",
    "bmm",
    "chain_matmul",
    "cross",
    "diag",
    "diag_embed",
    "diagflat",
    "dot",
    "einsum",
    "ger",
    "inner",
    "kron",
    "lerp",
    "matmul",
    "matrix_power",
    "mm",
    "mv",
    "outer",
    "tensordot",
    "trace",
    "vander",
    "vdot",
]

IN_PLACE = ["addbmm", "addcdiv", "addcmul", "addmm", "addmv", "addr", "baddbmm", "lerp"]


def _of_axes(name: str, *given: tuple[TensorLike, int]) -> list[Tensor]:
    """Return Tensors with the numbers of axes that PyTorch's ``name`` asks for."""
    found = [as_tensor(x) for x, _ in given]
    wanted = [n for _, n in given]
    if [x.ndim for x in found] != wanted:
        raise ShapeError(
            f"{name} takes tensors of {' and '.join(map(str, wanted))} axes; got shapes "
            f"{', '.join(str(x.shape) for x in found)}: matmul and einsum take others"
        )
    return found


# -- products -------------------------------------------------------------------------------------


@with_out
def matmul(input: TensorLike, other: TensorLike) -> Tensor:
    """The matrix product over the last two axes."""
    return linalg.matmul(input, other)


@with_out
def mm(input: TensorLike, mat2: TensorLike) -> Tensor:
    """The product of two matrices."""
    return linalg.matmul(*_of_axes("mm", (input, 2), (mat2, 2)))


@with_out
def bmm(input: TensorLike, mat2: TensorLike) -> Tensor:
    """The products of two stacks (b, m, k) and (b, k, n) of matrices."""
    a, b = _of_axes("bmm", (input, 3), (mat2, 3))
    if a.shape[0] != b.shape[0]:
        raise ShapeError(f"bmm takes stacks of equal length; got {a.shape} and {b.shape}")
    return linalg.matmul(a, b)


@with_out
def mv(input: TensorLike, vec: TensorLike) -> Tensor:
    """The product of a matrix and a vector."""
    return linalg.matmul(*_of_axes("mv", (input, 2), (vec, 1)))


@with_out
def dot(input: TensorLike, tensor: TensorLike) -> Tensor:
    """Σ x y of two vectors."""
    return linalg.matmul(*_of_axes("dot", (input, 1), (tensor, 1)))


@with_out
def vdot(input: TensorLike, other: TensorLike) -> Tensor:
    """Σ conj(x) y of two vectors."""
    x, y = _of_axes("vdot", (input, 1), (other, 1))
    return linalg.matmul(as_tensor(np.conjugate(x)) if x.dtype.kind == "c" else x, y)


@with_out
def inner(input: TensorLike, other: TensorLike) -> Tensor:
    """The sums of products over the last axes of both; a product where one is a number."""
    return as_tensor(np.inner(*pair(as_tensor(input), as_tensor(other))))


@with_out
def outer(input: TensorLike, vec2: TensorLike) -> Tensor:
    """Every element of a vector times every element of another."""
    x, y = _of_axes("outer", (input, 1), (vec2, 1))
    return as_tensor(ops.outer_product(*alike((x, y))))


@with_out
def ger(input: TensorLike, vec2: TensorLike) -> Tensor:
    """``outer`` by its older name."""
    return outer(input, vec2)


@with_out
def kron(input: TensorLike, other: TensorLike) -> Tensor:
    """The Kronecker product."""
    return as_tensor(numpys_kron(*alike((input, other))))


@with_out
def chain_matmul(*matrices: TensorLike) -> Tensor:
    """The product of two or more matrices in the cheapest order (``linalg.multi_dot``)."""
    return as_tensor(matrices[0]) if len(matrices) == 1 else linalg.multi_dot(matrices)


@with_out
def matrix_power(input: TensorLike, n: int) -> Tensor:
    """A square matrix multiplied n times; the inverse's if n < 0."""
    return linalg.matrix_power(input, n)


@with_out
def tensordot(a: TensorLike, b: TensorLike, dims: Any = 2) -> Tensor:
    """Sums of products over pairs of axes: how many (the last of a, the first of b), or which."""
    if isinstance(dims, Tensor):
        dims = dims.array.tolist()
    if isinstance(dims, int) and dims < 0:
        raise ShapeError(f"tensordot: dims is how many axes, ≥ 0; got {dims}")
    x, y = as_tensor(a), as_tensor(b)
    if not isinstance(dims, int):  # a length of 1 meets any other, as in PyTorch
        for i, j in zip(*dims, strict=False):
            if x.shape[i] == 1 != y.shape[j]:
                y = y.sum(axis=j, keepdims=True)
            elif y.shape[j] == 1 != x.shape[i]:
                x = x.sum(axis=i, keepdims=True)
    return as_tensor(numpys_tensordot(x, y, dims))


@with_out
def einsum(equation: Any, *operands: Any) -> Tensor:
    """Sums of products by Einstein's convention: ``einsum("ij,jk->ik", a, b)``.

    Operands are tensors, one by one or in a list; or ``einsum(a, [0, 1], b, [1, 2], [0, 2])``.
    """
    if not isinstance(equation, str):
        operands, equation = _in_letters((equation, *operands))
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    left, arrow, right = equation.partition("->")
    if arrow and "..." in left and "..." not in right:  # summed over, which NumPy refuses
        found = as_tensor(np.einsum(f"{left}->...{right}", *map(as_tensor, operands)))
        return found.sum(axis=tuple(range(found.ndim - len(right.replace(" ", "")))))
    return as_tensor(np.einsum(equation, *map(as_tensor, operands)))


def _in_letters(given: tuple[Any, ...]) -> tuple[tuple[Any, ...], str]:
    """Operands beside lists of axes, the result's last, as operands and an equation."""

    def letters(axes: Sequence[Any]) -> str:
        return "".join("..." if i is Ellipsis else chr(ord("A") + i + (i > 25) * 6) for i in axes)

    pairs = len(given) // 2
    equation = ",".join(letters(given[2 * i + 1]) for i in range(pairs))
    if len(given) % 2:
        equation += "->" + letters(given[-1])
    return given[: 2 * pairs : 2], equation


@with_out
def cross(input: TensorLike, other: TensorLike, dim: int | None = None) -> Tensor:
    """The vector product along ``dim``; without it along the first axis of length 3."""
    x, y = as_tensor(input), as_tensor(other)
    if dim is None:
        lengths = broadcast_shapes(x.shape, y.shape)
        if 3 not in lengths:
            raise ShapeError(f"cross takes vectors of length 3; got {x.shape} and {y.shape}")
        dim = lengths.index(3)
    return linalg.cross(x, y, dim=dim)


# -- sums with products ---------------------------------------------------------------------------


def _added(input: TensorLike, product: Tensor, beta: float, alpha: float, name: str) -> Tensor:
    """β input + α product, of the product's shape; a β of 0 leaves out what input holds."""
    x = as_tensor(input)
    try:
        fits = np.broadcast_shapes(x.shape, product.shape) == product.shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            f"{name}: input of shape {x.shape} does not broadcast to the product's {product.shape}"
        )
    if x.dtype.kind in "biu" and product.dtype.kind in "biu":  # PyTorch's whole numbers stay whole
        beta, alpha = int(beta), int(alpha)
    scaled = product if alpha == 1 else alpha * product
    if beta == 0:
        return as_tensor(scaled)
    return as_tensor((x if beta == 1 else beta * x) + scaled)


@with_out
def addmm(
    input: TensorLike, mat1: TensorLike, mat2: TensorLike, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """β input + α mat1 mat2."""
    return _added(input, mm(mat1, mat2), beta, alpha, "addmm")


@with_out
def addmv(
    input: TensorLike, mat: TensorLike, vec: TensorLike, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """β input + α mat vec."""
    return _added(input, mv(mat, vec), beta, alpha, "addmv")


@with_out
def addr(
    input: TensorLike, vec1: TensorLike, vec2: TensorLike, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """β input + α vec1 vec2ᵀ."""
    if alpha != 1:  # the vector is the smaller one
        vec1, alpha = as_tensor(alpha * as_tensor(vec1)), 1
    return _added(input, outer(vec1, vec2), beta, alpha, "addr")


@with_out
def baddbmm(
    input: TensorLike, batch1: TensorLike, batch2: TensorLike, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """β input + α batch1 batch2, matrix by matrix."""
    return _added(input, bmm(batch1, batch2), beta, alpha, "baddbmm")


@with_out
def addbmm(
    input: TensorLike, batch1: TensorLike, batch2: TensorLike, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """β input + α Σ batch1 batch2, summed over the stack."""
    products = as_tensor(np.sum(bmm(batch1, batch2), axis=0))
    return _added(input, products, beta, alpha, "addbmm")


@with_out
def addcmul(
    input: TensorLike, tensor1: TensorLike, tensor2: TensorLike, *, value: float = 1
) -> Tensor:
    """input + value tensor1 tensor2, elementwise."""
    x, a, b = map(as_tensor, (input, tensor1, tensor2))
    return as_tensor(x + (a * b if value == 1 else value * a * b))


@with_out
def addcdiv(
    input: TensorLike, tensor1: TensorLike, tensor2: TensorLike, *, value: float = 1
) -> Tensor:
    """input + value tensor1 / tensor2, elementwise. Errors: DistgradError for whole numbers."""
    x, a, b = map(as_tensor, (input, tensor1, tensor2))
    if all(t.dtype.kind not in "fc" for t in (a, b)):
        raise DistgradError("addcdiv of whole numbers: write input + value * (a / b) or a // b")
    return as_tensor(x + (a if value == 1 else value * a) / b)


@with_out
def lerp(input: TensorLike, end: TensorLike, weight: Any) -> Tensor:
    """input + weight (end - input), elementwise, exact at weights 0 and 1."""
    x, y = reals(input, end)
    return apply(ops.lerp, x, y, reals(x, weight)[1])


# -- diagonals and triangles ----------------------------------------------------------------------


@with_out
def diag(input: TensorLike, diagonal: int = 0) -> Tensor:
    """A matrix with the vector on a diagonal, or a diagonal of a matrix."""
    return as_tensor(numpys_diag(as_tensor(input), diagonal))


@with_out
def diagflat(input: TensorLike, offset: int = 0) -> Tensor:
    """A matrix with all elements, in order, on a diagonal."""
    return diag(as_tensor(np.reshape(as_tensor(input), (-1,))), offset)


@with_out
def diag_embed(input: TensorLike, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices in the axes ``dim1`` and ``dim2`` with the last axis's elements on a diagonal."""
    x = as_tensor(input)
    axes = x.ndim + 1
    if x.ndim == 0 or not all(-axes <= d < axes for d in (dim1, dim2)):
        raise ShapeError(f"diag_embed: dims {dim1} and {dim2} of {axes} axes, from {x.shape}")
    first, second = dim1 % axes, dim2 % axes
    if first == second:
        raise ShapeError(f"diag_embed needs two axes; got {dim1} twice")
    n = x.shape[-1] + abs(offset)
    shape = list(x.shape[:-1])
    for place in sorted((first, second)):
        shape.insert(place, n)
    return as_tensor(
        ops.diagonal_fill(x, shape=tuple(shape), offset=offset, axis1=first, axis2=second)
    )


@with_out
def trace(input: TensorLike) -> Tensor:
    """The sum of a matrix's diagonal."""
    (x,) = _of_axes("trace", (input, 2))
    found = as_tensor(np.trace(x))
    return found.astype(np.int64) if found.dtype.kind in "biu" else found


@with_out
def block_diag(*tensors: TensorLike) -> Tensor:
    """A matrix with the given ones (vectors are rows, numbers 1 x 1) along its diagonal."""
    blocks = [t if t.ndim > 1 else as_tensor(np.atleast_2d(t)) for t in alike(tensors)]
    if any(b.ndim > 2 for b in blocks):
        raise ShapeError(f"block_diag takes up to 2 axes; got {[b.shape for b in blocks]}")
    if not blocks:
        return Tensor(fixed(np.zeros((1, 0), get_default_dtype())))
    return as_tensor(ops.block_diagonal(*blocks))


@with_out
def vander(x: TensorLike, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers N - 1 to 0 of each element of a vector (0 to N - 1 if ``increasing``)."""
    (v,) = _of_axes("vander", (x, 1))
    count = count_of(v) if N is None else N
    if count < 1:
        return Tensor(fixed(np.zeros((v.shape[0], 0), v.dtype)))
    found = linalg.vander(v, N=count)
    return found if increasing else found[:, ::-1]
