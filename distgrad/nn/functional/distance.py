"""Distances between vectors, and the losses that are made of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import keeps_form
from distgrad.autograd.op import constant
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.whole import whole
from distgrad.errors import ShapeError
from distgrad.nn.functional.reduction import beside, compared, reduce_loss
from distgrad.nn.functional.wrap import in_float32, same_shape, wrap, wrap_real


@in_float32
def normalize(input: TensorLike, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """x / max(‖x‖ₚ, ``eps``) along axis ``dim``."""
    x = wrap(input)
    if not -x.ndim <= dim < x.ndim:
        raise ShapeError(f"normalize: dim={dim} is no axis of {x.shape}; write dim=-1 for the last")
    result: Tensor = x / np.maximum(_norm(x, p, dim, True), eps)
    return result


@in_float32
def cosine_similarity(x1: TensorLike, x2: TensorLike, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x₁·x₂ / (max(‖x₁‖, ``eps``) max(‖x₂‖, ``eps``)) along axis ``dim``; the shapes broadcast."""
    first, second = (wrap_real("cosine_similarity", x) for x in (x1, x2))
    try:
        shape = np.broadcast_shapes(first.shape, second.shape)
    except ValueError:
        raise ShapeError(
            f"cosine_similarity: {first.shape} and {second.shape} do not broadcast; reshape one"
        ) from None
    a: Any = first if first.shape == shape else np.broadcast_to(first, shape)
    b: Any = second if second.shape == shape else np.broadcast_to(second, shape)
    result: Tensor = ops.cosine(a, b, axis=dim, eps=eps)
    return result


@in_float32
def pairwise_distance(
    x1: TensorLike, x2: TensorLike, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """‖x₁ - x₂ + ``eps``‖ₚ over the last axis; the shapes broadcast."""
    result: Tensor = _norm(wrap(x1) - wrap(x2) + eps, p, -1, keepdim)
    return result


def pdist(input: TensorLike, p: float = 2.0) -> Tensor:
    """‖xᵢ - xⱼ‖ₚ for all pairs i < j of the rows of (n, d), in the order of i and then j.

    Errors: ShapeError for another number of axes.
    """
    x: Any = wrap_real("pdist", input)
    if x.ndim != 2:
        raise ShapeError(f"pdist takes rows (n, d); got {x.shape}")
    if not p >= 0:
        raise ShapeError(f"pdist: p is a number ≥ 0 or inf; got {p}")
    result: Tensor = ops.pair_distances(x, p=p)
    return result


def hinge_embedding_loss(
    input: TensorLike, target: TensorLike, margin: float = 1.0, *, reduction: str = "mean"
) -> Tensor:
    """A distance x where the target is 1, max(0, margin - x) where it is -1.

    Errors: ShapeError for two shapes.
    """
    x, y = compared("hinge_embedding_loss", input, target)
    constant(y, "hinge_embedding_loss", "target")
    result: Tensor = ops.hinge_embedding(x, y, margin=margin, reduction=reduction)
    return result


def margin_ranking_loss(
    input1: TensorLike,
    input2: TensorLike,
    target: TensorLike,
    margin: float = 0.0,
    *,
    reduction: str = "mean",
) -> Tensor:
    """max(0, -y (x₁ - x₂) + margin): y = 1 asks for x₁ above x₂, -1 for the other way.

    Errors: ShapeError for shapes that differ.
    """
    a, b = compared("margin_ranking_loss", input1, input2)
    a, y = compared("margin_ranking_loss", a, target)
    result: Tensor = ops.margin_ranking(a - b, y, margin=margin, reduction=reduction)
    return result


@in_float32
def cosine_embedding_loss(
    input1: TensorLike,
    input2: TensorLike,
    target: TensorLike,
    margin: float = 0.0,
    *,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos(x₁, x₂) where the target is 1, max(0, cos(x₁, x₂) - margin) where it is -1.

    Inputs (n, d) and targets (n), or (d) and a number. Errors: ShapeError for other shapes.
    """
    a, b = compared("cosine_embedding_loss", input1, input2)
    y = beside(a, target)
    constant(y, "cosine_embedding_loss", "target")
    y = y.detach()
    if a.ndim not in (1, 2) or y.shape != a.shape[:-1]:
        raise ShapeError(
            f"cosine_embedding_loss takes (n, d), (n, d) and targets (n), or (d), (d) and a "
            f"number; got {a.shape}, {b.shape} and {y.shape}"
        )
    # A tiny number in place of a limit, as in PyTorch: the gradient at 0 is finite.
    cosine: Any = ops.cosine(a, b, axis=-1, tiny=1e-12)
    apart = np.where(y == -1, _above_0(cosine - margin), 0)
    return reduce_loss(np.where(y == 1, 1 - cosine, 0) + apart, reduction)


def triplet_margin_loss(
    anchor: TensorLike,
    positive: TensorLike,
    negative: TensorLike,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    *,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), d = ``pairwise_distance``.

    ``swap`` takes d(positive, negative) where it is smaller (Balntas et al. 2016).
    Errors: ShapeError for shapes that differ, or a margin that is not positive.
    """

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return pairwise_distance(a, b, p, eps)

    return triplet_margin_with_distance_loss(
        anchor,
        positive,
        negative,
        distance_function=distance,
        margin=margin,
        swap=swap,
        reduction=reduction,
    )


def triplet_margin_with_distance_loss(
    anchor: TensorLike,
    positive: TensorLike,
    negative: TensorLike,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """``triplet_margin_loss`` with any distance; ``pairwise_distance`` if None.

    Errors: ShapeError for shapes that differ, or a margin that is not positive.
    """
    if margin <= 0:
        raise ShapeError(f"triplet_margin_loss: margin is above 0; got {margin}")
    a, same = same_shape("triplet_margin_loss", anchor, positive)
    a, other = same_shape("triplet_margin_loss", a, negative)
    distance = pairwise_distance if distance_function is None else distance_function
    far: Any = distance(a, other)
    if swap:
        far = np.minimum(far, distance(same, other))
    return reduce_loss(_above_0(distance(a, same) - far + margin), reduction)


def _above_0(x: Tensor) -> Any:
    # Not relu: at exactly 0, where equal inputs and no margin start, the slope is 1, as in PyTorch.
    return np.clip(x, 0, None)


def _norm(x: Any, p: float, axis: int, keepdims: bool) -> Any:
    """(Σ |x|ᵖ) ** (1/p); its gradient at 0 is 0."""
    if p == 2:
        size = np.absolute(x) if x.dtype.kind == "c" else x
        return ops.vector_norm(size, axis=axis, keepdims=keepdims)
    return _norm_of_order(x, p, axis, keepdims)


@whole
@keeps_form
def _norm_of_order(x: Any, p: float, axis: int, keepdims: bool) -> Any:
    if p < 0:
        raise ShapeError(f"the order of a norm is not negative; got p={p}")
    size = np.absolute(x)
    if p == math.inf:
        return np.max(size, axis=axis, keepdims=keepdims)
    if p == 0:
        return Tensor(np.sum((size.array != 0).astype(size.dtype), axis=axis, keepdims=keepdims))
    if p == 1:
        return np.sum(size, axis=axis, keepdims=keepdims)
    # A power of 0 has no finite slope: 1 stands in, and is taken out again.
    powers = np.where(size.array == 0, 0, np.where(size.array == 0, 1, size) ** p)
    total: Any = np.sum(powers, axis=axis, keepdims=keepdims)
    zero = total.array == 0
    safe = np.where(zero, 1, total)
    return np.where(zero, 0, safe ** (1 / p))
