"""PowerSGD: gradients of matrices as products of two thin ones (Vogels, Karimireddy, Jaggi 2019).

The paper's letters: M is a gradient, P and Q its thin factors, M ≈ P Qᵀ.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from distgrad.autograd import stream
from distgrad.autograd.types import Array
from distgrad.errors import CommError
from distgrad.kinds import Count, NonNegative, Size
from distgrad.parallel.hooks.bucket import GradBucket
from distgrad.parallel.hooks.state import HookState, check_floats, takes

_DOMAIN = 2**63 - 1  # random numbers of the factors, beside those of shards


class PowerSGDState(HookState):
    """Settings and memory of ``powerSGD_hook``, by PyTorch's names.

    The first ``start_powerSGD_iter`` batches are summed whole. From then on an n x m gradient is
    sent as (n + m) r numbers, r = ``matrix_approximation_rank``, if that is less than a
    ``min_compression_rate``-th; vectors and the others are sent whole. ``warm_start`` begins with
    the Q of the batch before, otherwise with random numbers of ``random_seed`` and the batch.
    ``process_group`` is not used. Errors: DistgradError for numbers it cannot have.
    """

    def __init__(
        self,
        process_group: Any = None,
        matrix_approximation_rank: Size = 1,
        start_powerSGD_iter: Count = 1000,
        min_compression_rate: NonNegative = 2,
        use_error_feedback: bool = True,
        warm_start: bool = True,
        orthogonalization_epsilon: NonNegative = 0,
        random_seed: int = 0,
        compression_stats_logging_frequency: int = 10_000,
        batch_tensors_with_same_shape: bool = False,
    ) -> None:
        super().__init__()
        # Settings of PyTorch's that change no number here.
        del process_group, compression_stats_logging_frequency, batch_tensors_with_same_shape
        self.matrix_approximation_rank = matrix_approximation_rank
        self.start_powerSGD_iter = start_powerSGD_iter
        self.min_compression_rate = min_compression_rate
        self.use_error_feedback, self.warm_start = use_error_feedback, warm_start
        self.orthogonalization_epsilon = orthogonalization_epsilon
        self.random_seed = random_seed

    def compression_stats(self, shapes: Sequence[tuple[int, ...]]) -> tuple[float, int, int]:
        """Return (rate, numbers before, numbers after) for a batch of gradients of ``shapes``."""
        before = sum(math.prod(shape) for shape in shapes)
        after = sum(
            math.prod(shape) if (r := self.rank_of(shape)) == 0 else r * sum(_matrix(shape))
            for shape in shapes
        )
        return before / max(after, 1), before, after

    def rank_of(self, shape: tuple[int, ...]) -> int:
        """Return the rank with which a gradient of this shape is sent; 0 if it is sent whole."""
        n, m = _matrix(shape)
        r = min(n, m, self.matrix_approximation_rank)
        return r if (n + m) * r * self.min_compression_rate < n * m else 0


@takes(PowerSGDState)
def powerSGD_hook(state: PowerSGDState, bucket: GradBucket) -> Any:  # noqa: N802 - PyTorch's name
    """Sum gradients as products of thin matrices, with error feedback; two rounds a bucket.

    P = Σ M Q, made orthonormal; Q = Σ Mᵀ P; the sum is P Qᵀ. Each rank feeds back what the factors
    do not hold of its own part, M - P Pᵀ M.
    """
    check_floats("powerSGD_hook", bucket)
    return _start(state, bucket, [p.shape for p in bucket.parameters()])


@takes(PowerSGDState)
def batched_powerSGD_hook(state: PowerSGDState, bucket: GradBucket) -> Any:  # noqa: N802
    """Send each bucket as one square matrix: less work and less exact than ``powerSGD_hook``."""
    check_floats("batched_powerSGD_hook", bucket)
    size = sum(p.array.size for p in bucket.parameters())
    side = math.isqrt(size)
    # What does not fill the square is sent whole: there is nothing to pad, and it is short.
    return _start(state, bucket, [(side, size // side), (size % side,)])


def _start(state: PowerSGDState, bucket: GradBucket, shapes: Sequence[tuple[int, ...]]) -> Any:
    batch = state.iter - state.start_powerSGD_iter  # now: the rounds may run after the next starts
    if batch < 0:
        return bucket.start_sum() if bucket.code is None else bucket.all_reduce(bucket.buffer())
    return _rounds(state, bucket, shapes, batch)


def _rounds(
    state: PowerSGDState, bucket: GradBucket, shapes: Sequence[tuple[int, ...]], batch: int
) -> Iterator[Any]:
    error = state.feed_back(bucket) if state.use_error_feedback else None
    ends = list(accumulate((math.prod(s) for s in shapes), initial=0))
    ranks = [state.rank_of(shape) for shape in shapes]

    def matrices(flat: Array) -> list[Array]:
        return [
            flat[a:b].reshape(_matrix(shape))
            for (a, b), shape, r in zip(pairwise(ends), shapes, ranks, strict=True)
            if r
        ]

    buffer = bucket.buffer()
    whole = [buffer[a:b] for (a, b), r in zip(pairwise(ends), ranks, strict=True) if not r]
    Ms, thin = matrices(buffer), [r for r in ranks if r]
    Qs, q = _factors([M.shape[1] for M in Ms], thin, buffer.dtype)
    _first_qs(state, bucket, Qs, q, batch)
    Ps, p = _factors([M.shape[0] for M in Ms], thin, buffer.dtype, sum(w.size for w in whole))
    for M, P, Q in zip(Ms, Ps, Qs, strict=True):
        _orthogonalize(Q, state.orthogonalization_epsilon)
        np.matmul(M, Q, out=P)
    # What is sent whole travels behind the first factors.
    rest = p[sum(P.size for P in Ps) :]
    if whole:
        np.concatenate(whole, out=rest)
    yield from bucket.all_reduce(p)

    for M, P, Q in zip(Ms, Ps, Qs, strict=True):
        _orthogonalize(P, state.orthogonalization_epsilon)
        np.matmul(M.T, P, out=Q)
    if error is not None:
        error[...] = 0  # of what is sent whole
        for E, M, P, Q in zip(matrices(error), Ms, Ps, Qs, strict=True):
            np.matmul(P, Q.T, out=E)
            np.subtract(M, E, out=E)
    yield from bucket.all_reduce(q)

    for M, P, Q in zip(Ms, Ps, Qs, strict=True):
        np.matmul(P, Q.T, out=M)
    for w, end in zip(whole, accumulate(w.size for w in whole), strict=True):
        w[...] = rest[end - w.size : end]
    if state.warm_start:
        _remember(state, bucket, q)


def _factors(
    rows: Sequence[int], ranks: Sequence[int], dtype: np.dtype[Any], more: int = 0
) -> tuple[list[Array], Array]:
    """Return matrices of these rows and columns, and the flat array they lie in.

    It is ``more`` longer than they need.
    """
    ends = list(accumulate((n * r for n, r in zip(rows, ranks, strict=True)), initial=0))
    flat = np.empty(ends[-1] + more, dtype)
    cut = zip(pairwise(ends), rows, ranks, strict=True)
    return [flat[a:b].reshape(n, r) for (a, b), n, r in cut], flat


def _first_qs(
    state: PowerSGDState, bucket: GradBucket, Qs: Sequence[Array], q: Array, batch: int
) -> None:
    """Begin with the Q of the batch before, or random numbers: the same on all ranks."""
    kept = state.common.get(f"Q of {bucket.name}") if state.warm_start else None
    if kept is not None:
        if kept.size != q.size:
            raise CommError(
                f"the PowerSGDState has {kept.size} numbers of Q for {bucket.name}, which needs "
                f"{q.size}; resume with the bucket_mb and the model it was saved with"
            )
        q[...] = kept
        if all(Q.any(axis=0).all() for Q in Qs):
            return
    # A column that has become zero (of a gradient that was) would stay so for ever.
    start = stream.Position(state.random_seed, _DOMAIN, batch, bucket.index())
    with stream.at_position(start):
        for Q in Qs:
            drawn = stream.common_generator().standard_normal(Q.shape)
            np.copyto(Q, drawn, where=True if kept is None else ~Q.any(axis=0), casting="same_kind")


def _remember(state: PowerSGDState, bucket: GradBucket, q: Array) -> None:
    name = f"Q of {bucket.name}"
    before = state.common.get(name)

    def take_back() -> None:
        if before is None:
            state.common.pop(name)
        else:
            state.common[name] = before

    state.common[name] = q
    bucket.if_left_out(take_back)


def _orthogonalize(A: Array, epsilon: float) -> None:
    """Make the columns orthonormal, in place (Gram and Schmidt, modified); zero ones stay zero.

    The same operations on every rank and in every NumPy: no LAPACK. Sums are in double precision.
    """
    columns = np.ascontiguousarray(A.T, np.float64)
    for i, a in enumerate(columns):
        norm = math.sqrt(float(np.add.reduce(a * a))) + epsilon
        if norm > 0:  # not for NaN either, which stays
            np.divide(a, norm, out=a)
        rest = columns[i + 1 :]
        rest -= np.add.reduce(rest * a, axis=1)[:, None] * a
    A[...] = columns.T


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the shape as that of a matrix: all axes but the first together."""
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))
