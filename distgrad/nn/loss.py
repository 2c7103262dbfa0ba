"""Losses and distances as modules: the functions of ``nn.functional`` with their settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.kinds import Count, Fraction, Integer, NonNegative, one_of
from distgrad.nn import functional as F
from distgrad.nn.function_module import FunctionModule
from distgrad.nn.functional.reduction import Reduction
from distgrad.nn.functional.wrap import wrap


class _Loss(FunctionModule):
    def __init__(
        self, size_average: None = None, reduce: None = None, reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        self.reduction = reduction

    def extra_repr(self) -> str:
        """Nothing, as in PyTorch."""
        return ""


class _WeightedLoss(_Loss):
    """PyTorch's base of losses with weights, for losses of one's own."""

    def __init__(
        self,
        weight: TensorLike | None = None,
        size_average: None = None,
        reduce: None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", None if weight is None else wrap(weight))


class MSELoss(_Loss):
    """The mean of (x - y)²."""

    function = F.mse_loss

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self._keep(reduction=reduction)


class L1Loss(_Loss):
    """The mean of |x - y|."""

    function = F.l1_loss

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self._keep(reduction=reduction)


class HuberLoss(_Loss):
    """(x - y)²/2 up to an error of ``delta``, linear above (Huber 1964)."""

    function = F.huber_loss

    def __init__(self, reduction: Reduction = "mean", delta: float = 1.0) -> None:
        super().__init__()
        self._keep(reduction=reduction, delta=delta)


class SmoothL1Loss(_Loss):
    """|x - y| with a parabola up to an error of ``beta``."""

    function = F.smooth_l1_loss

    def __init__(self, *, reduction: Reduction = "mean", beta: float = 1.0) -> None:
        super().__init__()
        self._keep(reduction=reduction, beta=beta)


class PoissonNLLLoss(_Loss):
    """-log of the Poisson probability of counts, given rates or their logarithms."""

    function = F.poisson_nll_loss

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        *,
        eps: NonNegative = 1e-8,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self._keep(log_input=log_input, full=full, eps=eps, reduction=reduction)


class GaussianNLLLoss(_Loss):
    """-log of the normal density of targets, given means and variances."""

    function = F.gaussian_nll_loss

    def __init__(
        self, *, full: bool = False, eps: NonNegative = 1e-6, reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        self._keep(full=full, eps=eps, reduction=reduction)


class KLDivLoss(_Loss):
    """The Kullback-Leibler divergence of log-probabilities from target probabilities."""

    function = F.kl_div

    def __init__(
        self,
        *,
        reduction: Annotated[str, one_of("mean", "sum", "none", "batchmean")] = "mean",
        log_target: bool = False,
    ) -> None:
        super().__init__()
        self._keep(reduction=reduction, log_target=log_target)


class CrossEntropyLoss(_Loss):
    """Softmax cross-entropy of logits (n, c, …) and labels (n, …) or probabilities (n, c, …)."""

    function = F.cross_entropy

    def __init__(
        self,
        weight: TensorLike | None = None,
        *,
        ignore_index: Integer = -100,
        reduction: Reduction = "mean",
        label_smoothing: Fraction = 0.0,
    ) -> None:
        super().__init__()
        self._keep(
            weight=weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )


class NLLLoss(_Loss):
    """-log p[label] of log-probabilities (n, c, …) and labels (n, …)."""

    function = F.nll_loss

    def __init__(
        self,
        weight: TensorLike | None = None,
        *,
        ignore_index: Integer = -100,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self._keep(weight=weight, ignore_index=ignore_index, reduction=reduction)


class NLLLoss2d(NLLLoss):
    """``NLLLoss``, by an older name of PyTorch's."""


