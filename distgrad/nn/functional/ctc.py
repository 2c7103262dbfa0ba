"""The loss of connectionist temporal classification: its shapes, lengths and checks."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import keeps_form
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.autograd.whole import whole
from distgrad.errors import ShapeError
from distgrad.nn.functional.reduction import reduce_loss
from distgrad.nn.functional.wrap import wrap_real
from distgrad.ops.helpers import first_outside, integers


@whole
@keeps_form
def ctc_loss(
    log_probs: TensorLike,
    targets: TensorLike,
    input_lengths: TensorLike,
    target_lengths: TensorLike,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """-log of the probability of the targets, over all alignments (Graves et al. 2006).

    ``log_probs`` (t, n, c), or (t, c) for one sample, are logarithms of probabilities (from
    ``log_softmax``). ``targets`` are labels other than ``blank``: padded (n, s), or one sample
    after the other in one axis. The mean divides each loss by its target's length (at least 1)
    first. A target that does not fit its frames costs infinity, with a gradient of NaN, or with
    ``zero_infinity`` nothing. The gradient is that of ``log_probs`` as they are; PyTorch's own is
    the same only after it has passed through ``log_softmax``. Errors: ShapeError for lengths or
    labels that do not fit, naming them.
    """
    given = wrap_real("ctc_loss", log_probs)
    single = given.ndim == 2
    x: Any = np.expand_dims(given, 1) if single else given
    if x.ndim != 3 or 0 in x.shape[::2]:
        raise ShapeError(
            f"ctc_loss takes log_probs (t, n, c) or (t, c), with at least one frame and one "
            f"class; got {given.shape}"
        )
    frames, n, classes = x.shape
    if not 0 <= blank < classes:
        raise ShapeError(f"ctc_loss: blank={blank} is none of the {classes} classes")
    spoken = _lengths("target_lengths", target_lengths, n)
    heard = _lengths("input_lengths", input_lengths, n, frames)
    labels = _padded(integers(targets, "targets"), spoken, single)
    _check_labels(labels, spoken, classes, blank)
    loss: Any = ops.ctc(
        x,
        np.where(np.arange(labels.shape[1]) < spoken[:, None], labels, blank),
        input_lengths=heard,
        target_lengths=spoken,
        blank=blank,
        zero_infinity=zero_infinity,
    )
    if reduction == "mean":
        loss = loss / np.maximum(spoken, 1).astype(x.dtype)
    return reduce_loss(loss[0] if single else loss, reduction)


def _lengths(name: str, lengths: TensorLike, n: int, most: int | None = None) -> Array:
    found = integers(lengths, name).reshape(-1)
    if len(found) != n:
        raise ShapeError(f"ctc_loss: {n} samples need as many {name}; got {len(found)}")
    bad = first_outside(found, 1 + (int(found.max(initial=0)) if most is None else most))
    if bad is not None:
        limit = "" if most is None else f", at most the {most} frames of log_probs"
        raise ShapeError(f"ctc_loss: {name}[{bad[1]}] is {bad[0]}; lengths start at 0{limit}")
    return found.astype(np.int64)


def _padded(targets: Array, lengths: Array, single: bool) -> Array:
    """Return the targets as (n, s), s at least the largest length."""
    if targets.ndim == 1 and not single:
        if len(targets) != lengths.sum():
            raise ShapeError(
                f"ctc_loss: concatenated targets have the sum of target_lengths, "
                f"{lengths.sum()}, labels; got {len(targets)}"
            )
        whole = np.zeros((len(lengths), int(lengths.max(initial=0))), np.int64)
        whole[np.arange(whole.shape[1]) < lengths[:, None]] = targets
        return whole
    rows = targets[None] if single and targets.ndim == 1 else targets
    if rows.ndim != 2 or len(rows) != len(lengths) or rows.shape[1] < lengths.max(initial=0):
        raise ShapeError(
            f"ctc_loss: targets are ({len(lengths)}, {lengths.max(initial=0)} or more), or one "
            f"sample after the other in one axis; got {targets.shape}"
        )
    return rows


def _check_labels(labels: Array, lengths: Array, classes: int, blank: int) -> None:
    counted = np.arange(labels.shape[1]) < lengths[:, None]
    wrong = np.argwhere(counted & ((labels < 0) | (labels >= classes) | (labels == blank)))
    if len(wrong):
        sample, place = wrong[0]
        raise ShapeError(
            f"ctc_loss: target {labels[sample, place]} of sample {sample} at index {place} is out "
            f"of range: labels are 0..{classes - 1} without the blank, {blank}"
        )
