"""Other shapes of the same elements: axes moved, added, removed and repeated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import fixed
from distgrad.autograd.methods.calls import call
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Ints, Shape
from distgrad.errors import ShapeError
from distgrad.functions.arguments import one_axis, shape_of, tensor_of
from distgrad.ops.shape import axis_numbers

SHAPE_IN_PLACE = ["squeeze", "swapaxes", "swapdims", "t", "transpose", "unsqueeze"]

__all__ = [
    "adjoint",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_shapes",
    "broadcast_tensors",
    "broadcast_to",
    "expand_as",
    "flatten",
    "flip",
    "fliplr",
    "flipud",
    "meshgrid",
    "moveaxis",
    "movedim",
    "permute",
    "ravel",
    "repeat_interleave",
    "reshape",
    "reshape_as",
    "roll",
    "rot90",
    "squeeze",
    "sum_to_size",
    "swapaxes",
    "swapdims",
    "t",
    "tile",
    "transpose",
    "unflatten",
    "unfold",
    "unsqueeze",
    "view_as",
]


def reshape(input: TensorLike, shape: Ints) -> Tensor:
    """The elements in another shape (one length may be -1)."""
    return call(np.reshape, tensor_of(input), shape_of((shape,)))


def reshape_as(input: TensorLike, other: Tensor) -> Tensor:
    """The elements in the shape of ``other``."""
    return call(np.reshape, tensor_of(input), other.shape)


def view_as(input: TensorLike, other: Tensor) -> Tensor:
    """The elements in the shape of ``other``."""
    return reshape_as(input, other)


def ravel(input: TensorLike) -> Tensor:
    """All elements as one axis."""
    return call(np.ravel, tensor_of(input))


def flatten(input: TensorLike, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Axes ``start_dim`` to ``end_dim`` (included) as one."""
    return call(ops.flatten, tensor_of(input), start_dim, end_dim)


def unflatten(input: TensorLike, dim: int, sizes: Sequence[int]) -> Tensor:
    """Axis ``dim`` as several of ``sizes``, of which one may be -1."""
    return call(ops.unflatten, tensor_of(input), dim, sizes)


def squeeze(input: TensorLike, dim: Ints | None = None) -> Tensor:
    """Axes of length 1 removed: all, or those of ``dim`` (longer ones are left alone)."""
    x = tensor_of(input)
    if x.ndim == 0 and dim is not None:  # as PyTorch: a number has axes 0 and -1
        axis_numbers(dim, 1, "squeeze")
        return x
    return x.squeeze() if dim is None else x.squeeze(dim=dim)


def unsqueeze(input: TensorLike, dim: int) -> Tensor:
    """A new axis of length 1 at ``dim``."""
    return call(np.expand_dims, tensor_of(input), dim)


# -- axes in another order ------------------------------------------------------------------------


def transpose(input: TensorLike, dim0: int, dim1: int) -> Tensor:
    """Axes ``dim0`` and ``dim1`` exchanged."""
    x = tensor_of(input)
    if x.ndim == 0:  # as PyTorch: a number has axis 0 and -1
        axis_numbers((dim0,), 1, "transpose")
        axis_numbers((dim1,), 1, "transpose")
        return x
    return call(np.swapaxes, x, dim0, dim1)


def swapaxes(input: TensorLike, axis0: int, axis1: int) -> Tensor:
    """``transpose``, by NumPy's name."""
    return transpose(input, axis0, axis1)


def swapdims(input: TensorLike, dim0: int, dim1: int) -> Tensor:
    """``transpose``, by another name."""
    return transpose(input, dim0, dim1)


def permute(input: TensorLike, dims: Sequence[int]) -> Tensor:
    """The axes in the order ``dims``."""
    x = tensor_of(input)
    if len(dims) != x.ndim:
        raise ShapeError(f"permute: dims {tuple(dims)} do not name the {x.ndim} axes of {x.shape}")
    return call(np.transpose, x, axis_numbers(tuple(dims), x.ndim, "permute"))


