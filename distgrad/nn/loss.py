"""Losses and distances as modules: the functions of ``nn.functional`` with their settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distgrad.autograd.tensor import Tensor
from distgrad.nn import functional as F
from distgrad.nn.functional.wrap import wrap
from distgrad.nn.module import Module


class _Functional(Module):
    """A function of ``nn.functional``; its settings are attributes that may be changed.

    ``weight`` and ``pos_weight`` are buffers, as in PyTorch: they are in the state.
    """

    def __init__(self, function: Callable[..., Tensor], **settings: Any) -> None:
        super().__init__()
        self._function, self._settings = function, tuple(settings)
        for name, value in settings.items():
            if name in {"weight", "pos_weight"} and value is not None:
                self.register_buffer(name, wrap(value))
            else:
                setattr(self, name, value)

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """Call the function on the inputs, which have its names."""
        return self._function(*inputs, **named, **{n: getattr(self, n) for n in self._settings})

    def extra_repr(self) -> str:
        """Return the settings that are not tensors."""
        values = ((n, getattr(self, n)) for n in self._settings)
        return ", ".join(
            f"{n}={v}"
            for n, v in values
            if v is not None and not isinstance(v, Tensor | Module) and not callable(v)
        )


class MSELoss(_Functional):
    """The mean of (x - y)²."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(F.mse_loss, reduction=reduction)


class L1Loss(_Functional):
    """The mean of |x - y|."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(F.l1_loss, reduction=reduction)


class HuberLoss(_Functional):
    """(x - y)²/2 up to an error of ``delta``, linear above (Huber 1964)."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(F.huber_loss, reduction=reduction, delta=delta)


class SmoothL1Loss(_Functional):
    """|x - y| with a parabola up to an error of ``beta``."""

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(F.smooth_l1_loss, reduction=reduction, beta=beta)


class PoissonNLLLoss(_Functional):
    """-log of the Poisson probability of counts, given rates or their logarithms."""

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        *,
        eps: float = 1e-8,
        reduction: str = "mean",
    ) -> None:
        super().__init__(
            F.poisson_nll_loss, log_input=log_input, full=full, eps=eps, reduction=reduction
        )


class GaussianNLLLoss(_Functional):
    """-log of the normal density of targets, given means and variances."""

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(F.gaussian_nll_loss, full=full, eps=eps, reduction=reduction)


class KLDivLoss(_Functional):
    """The Kullback-Leibler divergence of log-probabilities from target probabilities."""

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(F.kl_div, reduction=reduction, log_target=log_target)


class CrossEntropyLoss(_Functional):
    """Softmax cross-entropy of logits (n, c, …) and labels (n, …) or probabilities (n, c, …)."""

    def __init__(
        self,
        weight: Any = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            F.cross_entropy,
            weight=weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )


class NLLLoss(_Functional):
    """-log p[label] of log-probabilities (n, c, …) and labels (n, …)."""

    def __init__(
        self, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(F.nll_loss, weight=weight, ignore_index=ignore_index, reduction=reduction)


class BCELoss(_Functional):
    """Binary cross-entropy of probabilities and targets in [0, 1], of one shape."""

    def __init__(self, weight: Any = None, *, reduction: str = "mean") -> None:
        super().__init__(F.binary_cross_entropy, weight=weight, reduction=reduction)


class BCEWithLogitsLoss(_Functional):
    """Binary cross-entropy of logits and targets in [0, 1], of one shape."""

    def __init__(
        self, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None
    ) -> None:
        super().__init__(
            F.binary_cross_entropy_with_logits,
            weight=weight,
            reduction=reduction,
            pos_weight=pos_weight,
        )


class SoftMarginLoss(_Functional):
    """log(1 + exp(-y x)) for targets y of 1 or -1."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(F.soft_margin_loss, reduction=reduction)


class MultiMarginLoss(_Functional):
    """The hinge loss of (n, c) scores and labels (n)."""

    def __init__(
        self, p: int = 1, margin: float = 1.0, weight: Any = None, *, reduction: str = "mean"
    ) -> None:
        super().__init__(
            F.multi_margin_loss, p=p, margin=margin, weight=weight, reduction=reduction
        )


class MultiLabelMarginLoss(_Functional):
    """The hinge loss of (n, c) scores and several labels a row, which end at the first -1."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(F.multilabel_margin_loss, reduction=reduction)


class MultiLabelSoftMarginLoss(_Functional):
    """Binary cross-entropy of logits (n, c), averaged over the classes."""

    def __init__(self, weight: Any = None, *, reduction: str = "mean") -> None:
        super().__init__(F.multilabel_soft_margin_loss, weight=weight, reduction=reduction)


class HingeEmbeddingLoss(_Functional):
    """Distances where the target is 1, what they lack of ``margin`` where it is -1."""

    def __init__(self, margin: float = 1.0, *, reduction: str = "mean") -> None:
        super().__init__(F.hinge_embedding_loss, margin=margin, reduction=reduction)


class MarginRankingLoss(_Functional):
    """max(0, -y (x₁ - x₂) + margin) for targets y of 1 or -1."""

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        super().__init__(F.margin_ranking_loss, margin=margin, reduction=reduction)


class CosineEmbeddingLoss(_Functional):
    """1 - cos(x₁, x₂) where the target is 1, what exceeds ``margin`` where it is -1."""

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        super().__init__(F.cosine_embedding_loss, margin=margin, reduction=reduction)


class TripletMarginLoss(_Functional):
    """An anchor is to be nearer to the positive than to the negative, by ``margin``."""

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        *,
        reduction: str = "mean",
    ) -> None:
        super().__init__(
            F.triplet_margin_loss, margin=margin, p=p, eps=eps, swap=swap, reduction=reduction
        )


class TripletMarginWithDistanceLoss(_Functional):
    """``TripletMarginLoss`` with any distance; ``pairwise_distance`` if None."""

    def __init__(
        self,
        *,
        distance_function: Callable[[Any, Any], Any] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(
            F.triplet_margin_with_distance_loss,
            distance_function=distance_function,
            margin=margin,
            swap=swap,
            reduction=reduction,
        )


class CTCLoss(_Functional):
    """-log of the probability of targets over all alignments to frames (Graves et al. 2006)."""

    def __init__(
        self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False
    ) -> None:
        super().__init__(F.ctc_loss, blank=blank, reduction=reduction, zero_infinity=zero_infinity)


class CosineSimilarity(_Functional):
    """The cosine of the angle between vectors along axis ``dim``."""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__(F.cosine_similarity, dim=dim, eps=eps)


class PairwiseDistance(_Functional):
    """The p-norm of the difference over the last axis."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__(F.pairwise_distance, p=p, eps=eps, keepdim=keepdim)