class BCELoss(_Loss):
    """Binary cross-entropy of probabilities and targets in [0, 1], of one shape."""

    function = F.binary_cross_entropy

    def __init__(self, weight: TensorLike | None = None, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self._keep(weight=weight, reduction=reduction)


class BCEWithLogitsLoss(_Loss):
    """Binary cross-entropy of logits and targets in [0, 1], of one shape."""

    function = F.binary_cross_entropy_with_logits

    def __init__(
        self,
        weight: TensorLike | None = None,
        *,
        reduction: Reduction = "mean",
        pos_weight: TensorLike | None = None,
    ) -> None:
        super().__init__()
        self._keep(
            weight=weight,
            reduction=reduction,
            pos_weight=pos_weight,
        )


class SoftMarginLoss(_Loss):
    """log(1 + exp(-y x)) for targets y of 1 or -1."""

    function = F.soft_margin_loss

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self._keep(reduction=reduction)


class MultiMarginLoss(_Loss):
    """The hinge loss of (n, c) scores and labels (n)."""

    function = F.multi_margin_loss

    def __init__(
        self,
        p: Annotated[int, one_of(1, 2)] = 1,
        margin: float = 1.0,
        weight: TensorLike | None = None,
        *,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self._keep(p=p, margin=margin, weight=weight, reduction=reduction)


class MultiLabelMarginLoss(_Loss):
    """The hinge loss of (n, c) scores and several labels a row, which end at the first -1."""

    function = F.multilabel_margin_loss

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self._keep(reduction=reduction)


class MultiLabelSoftMarginLoss(_Loss):
    """Binary cross-entropy of logits (n, c), averaged over the classes."""

    function = F.multilabel_soft_margin_loss

    def __init__(self, weight: TensorLike | None = None, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self._keep(weight=weight, reduction=reduction)


class HingeEmbeddingLoss(_Loss):
    """Distances where the target is 1, what they lack of ``margin`` where it is -1."""

    function = F.hinge_embedding_loss

    def __init__(self, margin: float = 1.0, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self._keep(margin=margin, reduction=reduction)


class MarginRankingLoss(_Loss):
    """max(0, -y (x₁ - x₂) + margin) for targets y of 1 or -1."""

    function = F.margin_ranking_loss

    def __init__(self, margin: float = 0.0, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self._keep(margin=margin, reduction=reduction)


class CosineEmbeddingLoss(_Loss):
    """1 - cos(x₁, x₂) where the target is 1, what exceeds ``margin`` where it is -1."""

    function = F.cosine_embedding_loss

    def __init__(self, margin: float = 0.0, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self._keep(margin=margin, reduction=reduction)


class TripletMarginLoss(_Loss):
    """An anchor is to be nearer to the positive than to the negative, by ``margin``."""

    function = F.triplet_margin_loss

    def __init__(
        self,
        margin: float = 1.0,
        p: NonNegative = 2.0,
        eps: NonNegative = 1e-6,
        swap: bool = False,
        *,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self._keep(margin=margin, p=p, eps=eps, swap=swap, reduction=reduction)


class TripletMarginWithDistanceLoss(_Loss):
    """``TripletMarginLoss`` with any distance; ``pairwise_distance`` if None."""

    function = F.triplet_margin_with_distance_loss

    def __init__(
        self,
        *,
        distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self._keep(
            distance_function=PairwiseDistance()
            if distance_function is None
            else distance_function,
            margin=margin,
            swap=swap,
            reduction=reduction,
        )


class CTCLoss(_Loss):
    """-log of the probability of targets over all alignments to frames (Graves et al. 2006)."""

    function = F.ctc_loss

    def __init__(
        self, blank: Count = 0, reduction: Reduction = "mean", zero_infinity: bool = False
    ) -> None:
        super().__init__()
        self._keep(blank=blank, reduction=reduction, zero_infinity=zero_infinity)


class CosineSimilarity(_Loss):
    """The cosine of the angle between vectors along axis ``dim``."""

    function = F.cosine_similarity

    def __init__(self, dim: Integer = 1, eps: NonNegative = 1e-8) -> None:
        super().__init__()
        self._keep(dim=dim, eps=eps)


class PairwiseDistance(_Loss):
    """The p-norm of the difference over the last axis."""

    function = F.pairwise_distance

    def __init__(
        self, p: NonNegative = 2.0, eps: NonNegative = 1e-6, keepdim: bool = False
    ) -> None:
        super().__init__()
        self._keep(p=p, eps=eps, keepdim=keepdim)
