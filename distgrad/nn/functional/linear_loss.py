"""The cross-entropy of a linear layer's outputs in one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import DTypeLike
from distgrad.errors import ShapeError
from distgrad.nn.functional.classification import cross_entropy
from distgrad.nn.functional.linear import linear
from distgrad.nn.functional.wrap import wrap


@dataclass(frozen=True)
class LinearCrossEntropyOptions:
    """How PyTorch cuts the logits of ``linear_cross_entropy`` into chunks, to save memory.

    Taken for the sake of its programs: here the logits are made as a whole.
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: Literal["accurate", "balanced", "compact", "auto"] = "auto"
    acc_dtype: DTypeLike | None = None


def linear_cross_entropy(
    input: TensorLike,
    linear_weight: TensorLike,
    target: TensorLike,
    *,
    linear_bias: TensorLike | None = None,
    weight: TensorLike | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: LinearCrossEntropyOptions | None = None,
) -> Tensor:
    """``cross_entropy(linear(input, linear_weight, linear_bias), target, …)``.

    ``input`` is (n, i) or (i), ``linear_weight`` (c, …, i), the target (n, …) or, as
    probabilities, (n, c, …). Errors: ShapeError for shapes that do not fit, and as
    ``cross_entropy``.
    """
    x, w, y = wrap(input), wrap(linear_weight), wrap(target)
    name = "linear_cross_entropy"
    if x.ndim not in {1, 2} or w.ndim < 2 or x.shape[-1] != w.shape[-1]:
        raise ShapeError(
            f"{name} takes (n, i) or (i) and weights (c, …, i); got {x.shape} and {w.shape}"
        )
    c, *rest, _ = w.shape
    if rest and x.ndim == 1:
        raise ShapeError(f"{name}: weights {w.shape} need a batch (n, {x.shape[0]}); got {x.shape}")
    if linear_bias is not None and wrap(linear_bias).shape != (c, *rest):
        raise ShapeError(
            f"{name}: the bias has shape {wrap(linear_bias).shape}, expected {(c, *rest)}"
        )
    shape = (*x.shape[:-1], c, *rest)
    if y.shape == shape and y.dtype.kind != "f":
        raise ShapeError(
            f"{name}: a target of the logits' shape {shape} is probabilities, floating-point "
            f"numbers; got {y.dtype}"
        )
    flat: Any = w.reshape((-1, w.shape[-1]))
    bias = None if linear_bias is None else wrap(linear_bias).reshape((-1,))
    return cross_entropy(
        linear(x, flat, bias).reshape(shape),
        y,
        weight,
        ignore_index=-100 if ignore_index is None else ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
