"""What each compressing hook computes, sends and feeds back, against formulas written here."""

from __future__ import annotations

import numpy as np
import pytest
from hooked import gradient, sums

from distgrad.comm.group import even_slices
from distgrad.errors import DistgradError
from distgrad.parallel import hooks
from distgrad.parallel.hooks.half import BFLOAT16, FLOAT16
from distgrad.parallel.hooks.int8 import Int8
from distgrad.parallel.hooks.topk import largest

SHAPE = (37, 29)
COUNT = 37 * 29
SIZES = [1, 2, 3, 4]


def everyones(size, step=0, shape=SHAPE):
    return [gradient(rank, shape, step) for rank in range(size)]


# -- 16 bits --------------------------------------------------------------------------------------


def bfloat16(x):
    """Round by searching: the nearest of both neighbours, the even one of a tie."""
    x = np.asarray(x, np.float32)
    bits = x.view(np.uint32)
    down = (bits & 0xFFFF0000).view(np.float32)
    up = ((bits & 0xFFFF0000) + 0x10000).astype(np.uint32).view(np.float32)
    x, low, high = (a.astype(np.float64) for a in (x, down, up))
    even = (bits >> 16) & 1 == 0
    nearer_down = np.abs(x - low) < np.abs(high - x)
    tie = np.abs(x - low) == np.abs(high - x)
    return np.where(nearer_down | (tie & even), down, up)


ROUND = {
    "fp16": (hooks.fp16_compress_hook, lambda x: x.astype(np.float16).astype(np.float32)),
    "bf16": (hooks.bf16_compress_hook, bfloat16),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ROUND)
def test_16_bits_are_summed_in_float32_in_rank_order_and_rounded_once(name, size):
    hook, rounded = ROUND[name]
    total = np.zeros(SHAPE, np.float32)
    for g in everyones(size):
        total += rounded(g)
    for result in sums(size, [SHAPE], hook):
        np.testing.assert_array_equal(result.found[0][0], rounded(total))


def test_half_precision_rounds_as_numpy_does_at_and_beside_every_border():
    halves = np.arange(1 << 16, dtype=np.uint16)
    numbers = halves.view(np.float16).astype(np.float32)
    finite = numbers[np.isfinite(numbers)].view(np.uint32).astype(np.int64)
    # Each half itself, the middle to the next one, and what lies beside both.
    beside = (-1, 0, 1, 0x7FF, 0xFFF, 0x1000, 0x1001, 0x1FFF)
    x = np.concatenate([finite + d for d in beside]).clip(0, 2**32 - 1).astype(np.uint32)
    more = [np.inf, -np.inf, np.nan, 65519.99, 65520, 1e38, -1e38, 1e-8, -2.98e-8, 2**-25, 0, -0.0]
    x = np.concatenate([x.view(np.float32), np.array(more, np.float32)])
    coded = np.empty(FLOAT16.nbytes(x.size), np.uint8)
    FLOAT16.encode(x, coded)
    with np.errstate(over="ignore"):
        expected = x.astype(np.float16)
    nan = np.isnan(x)
    found = coded.view(np.float16)
    np.testing.assert_array_equal(found.view(np.uint16)[~nan], expected.view(np.uint16)[~nan])
    assert np.isnan(found[nan]).all()

    back = np.empty(halves.size, np.float32)
    FLOAT16.decode(halves.view(np.uint8), back)
    nan = np.isnan(numbers)
    np.testing.assert_array_equal(back.view(np.uint32)[~nan], numbers.view(np.uint32)[~nan])
    assert np.isnan(back[nan]).all()


def test_bfloat16_rounds_to_nearest_even_and_keeps_what_is_not_finite():
    tie = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF, 0x00000001], np.uint32)
    special = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0], np.float32)
    almost = np.array([0x7FFFFFFF, 0x7F800001, 0xFFFFFFFF], np.uint32).view(np.float32)  # NaNs
    x = np.concatenate([tie.view(np.float32), special, almost])
    coded, found = np.empty(2 * x.size, np.uint8), np.empty_like(x)
    BFLOAT16.encode(x, coded)
    BFLOAT16.decode(coded, found)
    expected = np.array([0x3F80, 0x3F82, 0x3F81, 0x7F80, 0], np.uint16).astype(np.uint32) << 16
    np.testing.assert_array_equal(found[:5].view(np.uint32), expected)
    np.testing.assert_array_equal(found[5:11], special)
    assert np.isnan(found[11:]).all()