def movedim(input: TensorLike, source: Ints, destination: Ints) -> Tensor:
    """Axes ``source`` at ``destination``, the others in order."""
    x = tensor_of(input)
    if x.ndim == 0:  # as PyTorch: a number has axis 0 and -1
        axis_numbers(source, 1, "movedim")
        axis_numbers(destination, 1, "movedim")
        return x
    return call(ops.moveaxis, x, source, destination)


def moveaxis(input: TensorLike, source: Ints, destination: Ints) -> Tensor:
    """``movedim``, by NumPy's name."""
    return movedim(input, source, destination)


def t(input: TensorLike) -> Tensor:
    """The transpose of a matrix; a vector or number as it is. Errors: ShapeError for more axes."""
    x = tensor_of(input)
    if x.ndim > 2:
        raise ShapeError(
            f"t() takes at most 2 axes; got shape {x.shape}: use .transpose(-1, -2) or .mT"
        )
    return call(np.transpose, x)


def adjoint(input: TensorLike) -> Tensor:
    """The last two axes exchanged, the elements conjugated."""
    return call(ops.matrix_transpose, tensor_of(input)).conj()


# -- repeated and spread --------------------------------------------------------------------------


def broadcast_to(input: TensorLike, size: Ints) -> Tensor:
    """Repeated along new axes and axes of length 1, to shape ``size`` (-1 keeps a length)."""
    x, shape = tensor_of(input), shape_of((size,))
    if len(shape) < x.ndim:
        raise ShapeError(f"broadcast_to: {shape} has fewer axes than the shape {x.shape}")
    return x.expand(*shape)


def expand_as(input: TensorLike, other: Tensor) -> Tensor:
    """``broadcast_to`` the shape of ``other``."""
    return tensor_of(input).expand(*other.shape)


def broadcast_tensors(*tensors: TensorLike) -> tuple[Tensor, ...]:
    """All tensors in the shape they broadcast to."""
    found: Any = ops.broadcast_arrays(*[tensor_of(x) for x in tensors])
    return tuple(found)


def broadcast_shapes(*shapes: Ints) -> Shape:
    """The shape that tensors of ``shapes`` broadcast to. Errors: ShapeError if they do not."""
    try:
        return np.broadcast_shapes(*[s if isinstance(s, int) else tuple(s) for s in shapes])
    except ValueError as error:
        raise ShapeError(f"the shapes {', '.join(map(str, shapes))} do not broadcast") from error


def sum_to_size(input: TensorLike, *size: Any) -> Tensor:
    """Summed over the axes along which ``size`` was broadcast to the shape of ``input``."""
    x, shape = tensor_of(input), shape_of(size)
    if broadcast_shapes(shape, x.shape) != x.shape:
        raise ShapeError(f"sum_to_size: {shape} does not broadcast to {x.shape}")
    extra = x.ndim - len(shape)
    axes = [i for i in range(x.ndim) if i < extra or shape[i - extra] != x.shape[i]]
    return x.sum(axis=tuple(axes)).reshape(shape) if axes else x


def tile(input: TensorLike, *positions: Any, dims: Ints | None = None) -> Tensor:
    """The whole repeated ``dims`` times (numbers, or one sequence) along the axes."""
    times = shape_of(positions if dims is None else (dims,))
    return call(np.tile, tensor_of(input), times) if times else tensor_of(input).clone()


def repeat_interleave(
    input: TensorLike,
    repeats: TensorLike | None = None,
    dim: int | None = None,
    *,
    output_size: int | None = None,
) -> Tensor:
    """Each element ``repeats`` times in a row along ``dim`` (of all elements if None).

    With one argument, whole numbers n₀, n₁, …: 0 n₀ times, 1 n₁ times, …. Errors: ShapeError for
    an ``output_size`` that is not the length.
    """
    x, name = tensor_of(input), "repeat_interleave"
    if repeats is None:
        x, repeats, dim = Tensor(fixed(np.arange(len(x)))), x, 0
    times = repeats if isinstance(repeats, Tensor) else np.asarray(repeats)
    if times.dtype.kind not in "iu":
        raise ShapeError(f"repeat_interleave: repeats are whole numbers; got {times.dtype}")
    found = call(np.repeat, x, times, None if dim is None else one_axis(dim, x.ndim or 1, name))
    length = found.shape[dim or 0]
    if output_size not in (None, length):
        raise ShapeError(f"repeat_interleave: output_size={output_size}, repeats give {length}")
    return found


