"""Losses that hold the last linear layer themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np

from distgrad.autograd.apart import apart
from distgrad.autograd.device import Device
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.kinds import Count, Fraction, Integer, number, sequence_of, whole
from distgrad.nn import functional as F
from distgrad.nn.container import ModuleList, Sequential
from distgrad.nn.functional.linear_loss import LinearCrossEntropyOptions
from distgrad.nn.functional.reduction import Reduction
from distgrad.nn.functional.wrap import wrap
from distgrad.nn.linear import Linear
from distgrad.nn.make import ParameterDType
from distgrad.nn.module import Module
from distgrad.ops.helpers import first_outside, integers


class LinearCrossEntropyLoss(Module):
    """The cross-entropy of ``Linear(in_features, num_classes)`` of the input (n, in_features).

    With ``out_features`` there are as many targets a sample: (n, *out_features). Errors:
    ShapeError for weights that are not one for each class.
    """

    def __init__(
        self,
        in_features: Count,
        num_classes: Count,
        *,
        out_features: Annotated[Sequence[int], sequence_of(whole(1), least=0)] = (),
        bias: bool = False,
        device: Device = None,
        dtype: ParameterDType = None,
        reduction: Reduction = "mean",
        weight: TensorLike | None = None,
        ignore_index: Integer | None = None,
        label_smoothing: Fraction = 0.0,
        options: LinearCrossEntropyOptions | None = None,
    ) -> None:
        super().__init__()
        if weight is not None and wrap(weight).shape != (num_classes,):
            raise ShapeError(
                f"LinearCrossEntropyLoss: {num_classes} classes need as many weights; got "
                f"{wrap(weight).shape}"
            )
        self.register_buffer("weight", None if weight is None else wrap(weight))
        self.weight: Tensor | None
        self.num_classes, self.out_features = num_classes, tuple(out_features)
        self.reduction, self.ignore_index = reduction, ignore_index
        self.label_smoothing, self.options = label_smoothing, options
        self.linear = Linear(in_features, math.prod(self.out_features, start=num_classes), bias)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """Return the loss of labels (n, *out_features) or probabilities (n, c, *out_features)."""
        shape = (self.num_classes, *self.out_features)
        bias = self.linear.bias
        return F.linear_cross_entropy(
            input,
            self.linear.weight.reshape((*shape, self.linear.in_features)),
            target,
            linear_bias=None if bias is None else bias.reshape(shape),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )

    def extra_repr(self) -> str:
        """Return the settings."""
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, "
            f"out_features={self.out_features}, bias={self.linear.bias is not None}, "
            f"reduction={self.reduction}, ignore_index={self.ignore_index}, "
            f"label_smoothing={self.label_smoothing}, options={self.options}"
        )


class ASMoutput(NamedTuple):
    """What ``AdaptiveLogSoftmaxWithLoss`` returns."""

    output: Tensor
    """The log-probability of each target."""
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Cross-entropy over many classes, the frequent ones first (Grave et al. 2017).

    Classes below ``cutoffs[0]`` stand in the head; those from one cutoff to the next are a cluster
    of the tail, whose features are ``div_value`` times fewer than those of the cluster before.
    Errors: ShapeError for cutoffs that do not rise between 1 and ``n_classes`` - 1.
    """

    def __init__(
        self,
        in_features: Count,
        n_classes: Count,
        cutoffs: Annotated[Sequence[int], sequence_of(whole(1))],
        div_value: Annotated[float, number(1)] = 4.0,
        head_bias: bool = False,
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        super().__init__()
        bounds = [0, *cutoffs, n_classes]
        whole = all(int(c) == c for c in cutoffs)
        if not len(cutoffs) or not whole or any(np.diff(bounds) <= 0):
            raise ShapeError(
                f"AdaptiveLogSoftmaxWithLoss: cutoffs are rising whole numbers from 1 to "
                f"{n_classes - 1}; got {list(cutoffs)}"
            )
        self.in_features, self.n_classes = in_features, n_classes
        self.cutoffs = [int(c) for c in bounds[1:]]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size, self.n_clusters = self.cutoffs[0], len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            hidden = int(in_features // (div_value ** (i + 1)))
            size = self.cutoffs[i + 1] - self.cutoffs[i]
            parts = Linear(in_features, hidden, bias=False), Linear(hidden, size, bias=False)
            self.tail.append(Sequential(*parts))

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        for m in self.modules():
            if isinstance(m, Linear):
                m.reset_parameters()

    def forward(self, input_: TensorLike, target_: TensorLike) -> ASMoutput:
        """Return the targets' log-probabilities (n) and their mean loss, of (n, features) and (n).

        Without n both come for one sample. Errors: ShapeError, naming a target out of range.
        """
        x, y = wrap(input_), wrap(target_)
        if y.ndim > 1 or x.ndim != y.ndim + 1 or x.shape[:-1] != y.shape:
            raise ShapeError(
                f"AdaptiveLogSoftmaxWithLoss takes (n, {self.in_features}) and targets (n), or "
                f"both without n; got {x.shape} and {y.shape}"
            )
        many: Any = x if y.ndim else x.reshape((1, *x.shape))
        output = self._of_targets(many, *self._sorted(y))
        loss = -output.mean()
        return ASMoutput(output if y.ndim else output[0], loss)

    @apart
    def _sorted(self, target: Tensor) -> Any:
        """Return where the targets stand in the head, in each cluster, and in order again."""
        y = integers(target, "AdaptiveLogSoftmaxWithLoss: targets")
        if outside := first_outside(y, self.n_classes):
            raise ShapeError(
                f"AdaptiveLogSoftmaxWithLoss: target {outside[0]} at index {outside[1]} is out of "
                f"range for {self.n_classes} classes"
            )
        y = y.reshape(-1)
        cluster = np.searchsorted(self.cutoffs[:-1], y, side="right")  # 0: in the head
        place = np.where(cluster == 0, y, self.shortlist_size + cluster - 1)
        rows = [np.flatnonzero(cluster == i) for i in range(self.n_clusters + 1)]
        tails = [
            (here, np.arange(len(here)), y[here] - cutoff)
            for here, cutoff in zip(rows[1:], self.cutoffs, strict=False)
        ]
        back = np.argsort(np.concatenate(rows), kind="stable")
        return (np.arange(len(y)), place, rows[0]), tails, back

    def _of_targets(
        self,
        x: Any,
        head: tuple[Array, ...],
        tails: list[tuple[Array, ...]],
        back: Array,
    ) -> Any:
        of_head = F.log_softmax(self.head(x), 1)
        rows, place, alone = head
        parts: list[Any] = [np.zeros_like(of_head[alone, 0].detach())]
        # Clusters without a target run too, on no rows: every shard does the same.
        for tail, (here, row, label) in zip(self.tail, tails, strict=True):
            parts.append(F.log_softmax(tail(x[here]), 1)[row, label])
        return of_head[rows, place] + np.concatenate(parts)[back]

    def log_prob(self, input: TensorLike) -> Tensor:
        """Return the log-probabilities of all classes, (n, n_classes)."""
        x: Any = wrap(input)
        head: Any = F.log_softmax(self.head(x), 1)
        parts = [head[:, : self.shortlist_size]]
        for i, cluster in enumerate(self.tail):
            own = head[:, self.shortlist_size + i : self.shortlist_size + i + 1]
            parts.append(F.log_softmax(cluster(x), 1) + own)
        return wrap(np.concatenate(parts, axis=1))

    def predict(self, input: TensorLike) -> Tensor:
        """Return the class of the highest probability of each sample, (n)."""
        return Tensor(np.argmax(self.log_prob(input).array, axis=1).astype(np.int64))
