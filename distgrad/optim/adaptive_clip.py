"""Clipping that finds its own limit: from the weights' norms (AGC), or from past gradients."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from distgrad.arguments import explained
from distgrad.autograd.apart import apart, keeps_form, keeps_gradients
from distgrad.autograd.layout import Part, Ranks
from distgrad.autograd.parts import part_of, values_here
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.optim.clip import clip_grads_with_norm_, gradient_norm
from distgrad.optim.norms import real_view
from distgrad.tracing import traced


@explained
@apart
@keeps_form
@keeps_gradients
@traced("clipping")
def adaptive_clip_grad_(
    params: Iterable[Tensor], clip_factor: float = 0.01, eps: float = 1e-3
) -> int:
    """Limit each unit's gradient norm to ``clip_factor`` times its weights' norm, in place (AGC).

    A unit is what feeds one output: a row of the first axis; a vector or scalar (bias, gain) is
    one unit. Weight norms count as ``eps`` at least. Returns how many units were clipped. The
    paper leaves the classifier's last layer out. Errors: ShapeError for a negative factor, with
    nothing changed. Brock et al. 2021, arXiv 2102.06171, eq. 3.
    """
    if not clip_factor >= 0:
        raise ShapeError(f"adaptive_clip_grad_: clip_factor is 0 or more; got {clip_factor}")
    listed = [params] if isinstance(params, Tensor) else list(params)
    clipped = 0
    with values_here(listed):
        mine: dict[int, tuple[Ranks, int]] = {}  # clipped in gradients that one rank alone has
        for p in listed:
            if p.grad is None or not p.size:
                continue
            g = part_of(p.grad)
            if not isinstance(g, Part):
                clipped += _limit_(g, p.array, clip_factor, eps)
            elif g.sharding.is_cut(g.slot):
                clipped += _limit_part_(g, p.array, clip_factor, eps)
            else:
                ranks, count = mine.get(id(g.sharding.ranks), (g.sharding.ranks, 0))
                if g.array.size:
                    count += _limit_(g.to_write().reshape(p.shape), p.array, clip_factor, eps)
                mine[id(ranks)] = (ranks, count)
        for ranks, count in mine.values():
            total = np.array([float(count)])
            ranks.add_up_(total)
            clipped += int(total[0])
    return clipped


def _limit_part_(g: Part, weights: Array, clip_factor: float, eps: float) -> int:
    """Limit the units of a gradient that is cut anywhere: all ranks see it whole for a moment."""
    window = slice(g.first, g.first + g.array.size)
    whole = np.empty(g.size, g.array.dtype)
    whole[window] = g.array
    g.sharding.gather_(whole, g.slot.start)
    clipped = _limit_(whole.reshape(weights.shape), weights, clip_factor, eps)
    g.to_write()[...] = whole[window]
    return clipped


def _limit_(g: Array, weights: Array, clip_factor: float, eps: float) -> int:
    limit = clip_factor * np.maximum(_unit_norms(weights), eps)
    norm = _unit_norms(g)
    over = ~(norm <= limit)  # a NaN is over every limit, and stays one
    if over.any():
        scale = np.divide(limit, norm, out=np.ones_like(norm), where=over).astype(g.real.dtype)
        with np.errstate(invalid="ignore"):  # an infinite gradient times 0 is a NaN
            np.multiply(g, scale.reshape(-1, *[1] * (g.ndim - 1)) if g.ndim else scale[0], g)
    return int(over.sum())


def _unit_norms(a: Array) -> Array:
    rows = real_view(np.ascontiguousarray(a).reshape(a.shape[0] if a.ndim > 1 else 1, -1))
    with np.errstate(over="ignore"):  # an infinite norm tells
        norms: Array = np.sqrt(np.add.reduce(np.square(rows, dtype=np.float64), axis=1))
    return norms


class AutoClip:
    """Clips the joint gradient norm to a percentile of the norms seen so far.

    Call it in place of ``clip_grad_norm_``: ``clip(model.parameters())`` returns the norm before
    clipping. ``history`` limits how many norms are remembered (the newest; None: all, as in the
    paper). Norms that are not finite are not remembered. Seetharaman et al. 2020, arXiv 2007.14469.
    Errors: ShapeError for a percentile outside [0, 100] or an empty history.
    """

    def __init__(
        self, percentile: float = 10.0, *, history: int | None = None, norm_type: float = 2.0
    ) -> None:
        if not 0 <= percentile <= 100:
            raise ShapeError(f"percentile={percentile} must lie in [0, 100]")
        if history is not None and history < 1:
            raise ShapeError(f"history={history} must be at least 1, or None for all norms")
        self.percentile, self.history, self.norm_type = percentile, history, norm_type
        self._norms: deque[float] = deque()
        self._sorted: list[float] = []  # the same, in order: a percentile costs two look-ups

    @apart
    @keeps_form
    @keeps_gradients
    @traced("clipping")
    def __call__(self, params: Iterable[Tensor]) -> float:
        """Remember the gradients' norm, clip them in place, and return the norm before that."""
        listed = [params] if isinstance(params, Tensor) else list(params)
        norm = gradient_norm(listed, self.norm_type)
        if any(p.grad is not None for p in listed) and math.isfinite(norm):
            self._remember(norm)
        clip_grads_with_norm_(listed, self.max_norm, norm)
        return norm

    @property
    def max_norm(self) -> float:
        """The limit now: the percentile of the norms remembered; infinity if there is none."""
        if not self._sorted:
            return math.inf
        place = (len(self._sorted) - 1) * self.percentile / 100
        low = math.floor(place)
        high = min(low + 1, len(self._sorted) - 1)
        return self._sorted[low] + (place - low) * (self._sorted[high] - self._sorted[low])

    def _remember(self, norm: float) -> None:
        self._norms.append(norm)
        insort(self._sorted, norm)
        if self.history is not None and len(self._norms) > self.history:
            del self._sorted[bisect_left(self._sorted, self._norms.popleft())]

    def state_dict(self) -> dict[str, Any]:
        """Return the norms remembered, oldest first."""
        return {"norms": list(self._norms)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from ``state_dict``; of a longer history the newest norms stay."""
        self._norms.clear()
        self._sorted.clear()
        for norm in state_dict["norms"]:
            self._remember(float(norm))
