"""Losses of classification: one label of several classes, or a yes and no for each."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import apart, count_of, keeps_form
from distgrad.autograd.op import constant
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.autograd.whole import whole
from distgrad.errors import ShapeError
from distgrad.nn.functional.reduction import beside, compared, mean_over, reduce_loss
from distgrad.nn.functional.wrap import wrap, wrap_real
from distgrad.ops.loss import class_weights


def cross_entropy(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Softmax cross-entropy of logits (n, c, …), or (c), and targets.

    Integer targets (n, …) are labels; floating-point ones of the logits' shape are probabilities.
    ``weight`` (c) rescales the classes. The mean is over the labels that are not ``ignore_index``,
    weighted; with probabilities, over all places. ``label_smoothing`` ε mixes the targets with the
    uniform distribution (Szegedy et al. 2016). Errors: ShapeError naming a label out of range.
    """
    if not 0 <= label_smoothing <= 1:
        raise ShapeError(f"cross_entropy: label_smoothing is from 0 to 1; got {label_smoothing}")
    x, y = wrap_real("cross_entropy", input), wrap_real("cross_entropy", target)
    if x.dtype.kind != "f":
        raise ShapeError(
            f"cross_entropy takes floating-point logits (n, c, …) first and labels second; got "
            f"{x.dtype}: convert them, .astype(np.float32), or exchange the two"
        )
    if y.dtype.kind == "f" and y.shape == x.shape:
        if ignore_index >= 0:
            raise ShapeError("cross_entropy: ignore_index is for labels; these are probabilities")
        return _soft_cross_entropy(x, y, weight, reduction, label_smoothing)
    x, labels, single = _batched(x, y)
    if weight is None:
        loss: Any = ops.cross_entropy(
            x,
            labels,
            reduction=reduction,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
        )
    else:
        log_probs = ops.log_softmax(x, axis=1)
        loss = nll_loss(log_probs, labels, weight, ignore_index=ignore_index, reduction=reduction)
        if label_smoothing:
            uniform = _uniform_loss(log_probs, labels, weight, reduction, ignore_index)
            loss = (1 - label_smoothing) * loss + label_smoothing * uniform
    result: Tensor = loss[0] if single and reduction == "none" else loss
    return result


