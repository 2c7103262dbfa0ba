"""Twin of connectionist temporal classification: the sums over alignments, sample by sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult
from distgrad.autograd.types import Array
from distgrad.kernels.arrays import dense, suits
from distgrad.kernels.jit import inlined, kernel
from distgrad.kernels.mathematics import exp, log
from distgrad.kernels.scalars import empty_of, most
from distgrad.ops.ctc import NEVER, extended


def ctc(
    log_probs: Array,
    targets: Array,
    *,
    input_lengths: Array,
    target_lengths: Array,
    blank: int = 0,
    zero_infinity: bool = False,
) -> OpResult | None:
    """The twin of ``ops.ctc``."""
    if not suits(log_probs) or log_probs.ndim != 3 or np.ndim(targets) != 2:
        return None
    frames, n, _ = log_probs.shape
    dtype = log_probs.dtype
    path, skip = extended(np.asarray(targets), blank)
    if len(path) != n or path.min(initial=0) < 0 or path.max(initial=0) >= log_probs.shape[2]:
        return None
    heard, spoken = _counts(input_lengths, n), _counts(target_lengths, n)
    x, never = dense(log_probs), dtype.type(NEVER)
    skips = skip.astype(dtype)
    alphas = np.empty((n, frames, path.shape[1]), dtype)
    loss, offset = np.empty(n, dtype), np.empty(n, np.float64)
    _alphas(x, path, skips, heard, spoken, never, alphas, loss, offset)
    impossible = offset < NEVER / 2
    lost, slope = (0.0, 0.0) if zero_infinity else (np.inf, np.nan)
    value = np.where(impossible, np.asarray(lost, dtype), loss)

    def vjp(g: Array) -> Array:
        d = np.zeros(x.shape, dtype)
        weight = np.array(g * np.where(impossible, slope, -1.0).astype(dtype))
        _occupied(x, path, skips, heard, spoken, never, alphas, weight, d)
        return d

    return value, (vjp, None)


def _counts(lengths: Array, n: int) -> Array:
    a = np.asarray(lengths, np.int64)
    return dense(a if a.shape == (n,) else np.broadcast_to(a, (n,)))


@inlined
def _three(a: Any, b: Any, c: Any) -> Any:
    """log(eᵃ + eᵇ + eᶜ)."""
    top = most(most(a, b), c)
    return log(exp(a - top) + exp(b - top) + exp(c - top)) + top


@kernel
def _alphas(
    x: Array, path: Array, skip: Array, heard: Array, spoken: Array, never: Any,
    alphas: Array, loss: Array, offset: Array,
) -> None:  # fmt: skip
    # Before the first frame: in the state before all labels. A frame's largest logarithm is moved
    # into a sum in float64, so that float32 does not lose the differences between states.
    states, zero = path.shape[1], x.dtype.type(0)
    before, emit = empty_of(states + 2, x.dtype), empty_of(states, x.dtype)
    for b in range(x.shape[1]):
        before[:] = never  # two states in front of all, that nobody is ever in
        before[2] = zero
        moved = 0.0
        for t in range(x.shape[0]):
            here = alphas[b, t]
            if t < heard[b]:
                for s in range(states):
                    emit[s] = most(x[t, b, path[b, s]], never)
                for s in range(states):
                    grown = _three(before[s + 2], before[s + 1], before[s] + skip[b, s])
                    here[s] = grown + emit[s]
                top = here[0]
                for s in range(states):
                    top = most(top, here[s])
                for s in range(states):
                    here[s] -= top
                    before[s + 2] = here[s]
                moved += top
            else:
                for s in range(states):
                    here[s] = before[s + 2]
        last = 2 * spoken[b]
        first = before[last + 2]
        second = before[last + 1] if last > 0 else never
        top = most(first, second)
        loss[b] = -log(exp(first - top) + exp(second - top)) - x.dtype.type(moved + top)
        offset[b] = moved + top


@kernel
def _occupied(
    x: Array, path: Array, skip: Array, heard: Array, spoken: Array, never: Any,
    alphas: Array, weight: Array, d: Array,
) -> None:  # fmt: skip
    # beta of a state at frame t: the logarithm of all ways on from it, frame t left out.
    states, zero = path.shape[1], x.dtype.type(0)
    beta, ahead = empty_of(states, x.dtype), empty_of(states + 2, x.dtype)
    jump, joint = empty_of(states + 2, x.dtype), empty_of(states, x.dtype)
    for b in range(x.shape[1]):
        last = 2 * spoken[b]
        for s in range(states):
            beta[s] = zero if (s == last) | (s == last - 1) else never
        ahead[:] = never
        jump[:] = never
        for t in range(x.shape[0] - 1, -1, -1):
            if t >= heard[b]:
                for s in range(states):  # 0, but NaN where there is no alignment
                    d[t, b, path[b, s]] += weight[b] * zero
                continue
            top = alphas[b, t, 0] + beta[0]
            for s in range(states):
                joint[s] = alphas[b, t, s] + beta[s]
                top = most(top, joint[s])
            total = zero
            for s in range(states):
                joint[s] = exp(joint[s] - top)
                total += joint[s]
            share = weight[b] / total
            for s in range(states):
                d[t, b, path[b, s]] += joint[s] * share
                ahead[s] = beta[s] + most(x[t, b, path[b, s]], never)
                jump[s] = ahead[s] + skip[b, s]
            top = never + never
            for s in range(states):
                beta[s] = _three(ahead[s], ahead[s + 1], jump[s + 2])
                top = most(top, beta[s])
            for s in range(states):
                beta[s] -= top