def test_a_number_above_65504_is_infinite_in_half_precision_alone():
    def large(rank, shape, step):
        return np.full(shape, 70_000.0)

    [result] = sums(1, [(3,)], hooks.bf16_compress_hook, gradients=large)
    assert np.isfinite(result.found[0][0]).all()
    [result] = sums(1, [(3,)], hooks.fp16_compress_hook, gradients=large, nonfinite="continue")
    assert np.isinf(result.found[0][0]).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ROUND)
def test_a_wrapped_allreduce_is_the_compressing_hook(name, size):
    hook, _ = ROUND[name]
    wrapper = getattr(hooks, f"{name}_compress_wrapper")
    for a, b in zip(
        sums(size, [SHAPE], hook), sums(size, [SHAPE], wrapper(hooks.allreduce_hook)), strict=True
    ):
        np.testing.assert_array_equal(a.found[0][0], b.found[0][0])


# -- 8 bits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 255, 256, 257, 5 * 256, (1 << 15) + 77])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_error_of_a_block_is_at_most_half_its_scale(count, dtype):
    x = gradient(1, (count,)).astype(dtype)
    x[: min(count, 256)] *= 1e-9
    code = Int8(256)
    coded, found = np.zeros(code.nbytes(count), np.uint8), np.empty_like(x)
    code.encode(x, coded)
    code.decode(coded, found)
    for start in range(0, count, 256):
        block, back = x[start : start + 256], found[start : start + 256]
        scale = np.abs(block).max() / 127
        assert np.abs(block - back).max() <= scale / 2 * (1 + 1e-5)
        top = np.abs(block).argmax()
        np.testing.assert_allclose(back[top], block[top], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_block_with_a_number_that_is_not_finite_is_nan_and_the_others_are_not(bad):
    x = gradient(0, (700,))
    x[300] = bad
    code = Int8(256)
    coded, found = np.zeros(code.nbytes(700), np.uint8), np.empty_like(x)
    code.encode(x, coded)
    code.decode(coded, found)
    np.testing.assert_array_equal(np.isnan(found), np.arange(700) // 256 == 1)


def test_zeros_and_the_smallest_numbers_are_coded_without_a_warning():
    x = np.array([0.0] * 8 + [1e-45, -1e-45, 0, 0, 0, 0, 0, 0] + [3e38] * 8, np.float32)
    code = Int8(8)
    coded, found = np.zeros(code.nbytes(24), np.uint8), np.empty_like(x)
    code.encode(x, coded)
    code.decode(coded, found)
    np.testing.assert_array_equal(found[:8], 0)
    np.testing.assert_allclose(found, x, atol=1e-44, rtol=1e-6)


def test_settings_out_of_range_are_refused():
    with pytest.raises(DistgradError, match="block is a whole number, 8 or more; got 4"):
        hooks.Int8State(4)
    with pytest.raises(DistgradError, match=r"ratio is a number in \(0, 1\]; got 0"):
        hooks.TopKState(0)
    with pytest.raises(DistgradError, match="rank is a whole number above 0; got 0"):
        hooks.PowerSGDState(None, 0)


# -- the largest ----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [5, 1000, 20_000, 100_001])
@pytest.mark.parametrize("share", [1e-4, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_largest_are_those_of_a_full_sort(count, share, dtype):
    x = gradient(2, (count,)).astype(dtype)
    k = max(1, round(share * count))
    found = largest(x, k)
    assert found.size == k
    assert (np.diff(found) > 0).all()
    np.testing.assert_array_equal(np.sort(np.abs(x[found])), np.sort(np.abs(x))[-k:])


def test_the_largest_of_sorted_numbers_of_equal_ones_and_of_nans():
    ramp = np.arange(50_000, dtype=np.float32)
    np.testing.assert_array_equal(largest(ramp, 10), np.arange(49_990, 50_000))
    np.testing.assert_array_equal(largest(ramp[::-1].copy(), 10), np.arange(10))
    assert largest(np.ones(50_000, np.float32), 10).size == 10
    assert largest(np.zeros(50_000, np.float32), 10).size == 10
    ramp[[3, 17]] = np.nan, -np.inf
    assert {3, 17} <= set(largest(ramp, 2).tolist())


@pytest.mark.parametrize("size", SIZES)
def test_topk_sums_the_largest_of_each_rank(size):
    k = round(0.05 * COUNT)
    total = np.zeros(COUNT, np.float32)
    for g in everyones(size):
        order = np.argsort(np.abs(g.reshape(-1)))[-k:]
        total[order] += g.reshape(-1)[order]
    for result in sums(size, [SHAPE], hooks.topk_hook, lambda: hooks.TopKState(0.05)):
        np.testing.assert_array_equal(result.found[0][0].reshape(-1), total)


# -- error feedback -------------------------------------------------------------------------------

FEEDING = {
    "int8": (hooks.int8_compress_hook, hooks.Int8State),
    "int8, short blocks": (hooks.int8_compress_hook, lambda: hooks.Int8State(8)),
    "topk": (hooks.topk_hook, lambda: hooks.TopKState(0.05)),
    "fp16 topk": (hooks.fp16_compress_wrapper(hooks.topk_hook), lambda: hooks.TopKState(0.05)),
    "powerSGD": (hooks.powerSGD_hook, lambda: hooks.PowerSGDState(None, 2, 0)),
    "cold powerSGD": (
        hooks.powerSGD_hook,
        lambda: hooks.PowerSGDState(None, 2, 0, warm_start=False),
    ),
    "batched": (hooks.batched_powerSGD_hook, lambda: hooks.PowerSGDState(None, 2, 0)),
}


@pytest.mark.parametrize("nonfinite", ["raise", "skip"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", FEEDING)
def test_what_was_sent_and_what_is_remembered_are_all_gradients_together(name, size, nonfinite):
    hook, make = FEEDING[name]
    shapes = [SHAPE, (13,), (5, 4, 6)]
    ranks = sums(size, shapes, hook, make, steps=5, nonfinite=nonfinite)
    count = sum(int(np.prod(s)) for s in shapes)
    # A bucket begins with the last parameter.
    given, sent = np.zeros(count), np.zeros(count)
    for step in range(5):
        for rank in range(size):
            given += np.concatenate([gradient(rank, s, step).reshape(-1) for s in reversed(shapes)])
        sent += np.concatenate([g.reshape(-1) for g in reversed(ranks[0].found[step])])
    remembered = sum(r.state.errors[0].astype(np.float64) for r in ranks)
    np.testing.assert_allclose(sent + remembered, given, atol=2e-4)
    assert np.abs(remembered).max() > 1e-3


@pytest.mark.parametrize("name", ["int8", "topk", "powerSGD"])
def test_without_error_feedback_nothing_is_remembered(name):
    hook, make = FEEDING[name]
    type_ = type(make())
    [result, _] = sums(2, [SHAPE], hook, lambda: type_(use_error_feedback=False), steps=2)
    assert not result.state.errors


# -- bytes ----------------------------------------------------------------------------------------


def flag_bytes(size, rank):
    """One flag: a ring's two rounds of the slices of one number."""
    lengths = [4 * (s.stop - s.start) for s in even_slices(1, size)]
    return 2 * sum(lengths) - lengths[rank] - lengths[(rank + 1) % size]


def two_rounds(lengths, rank):
    """Each other rank's slice to it, then all slices but the right neighbour's around the ring."""
    return 2 * sum(lengths) - lengths[rank] - lengths[(rank + 1) % len(lengths)]


@pytest.mark.parametrize("size", SIZES)
def test_bytes_sent_are_those_of_the_formulas(size):
    count = 40_000
    shape = (200, 200)
    slices = [s.stop - s.start for s in even_slices(count, size)]
    blocks = [s.stop - s.start for s in even_slices(-(-count // 256), size)]
    scaled = [4 * b + -(-min(256 * b, count - 256 * sum(blocks[:i])) // 4) * 4
              for i, b in enumerate(blocks)]  # fmt: skip
    thin = [4 * (s.stop - s.start) for s in even_slices(200 * 2, size)]
    k = 400
    expected = {
        "fp16": lambda r: two_rounds([2 * s for s in slices], r),
        "bf16": lambda r: two_rounds([2 * s for s in slices], r),
        "int8": lambda r: two_rounds(scaled, r),
        "topk": lambda r: (size - 1) * 8 * k,
        "powerSGD": lambda r: 2 * two_rounds(thin, r),
    }
    used = {
        "fp16": (hooks.fp16_compress_hook, lambda: None),
        "bf16": (hooks.bf16_compress_hook, lambda: None),
        "int8": (hooks.int8_compress_hook, hooks.Int8State),
        "topk": (hooks.topk_hook, lambda: hooks.TopKState(0.01)),
        "powerSGD": (hooks.powerSGD_hook, lambda: hooks.PowerSGDState(None, 2, 0)),
    }
    for name, (hook, make) in used.items():
        for rank, result in enumerate(sums(size, [shape], hook, make)):
            assert result.sent[0] == (size > 1) * (expected[name](rank) + flag_bytes(size, rank))


# -- PowerSGD -------------------------------------------------------------------------------------


def orthonormal(A):
    return np.linalg.qr(A)[0]


def papers(size, steps, shape, rank, first_q):
    """Algorithms 1 and 2 of the paper in double precision, for a sum in place of the mean."""
    n, m = shape
    Q = first_q.astype(np.float64)
    errors = [np.zeros((n, m)) for _ in range(size)]
    found = []
    for step in range(steps):
        Ms = [gradient(r, shape, step).astype(np.float64) + errors[r] for r in range(size)]
        Q = orthonormal(Q)
        P = orthonormal(sum(M @ Q for M in Ms))
        Q = sum(M.T @ P for M in Ms)
        errors = [M - P @ (M.T @ P).T for M in Ms]
        found.append(P @ Q.T)
    return found


@pytest.mark.parametrize("rank", [1, 2, 4])
@pytest.mark.parametrize("size", SIZES)
def test_power_sgd_is_the_papers_algorithm(size, rank):
    start = np.random.default_rng(3).standard_normal((29, rank)).astype(np.float32)

    def make():
        state = hooks.PowerSGDState(None, rank, 0)
        state.common["Q of bucket 0 (p0)"] = start.reshape(-1).copy()
        return state

    expected = papers(size, 4, SHAPE, rank, start)
    for result in sums(size, [SHAPE], hooks.powerSGD_hook, make, steps=4):
        for step, found in enumerate(result.found):
            np.testing.assert_allclose(found[0], expected[step], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["powerSGD_hook", "batched_powerSGD_hook"])
def test_a_gradient_of_low_rank_is_summed_exactly(name):
    def low(rank, shape, step):
        u, v = gradient(9, (shape[0], 1), step), gradient(8, (1, shape[1]), step)
        return (rank + 1) * (u @ v)

    make = lambda: hooks.PowerSGDState(None, 2, 0)  # noqa: E731 - a name for a line
    for result in sums(3, [(30, 30)], getattr(hooks, name), make, gradients=low, steps=2):
        for step in range(2):
            expected = 6 * low(0, (30, 30), step)
            tolerance = np.abs(expected).max() * 1e-5
            np.testing.assert_allclose(result.found[step][0], expected, atol=tolerance)


def test_the_first_batches_and_small_gradients_are_summed_whole():
    shapes = [SHAPE, (13,), (3, 4)]
    plain = sums(3, shapes, None, steps=3)
    state = lambda: hooks.PowerSGDState(None, 1, 2)  # noqa: E731 - a name for a line
    found = sums(3, shapes, hooks.powerSGD_hook, state, steps=3)
    for a, b in zip(plain, found, strict=True):
        for step in range(2):
            for x, y in zip(a.found[step], b.found[step], strict=True):
                np.testing.assert_array_equal(x, y)
        assert not np.allclose(a.found[2][0], b.found[2][0])
        for x, y in zip(a.found[2][1:], b.found[2][1:], strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)


def test_a_gradient_that_was_zero_for_a_while_is_sent_again():
    def late(rank, shape, step):
        return gradient(rank, shape, step) * (step > 1)

    state = lambda: hooks.PowerSGDState(None, 2, 0)  # noqa: E731 - a name for a line
    for result in sums(2, [SHAPE], hooks.powerSGD_hook, state, gradients=late, steps=4):
        assert not result.found[1][0].any()
        assert np.abs(result.found[2][0]).max() > 0.1


def test_a_cold_start_draws_other_numbers_each_batch():
    def same(rank, shape, step):
        return gradient(rank, shape)

    def make():
        return hooks.PowerSGDState(None, 1, 0, warm_start=False, use_error_feedback=False)

    [result, _] = sums(2, [SHAPE], hooks.powerSGD_hook, make, gradients=same, steps=2)
    assert not np.allclose(result.found[0][0], result.found[1][0])


def test_the_statistics_count_numbers_before_and_after():
    state = hooks.PowerSGDState(None, 2)
    rate, before, after = state.compression_stats([(100, 50), (7,), (4, 4)])
    assert (before, after) == (5023, 2 * 150 + 7 + 16)
    assert rate == before / after
