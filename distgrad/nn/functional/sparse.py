"""Look-ups by integer: embeddings and one-hot rows."""

from __future__ import annotations

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.nn.functional.wrap import wrap
from distgrad.ops.helpers import first_outside, integers


def embedding(
    input: TensorLike,
    weight: TensorLike,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of ``weight`` (v, d): integers (…) to (…, d). Row ``padding_idx`` gets no gradient.

    With ``sparse`` gradients are dense all the same. Errors: ShapeError out of range, and for the
    settings that are not there: ``max_norm`` (to which ``norm_type`` belongs) and
    ``scale_grad_by_freq``.
    """
    weight = wrap(weight)
    refuse_settings("embedding", max_norm, scale_grad_by_freq)
    row = None if padding_idx is None else padding_row(padding_idx, weight.shape[0])
    result: Tensor = ops.embedding(input, weight, padding_idx=row)
    return result


def refuse_settings(name: str, max_norm: float | None, scale_grad_by_freq: bool) -> None:
    """Say which of PyTorch's settings of an embedding are not there. Errors: ShapeError."""
    if max_norm is not None:
        raise ShapeError(
            f"{name}: max_norm={max_norm} would change the weight in the forward pass, on each "
            f"rank the rows that it reads; scale the rows after each optimizer step"
        )
    if scale_grad_by_freq:
        raise ShapeError(
            f"{name}: scale_grad_by_freq=True would count tokens in a shard, not in the batch; "
            f"leave it out"
        )


def padding_row(padding_idx: int, count: int, name: str = "embedding") -> int:
    """Return ``padding_idx`` counted from row 0. Errors: ShapeError out of range."""
    if not -count <= padding_idx < count:
        raise ShapeError(
            f"{name}: padding_idx={padding_idx} is out of range for a table of {count} rows"
        )
    return padding_idx % count


def one_hot(tensor: TensorLike, num_classes: int = -1) -> Tensor:
    """Integers (…) to rows of zeros with a one, (…, num_classes), int64.

    The number of classes is the largest label + 1 if it is -1. Errors: ShapeError out of range.
    """
    return _of_the_largest(tensor) if num_classes == -1 else _one_hot(tensor, num_classes)


@apart
def _of_the_largest(labels: TensorLike) -> Tensor:
    return _one_hot(labels, int(integers(labels, "labels").max(initial=-1)) + 1)


@apart
@keeps_form
def _one_hot(labels: TensorLike, count: int) -> Tensor:
    rows = integers(labels, "labels")
    bad = first_outside(rows, count)
    if bad is not None:
        raise ShapeError(
            f"one_hot: label {bad[0]} at index {bad[1]} is out of range for {count} classes"
        )
    ones = np.zeros((*rows.shape, count), np.int64)
    ones.reshape(-1)[np.arange(rows.size) * count + rows.reshape(-1).astype(np.intp)] = 1
    return Tensor(ones)
