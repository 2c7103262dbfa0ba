"""Random numbers by kernels are NumPy's, to the bit, wherever in the stream they are."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import kernels
from distgrad.autograd import faster, stream
from distgrad.autograd.mode import reference_kernels

pytest.importorskip("numba")
COUNTS = [1, 3, 511, 512, 513, 100_003]
PLACE = np.array([3, 7, 2**40 + 1, 2**62 + 5, 4], np.uint64)


def numpys():
    """NumPy's generator of that place."""
    bits = np.random.Philox(counter=[0, *PLACE[:3].tolist()], key=PLACE[3:].tolist())
    return np.random.Generator(bits)


def both(draw):
    """What is drawn in a shard by kernels, and by NumPy; and the calls that were counted."""
    found = []
    for reference in (False, True):
        dg.manual_seed(2**64 - 5)
        calls: dict[int, int] = {7: 3}
        with stream.in_shard(2**40 + 1, 7, calls, source=4):
            if reference:
                with reference_kernels():
                    found.append((draw(), calls))
            else:
                found.append((draw(), calls))
    (ours, n), (numpys, m) = found
    assert n == m
    dg.manual_seed(0)
    return ours, numpys


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kernels_draw_numpys_numbers(count, dtype) -> None:
    y = np.empty(count, dtype)
    most = stream.below_1(np.dtype(dtype))
    for name, settings in (("random", (most,)), ("standard_normal", (-0.0, 1.0))):
        expected = np.minimum(getattr(numpys(), name)(count), most if settings == (most,) else 9.0)
        expected = expected.astype(dtype)
        kernels.part("philox", name)(PLACE, y, *settings)
        np.testing.assert_array_equal(y, expected)


# Of 3 · 2³⁰ numbers one draw of 32 bits in four is one too many, of 2³¹ + 1 nearly every second.
RANGES = [(0, 2), (-5, 10), (3, 2**31 + 1), (0, 3 * 2**30), (7, 2**32 - 1), (-(2**63), 1000)]

RATES = np.linspace(-3, 9.99, 6000).clip(0).reshape(60, 100)


@pytest.mark.parametrize("count", COUNTS)
def test_kernels_draw_numpys_whole_numbers_and_orders(count) -> None:
    y = np.empty(count, np.int64)
    for low, n in RANGES:
        kernels.part("philox", "integers")(PLACE, y, low, n)
        np.testing.assert_array_equal(y, numpys().integers(low, low + n, count))
    kernels.part("philox", "permutation")(PLACE, y)
    np.testing.assert_array_equal(y, numpys().permutation(count))


@pytest.mark.parametrize("n", [*range(70), 1023, 1024, 1025])
def test_orders_of_few_numbers_are_numpys(n) -> None:
    y = np.empty(n, np.int64)
    kernels.part("philox", "permutation")(PLACE, y)
    np.testing.assert_array_equal(y, numpys().permutation(n))


def test_the_tail_and_every_strip_of_the_bell_are_numpys() -> None:
    ours, numpys = both(lambda: stream.normal((3_000_000,), np.float64))
    np.testing.assert_array_equal(ours, numpys)
    assert np.abs(ours).max() > 4.5


@pytest.mark.parametrize(
    "draw",
    [
        lambda: dg.rand(101, 103),
        lambda: dg.rand(10_000, dtype=np.float64),
        lambda: dg.rand(4096, dtype=np.float16),
        lambda: dg.rand(4096, dtype=np.complex64),
        lambda: dg.randn(101, 103),
        lambda: dg.randn(5000, dtype=np.complex128),
        lambda: dg.randn((0, 5)),
        lambda: dg.randn(()),
        lambda: dg.normal(0.5, 3.0, (70, 71)),
        lambda: dg.normal(dg.Tensor(np.arange(5000.0)), 0.1),
        lambda: dg.Tensor(np.zeros((99, 101), np.float32)).normal_(2.0, 0.3),
        lambda: dg.Tensor(np.zeros(5000)).log_normal_(),
        lambda: dg.random.normal((40, 128)),
        lambda: dg.random.normal(5000, loc=-1.0, scale=3.0, dtype=np.float64),
        lambda: dg.random.uniform((40, 128)),
        lambda: dg.randint(-3, 9, (70, 71)),
        lambda: dg.randint(5, (5000,), dtype=np.uint8),
        lambda: dg.randint(0, 1, (5000,)),
        lambda: dg.randint(0, 2**32, (5000,)),
        lambda: dg.randint(-(2**63), 2**63, (5000,)),
        lambda: dg.randint(2**63 - 2, 2**63, (5000,)),
        lambda: dg.Tensor(np.zeros(5000, np.int64)).random_(7),
        lambda: dg.random.integers(10, shape=5000),
        lambda: dg.randperm(5000),
        lambda: dg.randperm(5000, dtype=np.int16),
        lambda: dg.random.permutation(2048),
        lambda: dg.random.uniform(5000, low=-1.0, high=3.0),
        lambda: dg.poisson(dg.Tensor(RATES)),
        lambda: dg.poisson(dg.Tensor(RATES.astype(np.float32).T)),
        lambda: dg.poisson(dg.Tensor(RATES.astype(np.float16))),
        lambda: dg.poisson(dg.Tensor(np.broadcast_to(np.float32(3.5), (50, 100)))),
        lambda: dg.poisson(dg.Tensor(RATES + 1)),  # 10 and more are NumPy's
    ],
)
def test_functions_have_the_same_numbers_with_and_without_kernels(draw) -> None:
    ours, numpys = both(lambda: [draw().array, draw().array])
    np.testing.assert_array_equal(ours, numpys)


def test_numbers_of_single_precision_stay_below_1(monkeypatch) -> None:
    class Largest:
        def random(self, shape):
            return np.full(shape, 1 - 2.0**-53)

    monkeypatch.setattr(stream, "lent_generator", Largest)
    with reference_kernels():
        assert dg.random.uniform((3,)).array.max() == np.nextafter(np.float32(1), np.float32(0))


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("random", lambda: dg.rand(10, 10)),
        ("random", lambda: dg.bernoulli(dg.Tensor(np.full(100, 0.3)))),
        ("random", lambda: dg.multinomial(dg.Tensor(np.ones(9)), 100, replacement=True)),
        ("standard_normal", lambda: dg.randn(10, 10, dtype=np.float64)),
        ("integers", lambda: dg.randint(-3, 9, (10, 10))),
        ("poisson", lambda: dg.poisson(dg.Tensor(np.full((10, 10), 1.5, np.float32)))),
        ("permutation", lambda: dg.randperm(100)),
    ],
)
def test_few_numbers_are_numpys_until_there_were_many_and_by_kernels_then(
    monkeypatch, name, draw
) -> None:
    asked: list[str] = []

    def twin(name):
        asked.append(name)
        return kernels.twin(name)

    monkeypatch.setattr(faster, "twin", twin)
    monkeypatch.setattr(faster, "_asked", {})
    ours, numpys = both(lambda: [draw().array for _ in range(25)])
    np.testing.assert_array_equal(ours, numpys)
    # Of 100 numbers each call from the 21st on; NumPy's round has kernels switched off.
    assert asked == [name] * (5 + 25)
