"""Reading and writing by index, along an axis or by mask. Nothing is written in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import apart, fixed, keeps_form
from distgrad.autograd.methods.calls import call
from distgrad.autograd.promotion import operands
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.autograd.whole import whole
from distgrad.errors import DistgradError, ShapeError
from distgrad.functions.arguments import one_axis, tensor_of
from distgrad.functions.out import with_out
from distgrad.functions.places import indices_of
from distgrad.functions.promotion import check_real
from distgrad.functions.shapes import broadcast_shapes
from distgrad.ops.checked import checked_index
from distgrad.ops.helpers import data_of
from distgrad.ops.shape import axis_numbers

IN_PLACE = [
    "index_add",
    "index_copy",
    "index_fill",
    "index_put",
    "index_reduce",
    "masked_fill",
    "masked_scatter",
    "put",
    "scatter",
    "scatter_add",
    "scatter_reduce",
    "tril",
    "triu",
]

__all__ = [
    "argwhere",
    "diagonal",
    "diagonal_scatter",
    "gather",
    "index_add",
    "index_copy",
    "index_fill",
    "index_put",
    "index_reduce",
    "index_select",
    "masked_fill",
    "masked_scatter",
    "masked_select",
    "nonzero",
    "put",
    "scatter",
    "scatter_add",
    "scatter_reduce",
    "select_scatter",
    "slice_scatter",
    "take",
    "take_along_dim",
    "tril",
    "triu",
    "where",
]


@with_out
def gather(input: TensorLike, dim: int, index: TensorLike, *, sparse_grad: bool = False) -> Tensor:
    """Elements at ``index`` along ``dim``: y[i][j] = x[index[i][j]][j] for dim=0."""
    x, at = tensor_of(input), data_of(index)
    if np.size(at) == 0:  # of whatever shape, as in PyTorch
        return x.reshape(-1)[fixed(np.zeros(np.shape(at), np.int64))]
    if x.array.ndim == 0 and np.ndim(at) == 1:
        x = x.reshape(1)
    return ops.gather(x, dim, at)


@with_out
def index_select(input: TensorLike, dim: int, index: TensorLike) -> Tensor:
    """The slices at the 1-d ``index`` along ``dim``."""
    x = tensor_of(input)
    if x.ndim == 0:  # a number counts as an axis of one element
        return ops.index_select(x.reshape(1), dim, index).reshape(())
    return ops.index_select(x, dim, index)


@with_out
def take(input: TensorLike, index: TensorLike) -> Tensor:
    """The elements at ``index`` of all elements in a row."""
    return call(np.take, tensor_of(input), tensor_of(index))


@with_out
def take_along_dim(input: TensorLike, indices: TensorLike, dim: int | None = None) -> Tensor:
    """``np.take_along_axis``: elements at ``indices`` along ``dim``; the other axes broadcast.

    Without ``dim`` those at ``indices`` of all elements in a row.
    """
    x = tensor_of(input)
    if dim is None:
        return call(np.take, x, tensor_of(indices).reshape(-1))
    index = tensor_of(indices)
    axis = one_axis(dim, x.ndim, "take_along_dim")
    if index.ndim == x.ndim:
        broadcast_shapes(*(t.shape[:axis] + t.shape[axis + 1 :] for t in (x, index)))
    return call(ops.take_along_axis, x, index, axis)


@with_out
def masked_select(input: TensorLike, mask: TensorLike) -> Tensor:
    """The elements where the boolean ``mask`` holds (both broadcast), in a row."""
    return ops.masked_select(input, mask)


@with_out
@apart
def nonzero(input: TensorLike, *, as_tuple: bool = False) -> Any:
    """The indices of the elements that are not 0, as rows (``as_tuple``: a tensor an axis)."""
    x = tensor_of(input).array
    if as_tuple:
        return tuple(map(Tensor, indices_of(np.atleast_1d(x)).T))
    return Tensor(indices_of(x))


@apart
def argwhere(input: TensorLike) -> Tensor:
    """The indices of the elements that are not 0, as rows."""
    return Tensor(indices_of(tensor_of(input).array))


@with_out
def where(
    condition: Tensor, input: TensorLike | None = None, other: TensorLike | None = None
) -> Any:
    """``input`` where the condition holds, ``other`` elsewhere; alone, ``nonzero`` as a tuple."""
    if input is None or other is None:
        if input is not None or other is not None:
            raise TypeError("where takes a condition alone, or with both input and other")
        return nonzero(condition, as_tuple=True)
    if not any(isinstance(x, Tensor) for x in (input, other)):
        input, other = [
            Tensor(x.item() if isinstance(x, np.generic) else x) for x in (input, other)
        ]
    found: Any = np.where(tensor_of(condition), *operands(input, other))
    return found


# -- written --------------------------------------------------------------------------------------


@with_out
def scatter(
    input: TensorLike,
    dim: int,
    index: TensorLike,
    src: TensorLike | None = None,
    *,
    value: float | None = None,
    reduce: str | None = None,
) -> Tensor:
    """``input`` with ``src`` (or one ``value``) at ``index`` along ``dim``.

    ``reduce="add"`` adds it, ``"multiply"`` multiplies by it.
    """
    given = src if value is None else value
    if given is None or (src is not None and value is not None):
        raise TypeError("scatter takes one of src and value")
    if reduce is None:
        return ops.scatter(input, dim, index, given)
    names = {"add": "sum", "multiply": "prod"}
    if reduce not in names:
        raise ShapeError(f"scatter: reduce is 'add' or 'multiply'; got {reduce!r}")
    spread = np.broadcast_to(given, np.shape(index)) if np.ndim(given) == 0 else given
    return ops.scatter_reduce(input, dim, index, spread, names[reduce])


@with_out
def scatter_add(input: TensorLike, dim: int, index: TensorLike, src: TensorLike) -> Tensor:
    """``input`` with ``src`` added at ``index`` along ``dim``."""
    return ops.scatter_add(input, dim, index, src)


@with_out
def index_add(
    input: TensorLike, dim: int, index: TensorLike, source: TensorLike, *, alpha: float = 1
) -> Tensor:
    """``input`` with the slices of ``alpha * source`` added at the 1-d ``index`` along ``dim``."""
    x, given = tensor_of(input), tensor_of(source)
    if x.ndim == 0:
        return ops.index_add(x.reshape(1), dim, index, given.reshape(-1), alpha).reshape(())
    return ops.index_add(x, dim, index, given, alpha)


@with_out
def scatter_reduce(
    input: TensorLike,
    dim: int,
    index: TensorLike,
    src: TensorLike,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    """``input`` with what ``src`` brings to ``index`` reduced into it (see ``ops``)."""
    _check_ordered(reduce, input, src)
    return ops.scatter_reduce(input, dim, index, src, reduce, include_self=include_self)


@with_out
def index_reduce(
    input: TensorLike,
    dim: int,
    index: TensorLike,
    source: TensorLike,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    """``scatter_reduce`` of whole slices of ``source`` at the 1-d ``index`` along ``dim``."""
    _check_ordered(reduce, input, source)
    return ops.index_reduce(input, dim, index, source, reduce, include_self=include_self)


def _check_ordered(reduce: str, *given: TensorLike) -> None:
    """Raise DistgradError for the largest or smallest of complex numbers."""
    if reduce in ("amax", "amin"):
        check_real(f"reduce={reduce!r}", *given)


@with_out
def index_copy(input: TensorLike, dim: int, index: TensorLike, source: TensorLike) -> Tensor:
    """``input`` with the slices of ``source`` at the 1-d ``index`` along ``dim``."""
    return _at_slices("index_copy", input, dim, index, source)


@with_out
def index_fill(input: TensorLike, dim: int, index: TensorLike, value: TensorLike) -> Tensor:
    """``input`` with one ``value`` in the slices at the 1-d ``index`` along ``dim``."""
    if np.ndim(value):
        raise ShapeError(f"index_fill: value is a single number; got shape {np.shape(value)}")
    x = tensor_of(input)
    return _at_slices("index_fill", x, dim, index, _number_in(value, x))


def _number_in(value: Any, x: Tensor) -> Any:
    """Return a number in the dtype of ``x``, cut to a whole one for whole ones, as PyTorch does.

    Errors: DistgradError for one that is not there in that dtype.
    """
    if np.ndim(value) or x.dtype.kind not in "biu" or isinstance(value, np.ndarray):
        return value
    if isinstance(value, Tensor):
        return _computed_number(value, x)
    number = value.item() if isinstance(value, np.generic) else value
    if isinstance(number, complex) or number != number or abs(number) == np.inf:
        raise DistgradError(f"{number} does not go into {x.dtype}; use .float() first")
    if x.dtype.kind == "b":
        return bool(number)
    limits = np.iinfo(x.dtype)
    if not limits.min <= int(number) <= limits.max:
        raise DistgradError(f"{number} does not go into {x.dtype}, {limits.min} to {limits.max}")
    return np.asarray(int(number), x.dtype)


@apart
@keeps_form
def _computed_number(value: Tensor, x: Tensor) -> Array:
    return np.asarray(_number_in(value.item(), x))


def _at_slices(
    name: str, input: TensorLike, dim: int, index: TensorLike, source: TensorLike
) -> Tensor:
    x = tensor_of(input)
    if x.ndim == 0:
        return _at_slices(name, x.reshape(1), dim, index, source).reshape(())
    axis = one_axis(dim, x.ndim, name)
    negative = name == "index_fill"
    rows = _row_of(name, index, x.shape[axis], axis, negative)
    wanted = (*x.shape[:axis], rows.size, *x.shape[axis + 1 :])
    if np.ndim(source) and np.shape(source) != wanted:
        raise ShapeError(f"{name}: source has shape {np.shape(source)}; x and index ask {wanted}")
    return ops.index_put(x, (slice(None),) * axis + (rows,), source)


@apart
@keeps_form
def _row_of(name: str, index: TensorLike, length: int, axis: int | None, negative: bool) -> Array:
    return checked_index(name, index, length, axis, negative=negative).reshape(-1)


def index_put(
    input: TensorLike, indices: Any, values: TensorLike, accumulate: bool = False
) -> Tensor:
    """``input`` as it is after ``input[indices] = values``, or ``+= values`` if ``accumulate``."""
    return ops.index_put(input, tuple(indices), values, accumulate)


def put(
    input: TensorLike, index: TensorLike, source: TensorLike, accumulate: bool = False
) -> Tensor:
    """``input`` with ``source`` at ``index`` of all elements in a row."""
    x, given = tensor_of(input), tensor_of(source)
    rows = _row_of("put", index, x.size, None, True)
    if given.size != rows.size:
        raise ShapeError(f"put: {rows.size} indices take as many values; got {given.size}")
    if given.ndim != 1:
        given = given.reshape(-1)
    return ops.index_put(x.reshape(-1), rows, given, accumulate).reshape(x.shape)


def masked_fill(input: TensorLike, mask: TensorLike, value: TensorLike) -> Tensor:
    """``value`` (a single number) where the boolean ``mask`` (broadcast) holds."""
    x = tensor_of(input)
    return ops.masked_fill(x, mask, _number_in(value, x))


@whole
@keeps_form
def masked_scatter(input: TensorLike, mask: TensorLike, source: TensorLike) -> Tensor:
    """The elements of ``source``, in order, where the boolean ``mask`` (broadcast) holds."""
    x, given = tensor_of(input), tensor_of(source)
    chosen = np.asarray(tensor_of(mask).array)
    if chosen.dtype != np.bool_:
        raise ShapeError(f"masked_scatter: the mask must be boolean; got dtype {chosen.dtype}")
    if x.shape != chosen.shape:
        shape = broadcast_shapes(x.shape, chosen.shape)
        x, chosen = x.expand(*shape), np.broadcast_to(chosen, shape)
    count = int(np.count_nonzero(chosen))
    if count > given.size:
        raise ShapeError(
            f"masked_scatter: the mask holds {count} times, source has {given.size} elements"
        )
    return ops.index_put(x, chosen, given.reshape(-1)[:count])


def select_scatter(input: TensorLike, src: TensorLike, dim: int, index: int) -> Tensor:
    """``input`` with ``src`` as the slice ``index`` along ``dim``."""
    x = tensor_of(input)
    axis = one_axis(dim, x.ndim, "select_scatter")
    return _in_slice("select_scatter", x, axis, int(index), src)


@with_out
def slice_scatter(
    input: TensorLike,
    src: TensorLike,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Tensor:
    """``input`` with ``src`` as the slices ``start:end:step`` along ``dim``."""
    x = tensor_of(input)
    axis = one_axis(dim, x.ndim, "slice_scatter")
    return _in_slice("slice_scatter", x, axis, slice(start, end, step), src)


def diagonal_scatter(
    input: TensorLike, src: TensorLike, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Tensor:
    """``input`` with ``src`` on the diagonal of two axes."""
    name, x = "diagonal_scatter", _matrix("diagonal_scatter", input)
    i, j = axis_numbers((dim1, dim2), x.ndim, name)
    length = max(min(x.shape[i] + min(offset, 0), x.shape[j] - max(offset, 0)), 0)
    wanted = (*(n for k, n in enumerate(x.shape) if k not in (i, j)), length)
    if np.shape(src) != wanted:
        raise ShapeError(f"{name}: src has shape {np.shape(src)}, the diagonal {wanted}")
    given = _converted(name, src, x)
    written: Tensor = ops.set_diagonal(x, given, offset=offset, axis1=i, axis2=j)
    return written


def _in_slice(name: str, x: Tensor, axis: int, key: int | slice, src: TensorLike) -> Tensor:
    n = x.shape[axis]
    if isinstance(key, slice):
        length: tuple[int, ...] = (len(range(*key.indices(n))),)
    elif -n <= key < n:
        length = ()
    else:
        raise ShapeError(f"{name}: index {key} is out of bounds for axis {axis} with size {n}")
    wanted = (*x.shape[:axis], *length, *x.shape[axis + 1 :])
    if np.shape(src) != wanted:
        raise ShapeError(f"{name}: src has shape {np.shape(src)}, the slice {wanted}")
    return ops.index_put(x, (*[slice(None)] * axis, key), _converted(name, src, x))


def _converted(name: str, src: TensorLike, x: Tensor) -> Tensor:
    """Return ``src`` in the dtype of ``x``, as PyTorch's copies are."""
    given = tensor_of(src)
    if given.dtype.kind == "c" and x.dtype.kind != "c":
        raise DistgradError(f"{name}: complex numbers do not go into {x.dtype}; take their .real")
    return given if given.dtype == x.dtype else given.astype(x.dtype)


# -- diagonals ------------------------------------------------------------------------------------


def diagonal(input: TensorLike, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of two axes, as the last one."""
    return call(np.diagonal, tensor_of(input), offset, dim1, dim2)


@with_out
def tril(input: TensorLike, diagonal: int = 0) -> Tensor:
    """The lower triangle of the last two axes, zeros above the diagonal."""
    return call(ops.tril, _matrix("tril", input), k=diagonal)


@with_out
def triu(input: TensorLike, diagonal: int = 0) -> Tensor:
    """The upper triangle of the last two axes, zeros below the diagonal."""
    return call(ops.triu, _matrix("triu", input), k=diagonal)


def _matrix(name: str, input: TensorLike) -> Tensor:
    x = tensor_of(input)
    if x.ndim < 2:
        raise ShapeError(f"{name} takes 2 axes or more; got shape {x.shape}")
    return x


def _where(input: Tensor, condition: Tensor, other: TensorLike) -> Any:
    """This where ``condition`` holds, ``other`` elsewhere."""
    return where(condition, input, other)


METHODS = {name: globals()[name] for name in __all__} | {"where": _where}
