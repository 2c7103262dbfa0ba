"""Dropout as modules: off in evaluation, masks keyed by seed, step, shard and call."""

from __future__ import annotations

from collections.abc import Callable

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.kinds import Probability
from distgrad.nn import functional as F
from distgrad.nn.functional.dropout import check_dropout
from distgrad.nn.module import Module


class _Dropout(Module):
    function: Callable[..., Tensor]

    def __init__(self, p: Probability = 0.5, inplace: bool = False) -> None:
        super().__init__()
        check_dropout(type(self).__name__, p)
        self.p, self.inplace = p, inplace

    def forward(self, input: TensorLike) -> Tensor:
        """Drop in training; pass through in evaluation."""
        return type(self).function(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """Zero elements with probability ``p`` in training and scale the rest by 1 / (1 - p).

    The mask is keyed by seed, step, shard and call: the same on any number of ranks.
    """

    function = F.dropout


class Dropout1d(_Dropout):
    """``Dropout`` of whole channels of (n, c, l) or (c, l)."""

    function = F.dropout1d


class Dropout2d(_Dropout):
    """``Dropout`` of whole channels of (n, c, h, w)."""

    function = F.dropout2d


class Dropout3d(_Dropout):
    """``Dropout`` of whole channels of (n, c, d, h, w) or (c, d, h, w)."""

    function = F.dropout3d


class AlphaDropout(_Dropout):
    """Set elements to SELU's floor in training, then keep mean 0 and variance 1."""

    function = F.alpha_dropout


class FeatureAlphaDropout(_Dropout):
    """``AlphaDropout`` of whole channels of (n, c, …)."""

    function = F.feature_alpha_dropout
