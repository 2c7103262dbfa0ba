"""Connectionist temporal classification: forward and backward sums over all alignments."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.types import Array
from distgrad.ops.helpers import data_of, in_float32
from distgrad.ops.indexing import put_back

# The logarithm of no probability. Not -∞: sums and gradients through it stay free of NaN.
NEVER = -1e30


def _cases(rng: np.random.Generator) -> list[Sample]:
    log_probs = rng.normal(size=(5, 3, 4)) - 1.5
    targets = np.array([[1, 2, 3], [2, 2, 0], [0, 0, 0]])
    settings = {"input_lengths": np.array([5, 4, 3]), "target_lengths": np.array([3, 2, 0])}
    return [
        ((log_probs, targets), {**settings, "blank": 0}),
        ((log_probs[..., ::-1].copy(), targets), {**settings, "blank": 0}),
    ]


@op("t n c, n s -> n", samples=_cases, real=True)
@in_float32
def ctc(
    log_probs: Array,
    targets: Array,
    *,
    input_lengths: Array,
    target_lengths: Array,
    blank: int = 0,
    zero_infinity: bool = False,
) -> OpResult:
    """-log of the sum over all alignments of targets (n, s) to frames (Graves et al. 2006).

    Integer arrays (n,) give the lengths that count of frames and of targets. Where no alignment
    fits the loss is infinite and its gradient NaN, both 0 with ``zero_infinity``.
    """
    path, skip = extended(data_of(targets), blank)
    n, states = path.shape
    rows = np.arange(n)
    shape, dtype = log_probs.shape, log_probs.dtype
    index = (slice(None), rows[:, None], path)
    emit = np.maximum(log_probs[index], np.asarray(NEVER, dtype))  # t n states
    alive = np.arange(shape[0])[:, None, None] < input_lengths[:, None]  # t n 1
    skip = skip.astype(dtype)
    last = _last_states(target_lengths, states).astype(dtype)

    # Before the first frame: in the state before all labels. A row's largest logarithm is moved
    # into a sum in float64, so that float32 does not lose the differences between states.
    start = np.where(np.arange(states) == 0, 0.0, NEVER)
    alpha = np.broadcast_to(start.astype(dtype), (n, states))
    moved = np.zeros((n, 1))
    alphas = []
    for t in range(shape[0]):
        grown = _three(alpha, _right(alpha, 1), _right(alpha, 2) + skip) + emit[t]
        top = np.maximum.reduce(data_of(grown), axis=1, keepdims=True)
        moved += np.where(alive[t], top, 0)
        alpha = np.where(alive[t], grown - top, alpha)
        alphas.append(alpha)

    end = alpha + last
    top = np.maximum.reduce(data_of(end), axis=1, keepdims=True)
    found = np.log(np.add.reduce(np.exp(end - top), axis=1))
    offset = (moved + top)[:, 0]
    impossible = offset < NEVER / 2
    lost, slope = (0.0, 0.0) if zero_infinity else (np.inf, np.nan)
    loss = np.where(impossible, np.asarray(lost, dtype), -found - offset.astype(dtype))

    def vjp(g: Array) -> Any:
        # beta of a state at frame t: the logarithm of all ways on from it, frame t left out.
        beta = last
        joint = []
        for t in range(shape[0] - 1, -1, -1):
            joint.append(alphas[t] + beta)
            ahead = beta + emit[t]
            grown = _three(ahead, _left(ahead, 1), _left(ahead + skip, 2))
            grown = grown - np.maximum.reduce(data_of(grown), axis=1, keepdims=True)
            beta = np.where(alive[t], grown, last)
        both = np.stack(joint[::-1])
        # Given the labels, the states of a frame have probabilities that sum to 1.
        e = np.exp(both - np.maximum.reduce(data_of(both), axis=2, keepdims=True))
        occupied = e / np.add.reduce(e, axis=2, keepdims=True) * alive.astype(dtype)
        weight = np.reshape(g * np.where(impossible, slope, -1.0).astype(dtype), (1, n, 1))
        return put_back(occupied * weight, index=index, shape=shape, dtype=dtype)

    return loss, (vjp, None)


def extended(targets: Array, blank: int) -> tuple[Array, Array]:
    """Return the labels with blanks between (n, 2 s + 1), and 0 where a blank may be skipped."""
    n, s = targets.shape
    path = np.full((n, 2 * s + 1), blank, np.int64)
    path[:, 1::2] = targets
    skip = np.full(path.shape, NEVER)
    # A blank between two equal labels stays: without it they would be one.
    skip[:, 3::2] = np.where(targets[:, 1:] != targets[:, :-1], 0.0, NEVER)
    return path, skip


def _last_states(target_lengths: Array, states: int) -> Array:
    """Return 0 for the states in which an alignment may end: the last label and the last blank."""
    distance = 2 * target_lengths[:, None] - np.arange(states)
    return np.where((distance == 0) | (distance == 1), 0.0, NEVER)


def _right(a: Array, k: int) -> Array:
    return np.concatenate((np.full((len(a), min(k, a.shape[1])), NEVER, a.dtype), a[:, :-k]), 1)


def _left(a: Array, k: int) -> Array:
    return np.concatenate((a[:, k:], np.full((len(a), min(k, a.shape[1])), NEVER, a.dtype)), 1)


def _three(a: Array, b: Array, c: Array) -> Any:
    """log(eᵃ + eᵇ + eᶜ)."""
    top = np.maximum(np.maximum(data_of(a), data_of(b)), data_of(c))
    return np.log(np.exp(a - top) + np.exp(b - top) + np.exp(c - top)) + top