def nll_loss(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-weight[y] input[y] for log-probabilities (n, c, …), or (c), and labels y (n, …).

    ``weight`` (c) is 1 if None. The mean divides by the sum of the weights of the labels that are
    not ``ignore_index``. Errors: ShapeError naming a label out of range.
    """
    x, y, single = _batched(wrap_real("nll_loss", input), wrap(target))
    loss: Tensor = ops.nll(x, y, weight=weight, reduction=reduction, ignore_index=ignore_index)
    return loss[0] if single and reduction == "none" else loss


def binary_cross_entropy(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    *,
    reduction: str = "mean",
) -> Tensor:
    """-(t log p + (1 - t) log(1 - p)) · ``weight``, logarithms no lower than -100.

    Errors: ShapeError for two shapes, or a p outside 0 to 1, naming it.
    """
    x, t = compared("binary_cross_entropy", input, target)
    _check_probabilities(x)
    if weight is None:
        result: Tensor = ops.binary_cross_entropy(x, t, reduction=reduction)
        return result
    loss = ops.binary_cross_entropy(x, t, reduction="none")
    return reduce_loss(_weighted("binary_cross_entropy", loss, weight), reduction)


@apart
def _check_probabilities(x: Tensor) -> None:
    outside = (x.array < 0) | (x.array > 1)
    if outside.any():
        at = np.argwhere(outside)[0]
        raise ShapeError(
            f"binary_cross_entropy: {x.array[tuple(at)]} at index {_words(at)} is no probability; "
            f"use binary_cross_entropy_with_logits for logits"
        )


def binary_cross_entropy_with_logits(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    *,
    reduction: str = "mean",
    pos_weight: TensorLike | None = None,
) -> Tensor:
    """-(a t log σ(x) + (1 - t) log(1 - σ(x))) · ``weight``, where a is ``pos_weight``.

    Both weights are 1 if None and broadcast. Errors: ShapeError for two shapes.
    """
    who = "binary_cross_entropy_with_logits"
    x, t = compared(who, input, target)
    if weight is None and pos_weight is None:
        result: Tensor = ops.binary_cross_entropy_with_logits(x, t, reduction=reduction)
        return result
    if pos_weight is None:
        loss: Any = ops.binary_cross_entropy_with_logits(x, t, reduction="none")
    else:
        positive = 1 + (_beside(who, "pos_weight", x, pos_weight) - 1) * t
        loss = (1 - t) * x + positive * ops.softplus(-x)
    return reduce_loss(_weighted(who, loss, weight), reduction)


def _weighted(who: str, loss: Any, weight: TensorLike | None) -> Any:
    return loss if weight is None else loss * _beside(who, "weight", loss, weight)


def _beside(who: str, name: str, x: Tensor, weight: TensorLike) -> Tensor:
    found = beside(x, weight)
    pairs = zip(reversed(found.shape), reversed(x.shape), strict=False)
    if any(n != m and 1 not in (n, m) for n, m in pairs):
        raise ShapeError(
            f"{who}: {name} has shape {found.shape}, the input {x.shape}: give one for each "
            f"number, or for each of the last axis"
        )
    return found


def soft_margin_loss(input: TensorLike, target: TensorLike, *, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-y x)) for targets y of 1 or -1. Errors: ShapeError for two shapes."""
    x, y = compared("soft_margin_loss", input, target)
    result: Tensor = ops.soft_margin(x, y, reduction=reduction)
    return result


def multi_margin_loss(
    input: TensorLike,
    target: TensorLike,
    p: int = 1,
    margin: float = 1.0,
    weight: TensorLike | None = None,
    *,
    reduction: str = "mean",
) -> Tensor:
    """weight[y] Σ max(0, margin - x[y] + x[i])ᵖ / c over i ≠ y: the hinge loss of c classes.

    ``input`` (n, c) or (c), labels (n) or one. Errors: ShapeError for a p other than 1 and 2,
    shapes that do not fit and a label out of range, naming it.
    """
    if p not in (1, 2):
        raise ShapeError(f"multi_margin_loss: p is 1 or 2; got {p}")
    x, y, single = _batched(wrap_real("multi_margin_loss", input), wrap(target))
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise ShapeError(
            f"multi_margin_loss takes (n, c) and labels (n), or (c) and one label; got "
            f"{x.shape} and {y.shape}"
        )
    loss: Tensor = ops.multi_margin(x, y, p=p, margin=margin, weight=weight, reduction=reduction)
    return loss[0] if single and reduction == "none" else loss


def multilabel_margin_loss(
    input: TensorLike, target: TensorLike, *, reduction: str = "mean"
) -> Tensor:
    """Σ max(0, 1 - x[y] + x[i]) / c over the labels y of a row and all i that are none of them.

    ``input`` and integer ``target`` are (n, c) or (c); the labels of a row end at the first -1.
    Errors: ShapeError for two shapes and for a label out of range, naming it.
    """
    x, y = wrap_real("multilabel_margin_loss", input), wrap(target)
    if x.shape != y.shape or x.ndim not in (1, 2):
        raise ShapeError(
            f"multilabel_margin_loss takes two of shape (n, c) or (c); got {x.shape} and {y.shape}"
        )
    if x.ndim == 1:
        row: Tensor = ops.multilabel_margin(
            np.expand_dims(x, 0), np.expand_dims(y, 0), reduction=reduction
        )
        return row[0] if reduction == "none" else row
    loss: Tensor = ops.multilabel_margin(x, y, reduction=reduction)
    return loss


def multilabel_soft_margin_loss(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    *,
    reduction: str = "mean",
) -> Tensor:
    """Binary cross-entropy of logits (…, c), averaged over the classes; ``weight`` (c) scales them.

    Errors: ShapeError for two shapes.
    """
    x, t = compared("multilabel_soft_margin_loss", input, target)
    loss: Any = binary_cross_entropy_with_logits(x, t, weight, reduction="none")
    return reduce_loss(np.sum(loss, axis=-1) / count_of(loss, -1), reduction)


def _batched(x: Tensor, target: Tensor) -> tuple[Any, Tensor, bool]:
    """Return both with a batch of 1 where ``x`` is one row of classes, and whether it is."""
    if x.ndim != 1:
        return x, target, False
    return np.expand_dims(x, 0), target.reshape((1,)) if target.size == 1 else target, True


@whole
@keeps_form
def _soft_cross_entropy(
    x: Tensor, probabilities: Tensor, weight: TensorLike | None, reduction: str, smoothing: float
) -> Tensor:
    axis = min(x.ndim - 1, 1)
    c = x.shape[axis]
    if smoothing:
        probabilities = probabilities * (1 - smoothing) + smoothing / c
    terms = probabilities * ops.log_softmax(x, axis=axis)
    if weight is not None:
        terms = terms * _column(weight, x, axis)
    return reduce_loss(-np.sum(terms, axis=axis), reduction)


@whole
@keeps_form
def _uniform_loss(
    log_probs: Tensor, labels: Tensor, weight: Any, reduction: str, ignore_index: int
) -> Tensor:
    """-Σ weight · log_probs / c, averaged as the labels are; these have been checked."""
    keep = labels.array != ignore_index
    column = _column(weight, log_probs, 1)
    loss = np.where(keep, -np.sum(log_probs * column, axis=1) / log_probs.shape[1], 0)
    if reduction != "mean":
        return reduce_loss(loss, reduction)
    total = np.sum(column.reshape(-1)[labels.array[keep]])
    return mean_over(loss, total)


def _column(weight: TensorLike, x: Tensor, axis: int) -> Array:
    given = constant(wrap(weight), "cross_entropy", "weight")
    values = class_weights("cross_entropy", given, x.shape[axis]).astype(x.dtype)
    return values.reshape((-1,) + (1,) * (x.ndim - 1 - axis))


def _words(index: Any) -> str:
    return ", ".join(str(i) for i in index) or "()"
