"""Convolutions in AMX's tiles, of images themselves: on CPUs that have them, if the user wants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distgrad.kernels import amx

pytest.importorskip("numba", reason="numba is not installed: nothing is compiled")

from distgrad import ops
from distgrad.kernels import direct, direct_plan, im2row, onednn_convolution, ways
from distgrad.kernels.onednn_convolution import Problem
from distgrad.ops.geometry import windows_of

tiles = pytest.mark.skipif(
    not amx._allowed(), reason="this CPU has no tiles (AMX), or the system lends none"
)
RNG = np.random.default_rng(3)
LARGE = {"stride": 1, "padding": 1, "dilation": 1}
# Images (n, c, h, w), weights (o, c, y, x), settings.
PROBLEMS = {
    "as most": ((3, 32, 9, 9), (32, 32, 3, 3), {"padding": 1}),
    "more sums than are kept apart": ((6, 32, 30, 31), (33, 32, 3, 3), {"padding": 1}),
    "channels that fill no block": ((2, 35, 7, 9), (3, 35, 3, 3), {"padding": 1}),
    "pixels": ((2, 64, 5, 7), (70, 64, 1, 1), {}),
    "every other pixel": ((2, 40, 7, 6), (32, 40, 1, 1), {"stride": 2}),
    "steps": ((2, 32, 13, 11), (48, 32, 3, 3), {"stride": 2, "padding": 1}),
    "steps beyond the window": ((2, 32, 13, 12), (32, 32, 2, 2), {"stride": 3}),
    "each axis its own": (
        *((2, 33, 12, 9), (65, 33, 3, 2)),
        {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)},
    ),
    "dilation and steps": (
        *((1, 20, 15, 14), (31, 20, 3, 3)),
        {"stride": 3, "padding": 2, "dilation": 2},
    ),
    "padding as wide as windows": ((2, 32, 4, 5), (32, 32, 3, 3), {"padding": 3}),
    "a line": ((2, 32, 1, 40), (32, 32, 1, 5), {"padding": (0, 2)}),
    "no images": ((0, 32, 8, 8), (32, 32, 3, 3), {"padding": 1}),
}


def problem_of(name: str) -> Problem:
    images, weight, given = PROBLEMS[name]
    windows = windows_of(weight[2:], **{"stride": 1, "padding": 0, "dilation": 1} | given)
    y = images[0], weight[0], *windows.counts(images[2:])
    return Problem(images, weight, y, windows, 1)


def last(x: Any) -> Any:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def all_of(way: Any, problem: Problem, x: Any, w: Any, b: Any, g: Any) -> list[Any]:
    """Its results and gradients, of arrays (n, c, h, w)."""
    empty = [np.full_like(last(a), np.nan) for a in (g, x)]
    dw, db = np.full_like(w, np.nan), np.full_like(b, np.nan)
    way.forward(last(x), w, b, empty[0])
    way.to_data(last(g), w, empty[1])
    way.to_weight(last(x), last(g), dw, db)
    return [*[np.moveaxis(a, -1, 1) for a in empty], dw, db]


def defined(problem: Problem, x: Any, w: Any, b: Any, g: Any) -> list[Any]:
    _, stride, padding, dilation = problem.windows
    with np.errstate(invalid="ignore"):
        y, vjps = ops.convolution.function(
            x, w, b, stride=stride, padding=padding, dilation=dilation
        )
        return [y, *[vjp(g) for vjp in vjps]]  # type: ignore[union-attr, operator]


def whole(problem: Problem) -> list[Any]:
    """Data whose sums are exact, and that shows which number went where."""
    shapes = problem.x, problem.weight, (problem.y[1],), problem.y
    return [RNG.integers(-5, 6, s).astype(np.float32) for s in shapes]


@tiles
@pytest.mark.parametrize("small", [False, True], ids=["", "in strips and groups of filters"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_results_and_gradients_are_those_of_the_definition(
    name: str, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if small:
        monkeypatch.setattr(direct_plan, "_STRIP", 40_000)
        monkeypatch.setattr(direct_plan, "_PAIRS", 100_000)
        monkeypatch.setattr(direct_plan, "_FILTERS", 1)
    direct_plan.plans.cache_clear()
    problem = problem_of(name)
    data = whole(problem)
    found = all_of(direct.Direct(problem, None), problem, *data)
    for a, b in zip(found, defined(problem, *data), strict=True):
        np.testing.assert_array_equal(a, b)
    direct_plan.plans.cache_clear()


def test_there_are_strips_and_groups_of_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_plan, "_STRIP", 40_000)
    monkeypatch.setattr(direct_plan, "_FILTERS", 1)
    plan = direct_plan.plans.__wrapped__(problem_of("each axis its own")).forward
    assert plan.strip < plan.rows
    assert plan.group == 1 < direct_plan.blocks_of(65)
    assert plan.images == 2


@tiles
def test_sums_are_as_exact_as_in_float32() -> None:
    windows = windows_of((3, 3), **LARGE)
    problem = Problem((16, 32, 24, 24), (32, 32, 3, 3), (16, 32, 24, 24), windows, 1)
    x, w, b, g = (
        RNG.normal(size=s).astype(np.float32) for s in (problem.x, problem.weight, (32,), problem.y)
    )
    exact = defined(problem, *[a.astype(np.float64) for a in (x, w, b, g)])
    found = all_of(direct.Direct(problem, None), problem, x, w, b, g)
    in_order = np.zeros(32, np.float32)
    for pixel in last(g).reshape(-1, 32):
        in_order += pixel
    for a, wanted in zip(found[:3], exact[:3], strict=True):
        assert np.sqrt(np.mean((a - wanted) ** 2)) < 2e-7 * np.abs(wanted).max()
    error, usual = (np.sqrt(np.mean((v - exact[3]) ** 2)) for v in (found[3], in_order))
    assert error < usual


@tiles
@pytest.mark.parametrize("which", [0, 1, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf, 3.4e38])
def test_numbers_that_are_not_finite_or_too_large_go_the_other_way(
    which: int, value: float
) -> None:
    problem = problem_of("steps")
    data = whole(problem)
    data[which].flat[17] = value
    rows = im2row.Rows(problem.windows, 1)
    with np.errstate(all="ignore"):
        found = all_of(direct.Direct(problem, rows), problem, *data)
        wanted = all_of(rows, problem, *data)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


@tiles
def test_memory_beyond_the_results_is_left_alone() -> None:
    problem = problem_of("channels that fill no block")
    x, w, b, g = whole(problem)
    n, o, *size = problem.y
    y = np.full((n + 2, *size, o), 5, np.float32)
    direct.Direct(problem, None).forward(last(x), w, b, y[1:-1])
    np.testing.assert_array_equal(np.moveaxis(y[1:-1], -1, 1), defined(problem, x, w, b, g)[0])
    assert (y[0] == 5).all()
    assert (y[-1] == 5).all()


def test_the_cheapest_way_is_taken_where_products_are_in_tiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def name(n: int, c: int, size: int, o: int, kernel: int = 3, stride: int = 1) -> str:
        windows = windows_of((kernel, kernel), stride, kernel // 2, 1)
        y = n, o, *windows.counts((size, size))
        problem = Problem((n, c, size, size), (o, c, kernel, kernel), y, windows, 1)
        return ways._name(problem, True, single=True)

    monkeypatch.setattr(ways.split_products, "usable", lambda: True)
    assert name(64, 32, 32, 32) == name(8, 64, 56, 64) == name(8, 128, 28, 128) == "direct"
    assert name(8, 64, 32, 128, stride=2) == name(2, 32, 64, 32, 7) == "direct"
    assert name(32, 256, 8, 256) == name(32, 512, 4, 512) == "winograd"
    assert name(8, 512, 14, 512, stride=2) == name(8, 256, 14, 1024, 1) == "rows"
    assert name(1, 32, 8, 32) == name(64, 3, 32, 32) == name(32, 8, 28, 16) == "library"
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    assert name(64, 32, 32, 32) == "library"
    monkeypatch.setattr(ways.split_products, "usable", lambda: False)
    assert name(64, 32, 32, 32) == name(8, 256, 14, 1024, 1) == "library"
    assert name(32, 256, 8, 256) == "winograd"


def test_one_axis_goes_as_images_of_height_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "_name", lambda *_: "direct")
    windows = windows_of((5,), 1, 2, 1)
    problem = Problem((8, 32, 40), (64, 32, 5), (8, 64, 40), windows, 1)
    way = ways.of(problem, None, single=True)
    assert isinstance(way, im2row.Line)
    assert isinstance(way.plane, direct.Direct)
    if amx._allowed():
        data = whole(problem)
        found = all_of(way, problem, *data)
        for a, b in zip(found, defined(problem, *data), strict=True):
            np.testing.assert_array_equal(a, b)


@tiles
@pytest.mark.skipif(
    not onednn_convolution.loaded(), reason="oneDNN is not installed: rows have no rival"
)
def test_groups_are_the_librarys() -> None:
    problem = problem_of("as most")._replace(groups=2, weight=(32, 16, 3, 3))
    library = object()
    assert ways.of(problem, library, single=True) is library
