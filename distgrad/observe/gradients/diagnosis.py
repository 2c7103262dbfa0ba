"""What counts as vanishing, exploding, dead and not finite, and what usually helps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from distgrad.autograd.types import Array

Kind: TypeAlias = Literal["vanishing", "exploding", "dead", "nonfinite"]
KINDS: tuple[Kind, ...] = ("vanishing", "exploding", "dead", "nonfinite")

ADVICE: dict[Kind, str] = {
    "vanishing": (
        "initialise for the activation (nn.init.kaiming_normal_ for ReLU, xavier_uniform_ for "
        "tanh; Glorot & Bengio 2010, He et al. 2015); ReLU or GELU in place of sigmoid; "
        "normalisation (Ioffe & Szegedy 2015, Ba et al. 2016); residual connections (He et al. "
        "2016); in recurrent nets LSTM or GRU and shorter sequences (Hochreiter 1997, Pascanu et "
        "al. 2013)"
    ),
    "exploding": (
        "clip gradients (dg.clip_grad_norm_, optim.AutoClip; Pascanu et al. 2013, Seetharaman et "
        "al. 2020); a lower learning rate, or warm-up (Goyal et al. 2017); orthogonal or smaller "
        "initial weights (Saxe et al. 2014); normalisation; if one rank alone is named, look into "
        "the samples of its shard"
    ),
    "dead": (
        "a lower learning rate; LeakyReLU, ELU or GELU in place of ReLU (Maas et al. 2013, Lu et "
        "al. 2019); initial weights for ReLU (He et al. 2015); check that the inputs are scaled, "
        "and that nothing cuts the layer off from the loss"
    ),
    "nonfinite": (
        "`with dg.detect_anomaly():` names the operation; look for log, sqrt or a division near 0 "
        "and for NaNs in the data of the shard named; a lower learning rate, clipping; "
        "nonfinite='skip' leaves such batches out; where no rank is named, every=1 names it"
    ),
}

LOSS = -1  # in place of a row, where the loss alone is not finite

# Fewer observed steps say nothing about what is usual, more are of another time of training.
_LEAST_PAST, _MOST_PAST = 5, 50


@dataclass(frozen=True)
class Measured:
    """One observed step: norms by layer, NaN where a layer had no gradient."""

    step: int
    gradient: Array
    weight: Array
    shards: Array  # the shards looked at
    local: Array  # (shard, layer): the norm of each shard's own gradient
    finite: bool | None = None  # the verdict of the policy on gradients and losses


@dataclass(frozen=True)
class Finding:
    """Something wrong with one layer in one step."""

    kind: Kind
    row: int
    value: float  # the gradient norm
    reference: str  # what it was compared with
    shards: tuple[int, ...] = ()  # whose gradients stand out; () if no shard does


@dataclass(frozen=True)
class Limits:
    """Where wrong begins."""

    vanishing: float
    exploding: float
    compared: Array  # the rows that are compared with each other


def diagnose(now: Measured, past: list[Array], limits: Limits) -> list[Finding]:
    """Return what is wrong in one step, given the gradient norms of the steps before it.

    At most one finding a layer: the gravest.
    """
    g = now.gradient
    found: dict[int, Finding] = {}
    for f in (*_exploding(now, past, limits.exploding), *_vanishing(now, limits)):
        found.setdefault(f.row, f)
    for row in np.flatnonzero(g == 0):
        found[int(row)] = Finding("dead", int(row), 0.0, "its gradient is exactly 0")
    said = "its gradient is not finite"
    for row in np.flatnonzero(np.isinf(g)):
        bad = tuple(now.shards[np.isinf(now.local[:, row])].tolist())
        found[int(row)] = Finding("nonfinite", int(row), np.inf, said, bad)
    if now.finite is False and not np.isinf(g).any():
        bad = tuple(now.shards[np.isinf(now.local).all(axis=1)].tolist())
        said = "it is not finite, the gradients are"
        found[LOSS] = Finding("nonfinite", LOSS, np.inf, said, bad)
    return [found[row] for row in sorted(found)]


def _vanishing(now: Measured, limits: Limits) -> list[Finding]:
    """Compare with the other layers: at one rate, how much slower do its weights change?

    The gains of normalisation layers are left out, whose gradients are small beside their ones,
    and embeddings, of which a batch uses few rows.
    """
    usable = np.isfinite(now.gradient) & (now.gradient > 0) & (now.weight > 0) & limits.compared
    if usable.sum() < 3:  # no telling which of two is the odd one
        return []
    relative = np.where(usable, now.gradient, 0.0) / np.where(usable, now.weight, 1.0)
    share = relative / np.median(relative[usable])
    return [
        Finding(
            "vanishing",
            int(row),
            float(now.gradient[row]),
            f"gradient norm {now.gradient[row]:.1e}, {relative[row]:.1e} of its weights', "
            f"{share[row]:.1e} times the median layer's ratio",
        )
        for row in np.flatnonzero(usable & (share < limits.vanishing))
    ]


def _exploding(now: Measured, past: list[Array], limit: float) -> list[Finding]:
    """Compare with the layer's own past, and with the norm of all weights.

    A layer that grows but does not tower above what the whole gradient usually is has woken up,
    no more: layers do when training leaves a plateau.
    """
    g = np.where(np.isfinite(now.gradient), now.gradient, 0.0)
    weights = float(np.sqrt(np.sum(np.square(now.weight))))
    usual, whole = _usual(past, len(g))
    found = []
    for row in np.flatnonzero(g > 0):
        said = f"gradient norm {g[row]:.1e}, "
        if g[row] > max(limit * usual[row], np.sqrt(limit) * whole):
            observed = min(len(past), _MOST_PAST)
            said += f"{g[row] / usual[row]:.1e} times its median over {observed} observed steps"
        elif g[row] > limit * weights > 0:
            said += f"{g[row] / weights:.1e} times the norm of all weights together"
        else:
            continue
        found.append(
            Finding("exploding", int(row), float(g[row]), said, _standing_out(now, int(row)))
        )
    return found


def _usual(past: list[Array], rows: int) -> tuple[Array, float]:
    """Return each layer's (lower) median norm, and that of all layers together.

    Infinity where too few finite, positive ones are known.
    """
    if len(past) < _LEAST_PAST:
        return np.full(rows, np.inf), np.inf
    table = np.stack(past[-_MOST_PAST:])
    known = np.isfinite(table) & (table > 0)
    whole = np.sqrt(np.sum(np.square(np.where(known, table, 0.0)), axis=1))
    middle = (len(table) - 1) // 2
    own: Array = np.sort(np.where(known, table, np.inf), axis=0)[middle]
    return own, float(np.sort(whole)[middle])


def _standing_out(now: Measured, row: int) -> tuple[int, ...]:
    """Return the shards whose own gradient is over ten times the (lower) median shard's."""
    norms = now.local[:, row]
    if len(norms) < 2:
        return ()
    usual = np.sort(norms)[(len(norms) - 1) // 2]
    return tuple(now.shards[norms > 10 * usual].tolist())
