"""The twins of counting against NumPy: bins, and the places of what is not 0."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, kernels
from distgrad.autograd import faster
from distgrad.functions.histograms import into_bins_
from distgrad.functions.places import indices_of, triangle

pytest.importorskip("numba", reason="numba is not installed: there are no twins")

EDGES = {
    "even": (np.linspace(-3, 3, 51), True),
    "one bin": (np.array([-1.0, 2.0]), True),
    "narrow": (1 + np.arange(8) * 1e-7, True),
    "uneven": (np.array([-2.0, -1.9, 0, 0.1, 0.7, 3]), False),
    "equal edges": (np.array([-1.0, -1, 0, 0.5, 0.5, 0.5, 2, 2]), False),
}


def drawn(size, dtype, edges):
    x = np.random.default_rng(size).normal(size=size)
    x[: len(edges)] = edges  # what lies on an edge belongs to the bin that begins there
    x[99:104] = np.nan, np.inf, -np.inf, -0.0, 1e-42
    x[200:300] = 1 + np.arange(100) * 1e-8
    x = x.astype(dtype)
    x[400 : 400 + len(edges)] = np.nextafter(edges, dtype(-np.inf))
    return x


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("step", [1, 2])
def test_numbers_fall_into_the_bins_that_numpy_says(name, dtype, step):
    edges, evenly = EDGES[name]
    edges = edges.astype(dtype)
    x = drawn(10_007, dtype, edges)[::step]
    before = np.random.default_rng(0).integers(0, 4, len(x))
    found = []
    for mode in (dg.enable_grad, dg.reference_kernels):
        found.append(before.copy())
        with mode():
            into_bins_(x, edges, evenly, found[-1])
    np.testing.assert_array_equal(*found)
    wanted = np.histogram2d(np.maximum(before - 1, 0), x, [np.arange(4), edges], weights=before > 0)
    counted = np.bincount(found[0], minlength=3 * (len(edges) - 1) + 1)[1:]
    np.testing.assert_array_equal(counted, wanted[0].reshape(-1))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("density", [False, True])
@pytest.mark.parametrize("size", [0, 7, 5001])
def test_histograms_have_numpys_bits(weighted, density, size):
    rng = np.random.default_rng(size)
    x = rng.normal(size=(size, 3)).astype(np.float32)
    edges = [np.linspace(-2, 2, n, dtype=np.float32) for n in (3, 4, 5)]
    w = rng.random(size, np.float32) if weighted else None
    with np.errstate(invalid="ignore"):  # a density of nothing
        wanted = np.histogramdd(x, edges, weights=w, density=density)[0]
        found = dg.histogramdd(
            Tensor(x),
            [2, 3, 4],
            [-2, 2] * 3,
            weight=None if w is None else Tensor(w),
            density=density,
        )
    assert found.hist.array.tobytes() == wanted.astype(np.float32).tobytes()
    assert found.hist.dtype == np.float32


def test_few_points_are_counted_by_the_twin_once_there_were_many(monkeypatch):
    x = Tensor(np.random.default_rng(2).normal(size=(100, 2)).astype(np.float32))
    with dg.reference_kernels():
        wanted = dg.histogramdd(x, [5, 4]).hist.array
    asked: list[str] = []

    def twin(name):
        asked.append(name)
        return kernels.twin(name)

    monkeypatch.setattr(faster, "twin", twin)
    monkeypatch.setattr(faster, "_asked", {})
    for _ in range(15):
        np.testing.assert_array_equal(dg.histogramdd(x, [5, 4]).hist.array, wanted)
    assert asked == ["into_bins_"] * (30 - 20)  # of 2 axes, from 2,048 numbers on


@pytest.mark.parametrize("size", [7, 5001])
@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i4", "u1"])
def test_histc_counts_as_numpy_does(size, kind):
    x = (20 * np.random.default_rng(size).random(size)).astype(kind)
    for ends in ((0, 0), (3, 11)):
        all_ = float(x.min()), float(x.max())
        wanted = np.histogram(x, 7, ends if ends[0] != ends[1] else all_)[0]
        found = dg.histc(Tensor(x), 7, *ends)
        assert found.dtype == x.dtype
        np.testing.assert_array_equal(found.array, wanted.astype(kind))


@pytest.mark.parametrize("size", [0, 3, 64, 5001])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("density", [False, True])
@pytest.mark.parametrize("edges", [[-1.0, 0.0, 0.5, 2.0], [-1.0, 0.0, 0.0, 1.0, 1.0], [0.0], 7])
def test_a_histogram_of_one_axis_is_numpys(edges, size, weighted, density):
    rng = np.random.default_rng(size)
    x = rng.standard_normal(size).astype(np.float32)
    x[: size // 3] = np.resize([-1, 0, 0.5, 1, 2, np.nan, np.inf, -np.inf], size // 3)
    w = rng.random(size, np.float32) if weighted else None
    bins = edges if isinstance(edges, int) else np.array(edges, np.float32)
    row = np.repeat(x, 2)[::2].reshape(-1, 1)  # strided, of two axes
    with np.errstate(invalid="ignore", divide="ignore"):
        found = dg.histogram(
            Tensor(row),
            bins if isinstance(edges, int) else Tensor(bins),
            range=[-2, 2],
            weight=None if w is None else Tensor(w),
            density=density,
        )
        # NumPy's own function of one axis adds weights up in another order.
        wanted = np.histogramdd(row, [found.bin_edges.array], density=density, weights=w)[0]
    assert found.hist.dtype == np.float32
    np.testing.assert_array_equal(found.hist.array, wanted.astype(np.float32))


@pytest.mark.parametrize("size", [3, 5000])
def test_one_edge_bounds_no_bin(size):
    found = dg.histogram(Tensor(np.zeros(size)), Tensor(np.zeros(1)))
    assert found.hist.shape == (0,)


def test_edges_that_fall_are_refused():
    with pytest.raises(dg.ShapeError, match="histogram: edges rise monotonically; sort"):
        dg.histogram(Tensor(np.ones(3)), Tensor(np.array([0.0, 2.0, 1.0])))


SHAPES = [(4999,), (67, 71), (3, 41, 53), (4999, 1), (1, 4999), (2, 3, 4, 5, 67), (64, 65, 1)]
KINDS = {
    "bool": lambda r, s: r.random(s) < 0.5,
    "int64": lambda r, s: r.integers(-1, 2, s),
    "uint8": lambda r, s: r.integers(0, 3, s, np.uint8),
    "none": lambda r, s: np.zeros(s, np.float32),
    "all": lambda r, s: np.ones(s, np.float64),
    "special": lambda r, s: r.choice([0.0, -0.0, np.nan, np.inf, 1e-320], s),
    "complex": lambda r, s: r.integers(0, 2, s) * 1j,
}


@pytest.mark.parametrize("shape", [*SHAPES, (), (0,), (3,), (0, 4100), (4100, 0)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_the_places_of_what_is_not_0_are_numpys(shape, kind):
    a = np.asarray(KINDS[kind](np.random.default_rng(1), shape))
    for x in (a, a.T, a[..., ::-1] if a.ndim else a):
        found, wanted = indices_of(x), np.argwhere(x)
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
        axes = dg.nonzero(Tensor(x), as_tuple=True)
        for of_axis, numpys in zip(axes, np.nonzero(np.atleast_1d(x)), strict=True):
            np.testing.assert_array_equal(of_axis.array, numpys)


@pytest.mark.parametrize(
    "shape", [(70, 73), (73, 70), (1, 4099), (4099, 1), (5, 3), (0, 4), (4, 0)]
)
@pytest.mark.parametrize("lower", [True, False])
def test_the_places_of_a_triangle_are_numpys(shape, lower):
    twin = kernels.part("counts", "triangle")
    for offset in (0, 1, -2, 5000, -5000):
        numpys = (np.tril_indices if lower else np.triu_indices)(shape[0], offset, shape[1])
        for way in (twin, triangle):
            found = way(*shape, offset, lower)
            assert found.dtype == np.int64
            assert found.flags.c_contiguous
            np.testing.assert_array_equal(found, numpys)
