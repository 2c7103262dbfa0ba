"""Look-ups by integer: embeddings and one-hot rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.nn.functional.wrap import wrap
from distgrad.ops.helpers import first_outside, integers


def embedding(indices: Any, weight: TensorLike) -> Tensor:
    """Rows of ``weight`` (v, d): integers (…) to (…, d). Errors: ShapeError out of range."""
    result: Tensor = ops.embedding(indices, wrap(weight))
    return result


def one_hot(labels: Any, num_classes: int = -1) -> Tensor:
    """Integers (…) to rows of zeros with a one, (…, num_classes), int64.

    The number of classes is the largest label + 1 if it is -1. Errors: ShapeError out of range.
    """
    rows = integers(labels, "labels")
    count = int(rows.max(initial=-1)) + 1 if num_classes == -1 else num_classes
    bad = first_outside(rows, count)
    if bad is not None:
        raise ShapeError(
            f"one_hot: label {bad[0]} at index {bad[1]} is out of range for {count} classes"
        )
    return Tensor(np.eye(count, dtype=np.int64)[rows])
