"""The functions kernels are made of, beside references of twice their digits."""

from __future__ import annotations

import math

import numpy as np
import pytest

numba = pytest.importorskip("numba", reason="numba is not installed: there are no kernels")

from distgrad.kernels import mathematics, special  # noqa: E402 (numba first)
from distgrad.kernels.jit import kernel  # noqa: E402

# name: (reference, spans, units in the last place)
FUNCTIONS = {
    "exp": (np.exp, [(-87, 88), (-1, 1), (-1e-4, 1e-4)], 1.5),
    "expm1": (np.expm1, [(-20, 88), (-1, 1), (-1e-4, 1e-4)], 2.5),
    "log": (np.log, [(1e-30, 10), (0.5, 2), (0.99, 1.01), (1, 1e30)], 1.5),
    "log1p": (np.log1p, [(-0.99, 10), (-0.01, 0.01), (0, 1e30)], 2),
    "tanh": (np.tanh, [(-12, 12), (-1, 1), (-1e-3, 1e-3)], 3.5),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), [(-80, 80), (-1, 1)], 3.5),
}
OF_MATH = {  # Python's functions are of float64
    "erf": (math.erf, [(-5, 5), (-1, 1), (-1e-4, 1e-4)], 4),
    "tail": (math.erfc, [(0, 1), (1, 3)], 24),
    "normal_cdf": (lambda x: math.erfc(-x * 0.5**0.5) / 2, [(-3, 8), (-1, 1)], 24),
}
SPECIAL = [0, -0.0, np.inf, -np.inf, np.nan, 1e-42, -1e-42, -1, -2, 1, 100, -100, 1000, -1000]


def run(name, x):
    """The kernel's function of every element."""
    function = getattr(mathematics, name, None) or getattr(special, name)

    @kernel
    def each(x, y):
        for i in range(y.size):
            y[i] = function(x[i])

    y = np.empty_like(x)
    each(x, y)
    return y


def units(found, wanted):
    last = np.spacing(np.abs(wanted).astype(found.dtype)).astype(wanted.dtype)
    return float(np.max(np.abs(found.astype(wanted.dtype) - wanted) / last))


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f4", "f8"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_right_to_a_few_units_in_the_last_place(name, dtype):
    reference, spans, most = FUNCTIONS[name]
    wide = np.float64 if dtype is np.float32 else np.longdouble
    if np.finfo(wide).eps == np.finfo(dtype).eps:
        pytest.skip("this machine has no longer numbers than float64")
    for low, high in spans:
        x = np.random.default_rng(1).uniform(low, high, 20_000).astype(dtype)
        assert units(run(name, x), reference(x.astype(wide))) < most, (low, high)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f4", "f8"])
@pytest.mark.parametrize("name", OF_MATH)
def test_the_error_function_is_pythons(name, dtype):
    reference, spans, most = OF_MATH[name]
    for low, high in spans:
        x = np.random.default_rng(1).uniform(low, high, 20_000).astype(dtype)
        wanted = np.array([reference(float(v)) for v in x])
        assert units(run(name, x), wanted) < most, (low, high)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f4", "f8"])
@pytest.mark.parametrize("name", [*FUNCTIONS, "erf"])
def test_special_numbers_come_out_as_numpys(name, dtype):
    x = np.array(SPECIAL, dtype)
    with np.errstate(all="ignore"):
        wanted = np.vectorize(math.erf)(x) if name == "erf" else FUNCTIONS[name][0](x)
    np.testing.assert_allclose(run(name, x), wanted.astype(dtype), 1e-5, np.finfo(dtype).tiny)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f4", "f8"])
def test_angles_are_numpys_in_every_quadrant_and_on_every_axis(dtype):
    @kernel
    def each(a, b, y):
        for i in range(y.size):
            y[i] = special.arctan2(a[i], b[i])

    r = np.random.default_rng(1)
    edge = np.array([0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-30, 1e30], dtype)
    for a, b in (
        tuple(r.normal(size=(2, 20_000)).astype(dtype)),
        tuple(np.array(np.meshgrid(edge, edge)).reshape(2, -1)),
    ):
        y = np.empty_like(a)
        each(a.copy(), b.copy(), y)
        np.testing.assert_allclose(y, np.arctan2(a, b), 4 * np.finfo(dtype).eps)
        np.testing.assert_array_equal(
            np.signbit(y), np.signbit(np.arctan2(a, b)) | np.isnan(y) & np.signbit(y)
        )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_vectorised(name):
    function = getattr(mathematics, name)

    @numba.njit(error_model="numpy")  # not kept: its code is looked at
    def each(x, y):
        for i in range(y.size):
            y[i] = function(x[i])

    x = np.ones(8, np.float32)
    each(x, x.copy())
    (code,) = each.inspect_llvm().values()
    assert " x float>" in code


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f4", "f8"])
def test_ranks_are_in_order_and_lead_back(dtype):
    x = np.sort(np.array([*SPECIAL, *np.random.default_rng(1).normal(size=99)], dtype))

    @kernel
    def there_and_back(x, ranks, back):
        for i in range(x.size):
            ranks[i] = mathematics.rank(x[i])
            back[i] = mathematics.unrank(mathematics.rank(x[i]))

    ranks, back = np.empty(x.shape, f"i{x.itemsize}"), np.empty_like(x)
    there_and_back(x, ranks, back)
    np.testing.assert_array_equal(back.view(ranks.dtype), x.view(ranks.dtype))
    np.testing.assert_array_equal(mathematics.rank(x), ranks)
    assert (np.diff(ranks)[np.diff(x) > 0] > 0).all()
    assert mathematics.unrank(ranks[0]) == -np.inf