def roll(input: TensorLike, shifts: Ints, dims: Ints | None = None) -> Tensor:
    """The elements moved on by ``shifts`` along ``dims``, round the end."""
    if dims is None and not isinstance(shifts, int) and len(shifts) != 1:
        raise ShapeError(f"roll: shifts {shifts} without dims; a number is meant, or name dims")
    if dims is not None:
        shifts, dims = shape_of((shifts,)), shape_of((dims,))
        if len(shifts) != len(dims):
            raise ShapeError(f"roll: shifts {shifts} and dims {dims} are to be of one length")
    return call(np.roll, tensor_of(input), shifts, dims)


def flip(input: TensorLike, *positions: Any, dims: Ints | None = None) -> Tensor:
    """The order along ``dims`` (numbers, or one sequence) reversed."""
    x = tensor_of(input)
    axes = shape_of(positions if dims is None else (dims,))
    found = axis_numbers(axes, x.ndim or 1, "flip")  # a number has axis 0 and -1
    return call(np.flip, x, found) if x.ndim else x.clone()


def fliplr(input: TensorLike) -> Tensor:
    """The columns (axis 1) in reverse order."""
    return call(np.fliplr, tensor_of(input))


def flipud(input: TensorLike) -> Tensor:
    """The rows (axis 0) in reverse order."""
    return call(np.flipud, tensor_of(input))


def rot90(input: TensorLike, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Turned by ``k`` right angles, from the first of ``dims`` towards the second."""
    return call(ops.rot90, tensor_of(input), k, dims)


def atleast_1d(*tensors: Any) -> Any:
    """A number as a tensor of one element, others as they are (a tuple for several)."""
    return _each(ops.atleast_1d, tensors)


def atleast_2d(*tensors: Any) -> Any:
    """Fewer than two axes as a row, others as they are (a tuple for several)."""
    return _each(ops.atleast_2d, tensors)


def atleast_3d(*tensors: Any) -> Any:
    """(n,) as (1, n, 1), (m, n) as (m, n, 1), others as they are (a tuple for several)."""
    return _each(ops.atleast_3d, tensors)


def _each(function: Any, tensors: tuple[Any, ...]) -> Any:
    listed = len(tensors) == 1 and isinstance(tensors[0], list | tuple)
    given = [tensor_of(x) for x in (tensors[0] if listed else tensors)]
    found = function(*given)
    return (found,) if listed and len(given) == 1 else found


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinates of a grid: a tensor for each axis, PyTorch's order ("ij") unless "xy"."""
    listed = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], list | tuple) else tensors
    given = [tensor_of(x) for x in listed]
    for x in given:
        if x.ndim > 1:
            raise ShapeError(f"meshgrid takes vectors and numbers; got shape {x.shape}")
    return ops.meshgrid(*[x if x.ndim else x.reshape(1) for x in given], indexing=indexing)


def unfold(input: TensorLike, dimension: int, size: int, step: int) -> Tensor:
    """Windows of ``size`` along ``dimension``, ``step`` apart, as a new last axis.

    (The patches of images are ``nn.functional.unfold``.) Errors: ShapeError for windows that do not
    fit.
    """
    x = tensor_of(input)
    if x.ndim == 0:  # it counts as an axis of one element
        return x.reshape(1)[:size]
    axis = one_axis(dimension, x.ndim, "unfold")
    n = x.shape[axis]
    if not 0 <= size <= n or step < 1:
        raise ShapeError(
            f"unfold: windows of {size}, {step} apart, do not lie in axis {dimension} of length {n}"
        )
    if size == 0:
        shape = [*x.shape, 0]
        shape[axis] = n // step + 1
        return call(np.reshape, x[..., :0], shape)
    last = x if axis == x.ndim - 1 else call(ops.moveaxis, x, axis, -1)
    found: Tensor = ops.frames(last, size=size, hop=step)
    return found if last is x else call(ops.moveaxis, found, -2, axis)
