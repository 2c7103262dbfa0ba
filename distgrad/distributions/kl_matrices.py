"""KL divergences of normal distributions of vectors, in any form of covariance; of Wishart's."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.distributions.kl import register_kl
from distgrad.distributions.lowrank_multivariate_normal import LowRankMultivariateNormal
from distgrad.distributions.multivariate_normal import MultivariateNormal
from distgrad.distributions.wishart import Wishart
from distgrad.errors import ShapeError
from distgrad.ops.solve import solve_triangular

LowRank = LowRankMultivariateNormal


def _check(p: Any, q: Any) -> None:
    if p.event_shape != q.event_shape:
        raise ShapeError(
            f"KL-divergence between {type(p).__name__} and {type(q).__name__} with different event "
            f"shapes cannot be computed: {p.event_shape} and {q.event_shape}"
        )


def _kl(p: Any, q: Any, root: Any, precise: Any) -> Any:
    """½ (log |Σq| - log |Σp| + tr Σq⁻¹ Σp + dᵀ Σq⁻¹ d - n), Σp = root rootᵀ."""
    _check(p, q)
    n = p.event_shape[0]
    d = np.expand_dims(q.loc - p.loc, -1)
    distances = precise(root) + precise(d)
    return q._half_log_det() - p._half_log_det() + 0.5 * (distances - n)


@register_kl(LowRank, LowRank)
def _low_rank(p: LowRank, q: LowRank) -> Any:
    return _kl(p, q, p._root(), q._precise)


@register_kl(MultivariateNormal, LowRank)
def _full_low_rank(p: MultivariateNormal, q: LowRank) -> Any:
    return _kl(p, q, p._factor, q._precise)


@register_kl(LowRank, MultivariateNormal)
def _low_rank_full(p: LowRank, q: MultivariateNormal) -> Any:
    def precise(x: Any) -> Any:
        batch = np.broadcast_shapes(q._factor.shape[:-2], x.shape[:-2])
        factor, wide = (np.broadcast_to(m, (*batch, *m.shape[-2:])) for m in (q._factor, x))
        y = solve_triangular(factor, wide, lower=True)
        return np.sum(y * y, axis=(-2, -1))

    return _kl(p, q, p._root(), precise)


@register_kl(Wishart, Wishart)
def _wishart(p: Wishart, q: Wishart) -> Any:
    _check(p, q)
    mine, other = p.covariance_matrix, q.precision_matrix
    trace = p.df * np.sum(mine * other, axis=(-2, -1))
    return -p.entropy() - q._log_density(p._mean_log_det(), trace)
