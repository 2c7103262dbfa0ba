"""Products in AMX's tiles: as exact as in float32; on CPUs that have them, if the user wants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distgrad import blas, kernels
from distgrad.kernels import amx

pytest.importorskip("numba", reason="numba is not installed: the BLAS multiplies")

from matrices import drawn, read_only

from distgrad.kernels import products, repeated, split_products

tiles = pytest.mark.skipif(
    not amx._allowed(), reason="this CPU has no tiles (AMX), or the system lends none"
)
FLOAT32 = np.finfo(np.float32)


def multiply(a: Any, b: Any) -> Any:
    y = np.full((a.shape[0], b.shape[1]), np.nan, np.float32)
    products._in_parts(a, b, y)
    return y


def error(found: Any, a: Any, b: Any) -> float:
    """Root mean square, in units of the last place of the largest result."""
    wanted = a.astype(np.float64) @ b.astype(np.float64)
    return float(np.sqrt(np.mean((found - wanted) ** 2)) / np.abs(wanted).max() / FLOAT32.eps)


@tiles
@pytest.mark.parametrize("k", [3, 32, 100, 512, 700, 2048])
def test_sums_are_as_exact_as_in_float32(k: int) -> None:
    a, b = drawn(160, k, 130)
    in_order = np.zeros((160, 130), np.float32)
    for q in range(k):
        in_order += a[:, q, None] * b[q]
    assert error(multiply(a, b), a, b) < error(in_order, a, b) < 10


@tiles
def test_a_product_of_two_numbers_is_exact_to_the_last_bit() -> None:
    a, b = drawn(257, 1, 300)
    wanted = (a.astype(np.float64) * b).astype(np.float32)
    found = multiply(a, b)
    assert np.abs(found.view(np.int32) - wanted.view(np.int32)).max() <= 1


@tiles
def test_whole_numbers_are_exact() -> None:
    m, k, n = 67, 1045, 99
    a, b = (np.arange(x * y).reshape(x, y) % 2001 - 1000 for x, y in ((m, k), (k, n)))
    small = b % 7
    found = multiply(a.astype(np.float32), small.astype(np.float32))
    np.testing.assert_array_equal(found, a @ small)


@tiles
def test_a_sum_has_its_bits_in_any_product() -> None:
    a, b = drawn(300, 600, 2100)
    whole = multiply(a, b)
    for rows in (slice(0, 1), slice(31, 70), slice(250, 300)):
        for columns in (slice(0, 33), slice(2040, 2060), slice(2099, 2100)):
            found = multiply(a[rows], b[:, columns])
            np.testing.assert_array_equal(found, whole[rows, columns])


@tiles
@pytest.mark.parametrize("turned", [False, True])
def test_rows_and_columns_that_are_not_finite_are_those_of_numpy(turned: bool) -> None:
    a, b = drawn(70, 530, 75)
    a[3, 5] = a[40, 529] = np.nan
    a[9, 7], a[9, 8], a[11, 9] = np.inf, -np.inf, FLOAT32.max
    b[6, 60], b[500, 61], b[7, 2], b[9, 3] = np.nan, np.inf, -np.inf, 0
    if turned:
        a, b = np.ascontiguousarray(a.T).T, np.ascontiguousarray(b.T).T
    found = multiply(a, b)
    with np.errstate(all="ignore"):
        wanted = a @ b
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)
    clean = np.isfinite(a).all(1) & (np.abs(a).max(1) < 100)
    assert clean.sum() == 66
    np.testing.assert_array_equal(found[clean], multiply(a[clean], b))


@tiles
@pytest.mark.parametrize("size", [3.389e38, 3.3961e38, 3.4028e38])
def test_the_largest_numbers_stay_finite(size: float) -> None:
    a, b = np.zeros((64, 64), np.float32), np.eye(64, dtype=np.float32)
    a[5, 7] = size
    np.testing.assert_array_equal(multiply(a, b), a)
    np.testing.assert_array_equal(multiply(b, a), a)


@tiles
def test_small_numbers_have_their_digits_down_to_the_smallest_that_are_promised() -> None:
    # What docs/sharp-bits.md says of them.
    for size, digits in ((1e-30, 1e-6), (1e-33, 1e-4), (1e-36, 0.1)):
        a, b = drawn(64, 40, 50)
        found, wanted = multiply(a * np.float32(size), b), (a.astype(np.float64) @ b) * size
        assert np.abs(found - wanted).max() < digits * np.abs(wanted).max()
    a = np.full((64, 40), 1e-39, np.float32)
    assert (multiply(a, np.ones((40, 50), np.float32)) == 0).all()


@tiles
def test_memory_beyond_the_matrices_is_left_alone() -> None:
    a, b = drawn(70, 45, 37)
    y = np.full((72, 64), 5, np.float32)
    products._in_parts(a, b, y[1:-1, 3:40])
    np.testing.assert_array_equal(y[1:-1, 3:40], multiply(a, b))
    y[1:-1, 3:40] = 5
    assert (y == 5).all()


def _heads(a: Any) -> Any:
    """As (…, h, t, d) looks into (…, t, h, d)."""
    return np.ascontiguousarray(a.swapaxes(-3, -2)).swapaxes(-3, -2)


STACKS: dict[str, Any] = {
    "as they are": lambda a: a,
    "turned": lambda a: np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2),
    "heads": _heads,
    "one for all": lambda a: np.broadcast_to(a[:1], a.shape),
    "every other": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "backwards": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "read-only": read_only,
}


@tiles
@pytest.mark.parametrize("lead", [(5,), (2, 3), (2, 1, 3), (1, 1, 1, 2)], ids=str)
@pytest.mark.parametrize("form", STACKS)
def test_stacks_are_products_of_each(form: str, lead: tuple[int, ...]) -> None:
    rng = np.random.default_rng(len(lead))
    a, b = (rng.normal(size=(*lead, *s)).astype(np.float32) for s in ((70, 45), (45, 37)))
    if form == "heads" and len(lead) < 2:
        pytest.skip("there is no axis to look past")
    a[(0,) * len(lead)][3, 4] = np.inf
    other = STACKS[form]
    for x, y in ((other(a), b), (a, other(b)), (other(a), other(b))):
        found = np.full((*lead, 70, 37), np.nan, np.float32)
        products._in_parts(x, y, found)
        wanted = np.array([multiply(x[i].copy(), y[i].copy()) for i in np.ndindex(lead)]).reshape(
            found.shape
        )
        np.testing.assert_array_equal(found, wanted)


@tiles
@pytest.mark.parametrize(("m", "k", "n"), [(67, 45, 33), (640, 160, 32), (96, 1045, 70), (3, 7, 1)])
def test_a_factor_that_stays_gives_the_same_bits(m: int, k: int, n: int) -> None:
    a, b = drawn(m, k, n)
    for x in (a, np.ascontiguousarray(a.T).T):
        by_factor = repeated._by_factor(x)
        for y in (b, 2 * b):
            found = np.full((m, n), np.nan, np.float32)
            assert by_factor(x, y, found) is found
            np.testing.assert_array_equal(found, multiply(x, y))
    for one, at in ((a, (1, 2)), (b, (3, 0))):
        before, one[at] = one[at], np.inf
        found = repeated._by_factor(a)(a, b, np.empty((m, n), np.float32))
        np.testing.assert_array_equal(found, multiply(a, b))
        one[at] = before


@pytest.mark.parametrize(
    ("m", "k", "n", "times", "repays"),
    [
        *[(1024, 256, 32, 128, True), (640, 160, 60, 5, True)],
        *[(1024, 256, 16, 128, False), (4096, 1024, 32, 128, False)],  # too few, too large
    ],
)
def test_a_factor_that_stays_is_in_parts_if_the_cache_holds_them(
    m: int, k: int, n: int, times: int, repays: bool
) -> None:
    assert split_products.repays(m, k, n, times) is repays


@pytest.mark.parametrize(
    ("m", "k", "n", "gains"),
    [
        *[(1024, 384, 1536, True), (128, 1024, 1024, True), (768, 128, 384, True)],
        *[(128, 1024, 10, False), (67, 93, 45, False), (3, 1000, 1000, False)],
    ],
)
def test_it_is_chosen_by_the_sizes(m: int, k: int, n: int, gains: bool) -> None:
    assert split_products.gains(m, k, n) is gains


@pytest.mark.parametrize(
    ("m", "k", "n", "gains"),
    [(256, 64, 256, True), (256, 256, 64, True), (64, 32, 64, False), (64, 64, 64, False)],
)
def test_stacks_are_chosen_by_the_sizes_of_each(m: int, k: int, n: int, gains: bool) -> None:
    others = products.Others(tiles=True, library=True)
    way = products._way((4, 6, m, k), (4, 6, k, n), others)
    assert (way is products._in_parts) is gains


TILES = frozenset({*blas._NEEDED, "amx_tile", "amx_bf16"})


@pytest.mark.parametrize(
    ("flags", "blas_kernels", "variables", "is_chosen"),
    [
        (TILES, "SkylakeX", {}, True),
        (TILES - {"amx_bf16"}, "SkylakeX", {}, False),
        (TILES, "Haswell", {}, False),  # chosen by the user
        (TILES, "", {}, False),  # another BLAS
        (TILES, "SkylakeX", {"DISTGRAD_AMX": "0"}, False),
    ],
)
def test_it_is_chosen_by_cpu_blas_and_variable_and_that_is_in_the_status(
    flags: frozenset[str],
    blas_kernels: str,
    variables: dict[str, str],
    is_chosen: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blas, "cpu", lambda: blas.Cpu("GenuineIntel", 6, flags))
    monkeypatch.setattr(blas, "kernels", lambda: blas_kernels)
    monkeypatch.setattr(amx, "_asked", lambda: True)
    monkeypatch.delenv("DISTGRAD_AMX", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    amx.multiplies.cache_clear()
    try:
        assert amx.multiplies() is is_chosen
        assert ("in tiles (AMX)" in kernels.products_by()) is is_chosen
        assert ("products on one thread in tiles (AMX)" in kernels.status()) is is_chosen
    finally:
        amx.multiplies.cache_clear()


def test_where_the_system_lends_no_tiles_it_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "cpu", lambda: blas.Cpu("GenuineIntel", 6, TILES))
    monkeypatch.setattr(blas, "kernels", lambda: "SkylakeX")
    monkeypatch.setattr(amx, "_asked", lambda: False)
    assert not amx.multiplies.__wrapped__()
