"""oneDNN: found, tested, refused, and what convolves then."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import tracemalloc
import warnings

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, blas, kernels, nn, ops
from distgrad.kernels import amx, onednn, onednn_convolution
from distgrad.kernels import convolve as convolve_module
from distgrad.kernels.onednn_convolution import Problem
from distgrad.ops.geometry import windows_of
from distgrad.parallel import numerics

RNG = np.random.default_rng(7)
needs_library = pytest.mark.skipif(
    not onednn.installed()[1], reason=f"{onednn.WHEEL} is not installed"
)


@pytest.fixture
def anew(monkeypatch):
    """The library as if no convolution had run yet."""
    monkeypatch.setattr(onednn, "MINE", onednn._OfThread())
    monkeypatch.setattr(onednn, "REFUSED", [])
    onednn_convolution.loaded.cache_clear()
    yield
    onednn_convolution.loaded.cache_clear()


def convolve(*shape, groups=1, **settings):
    n, c, o, *size = shape
    x, w = RNG.normal(size=(n, c, *size)), RNG.normal(size=(o, c // groups, *(3,) * len(size)))
    inputs = [Tensor(a.astype(np.float32), requires_grad=True) for a in (x, w)]
    y = ops.convolution(*inputs, None, groups=groups, **settings)
    g = np.cos(np.arange(y.size, dtype=np.float32)).reshape(y.shape)
    return inputs, y, dg.autograd.grad([y], inputs, gradient=[g])


def test_one_that_is_not_installed_is_not_mentioned(anew, monkeypatch):
    monkeypatch.setattr(onednn, "installed", lambda: ("", ""))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convolve(2, 3, 4, 5, 5)
    assert "oneDNN is not installed; pip install 'distgrad[onednn]'" in kernels.status()


def test_one_that_cannot_be_loaded_is_named_once_and_done_without(anew, monkeypatch, tmp_path):
    path = tmp_path / "libdnnl.so"
    path.write_text("no library")
    monkeypatch.setattr(onednn, "installed", lambda: (str(path), "9.9"))
    with pytest.warns(RuntimeWarning, match="oneDNN 9.9 cannot be used: .*DISTGRAD_ONEDNN=0"):
        convolve(2, 3, 4, 5, 5)
    convolve(2, 3, 4, 6, 6)  # without another word
    assert "convolution by im2col and BLAS (oneDNN 9.9 cannot be used" in kernels.status()


@needs_library
def test_one_that_computes_wrong_numbers_is_refused(anew, monkeypatch):
    forward = onednn_convolution.Convolution.forward

    def off_by_a_little(self, x, weight, bias, y):
        forward(self, x, weight, bias, y)
        y.reshape(-1)[-1] += 1

    monkeypatch.setattr(onednn_convolution.Convolution, "forward", off_by_a_little)
    with pytest.warns(RuntimeWarning, match="it computes a wrong convolution"):
        convolve(2, 3, 4, 5, 5)
    assert onednn_convolution.loaded() is None


@needs_library
def test_an_older_one_is_refused(anew, monkeypatch):
    monkeypatch.setattr(onednn, "_OLDEST", (99, 0))
    with pytest.warns(RuntimeWarning, match=r"is oneDNN 3\.\d+; 99.0 and newer are known here"):
        convolve(2, 3, 4, 5, 5)


@needs_library
def test_the_variable_turns_it_off():
    code = """
import numpy as np
from distgrad import ops, kernels
from distgrad.kernels import onednn_convolution
ops.convolution(np.ones((1, 1, 3, 3), 'f'), np.ones((1, 1, 2, 2), 'f'), None)
print(onednn_convolution.loaded(), kernels.status())
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "DISTGRAD_ONEDNN": "0"}
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment, capture_output=True, text=True, check=True, timeout=100,
    ).stdout  # fmt: skip
    assert out.startswith("None ")
    assert "im2col and BLAS (DISTGRAD_ONEDNN=0)" in out


@needs_library
def test_asking_which_road_loads_nothing(anew):
    assert f"convolution by oneDNN {onednn.installed()[1]}" in kernels.status()
    assert onednn_convolution.loaded.cache_info().currsize == 0


def test_what_the_users_variables_make_of_it_belongs_to_the_road(anew, monkeypatch):
    monkeypatch.setattr(onednn, "installed", lambda: ("a", "1.0"))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setenv("DNNL_DEFAULT_FPMATH_MODE", "BF16")
    assert onednn.road() == "oneDNN 1.0 kept to AVX2 in mode BF16"
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "strict")
    assert onednn.road() == "oneDNN 1.0 kept to AVX2"


def test_tiles_belong_to_what_convolves(monkeypatch):
    pytest.importorskip("numba", reason="numba is not installed: nothing is compiled")
    monkeypatch.setattr(amx, "multiplies", lambda: True)
    assert f"{onednn.road()}, on one thread in tiles (AMX)" in kernels.status()
    with dg.reference_kernels():
        assert "tiles" not in kernels.convolution_by()
    monkeypatch.setattr(amx, "multiplies", lambda: False)
    assert kernels.convolution_by() == onednn.road()


def test_ranks_that_differ_in_their_road_are_told(monkeypatch):
    prints = []
    for found in (("a", "1.0"), ("", "")):
        monkeypatch.setattr(onednn, "installed", lambda found=found: found)
        prints.append(numerics.fingerprint())
    with pytest.warns(RuntimeWarning, match="oneDNN 1.0.* and .*im2col"):
        numerics.compare(prints, rank=0)


def test_the_summary_names_the_road_of_a_model_that_convolves():
    assert f"convolution by {kernels.convolution_by()}" in str(nn.summary(nn.Conv1d(1, 1, 1)))
    assert "convolution" not in str(nn.summary(nn.Linear(1, 1)))


@pytest.mark.usefixtures("road")
@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((2, 32, 48, 11, 13), {"padding": 1}),
        ((2, 48, 32, 11, 13), {"padding": 1, "stride": 2, "groups": 4}),
        ((2, 40, 40, 11, 13), {"padding": 2, "dilation": 2, "groups": 40}),
        ((2, 16, 32, 11, 13), {"groups": 16}),
        ((2, 16, 32, 29), {"padding": 1, "stride": 2}),
        ((2, 16, 24, 5, 7, 6), {"padding": 1, "groups": 2}),
        ((2, 3, 5, 4, 4), {"padding": 3}),
        ((5, 128, 136, 10, 12), {"padding": 1}),  # by Winograd's filtering, as the next ones
        ((3, 64, 72, 20, 18), {"padding": (0, 2)}),
        ((1, 144, 128, 18, 22), {}),
    ],
)
def test_both_roads_equal_the_reference(shape, settings):
    (x, w), y, grads = convolve(*shape, **settings)
    with dg.reference_kernels():
        wanted = ops.convolution(x, w, None, **settings)
        g = np.cos(np.arange(y.size, dtype=np.float32)).reshape(y.shape)
        others = dg.autograd.grad([wanted], [x, w], gradient=[g])
    for a, b in zip([y, *grads], [wanted, *others], strict=True):
        scale = np.abs(b.array).max()
        np.testing.assert_allclose(a.array, b.array, rtol=1e-4, atol=1e-5 * scale)


WINDOWS = {  # images, weight, settings: pixels, as many as are products in tiles, and large windows
    "pixels": ((3, 100, 13, 11), (130, 100, 1, 1), {}),
    "steps over pixels": ((3, 100, 15, 11), (130, 100, 1, 1), {"stride": (2, 3)}),
    "pixels of a line": ((3, 100, 290), (130, 100, 1), {}),
    "pixels of groups": ((3, 200, 13, 11), (196, 100, 1, 1), {"groups": 2}),
    "patches of images": ((2, 3, 24, 16), (33, 3, 8, 8), {"stride": 8}),
    "large windows over images": ((2, 3, 31, 30), (33, 3, 7, 7), {"stride": 2, "padding": 3}),
}


@pytest.mark.parametrize("tiles", [False, True])
@pytest.mark.parametrize("name", WINDOWS)
def test_other_windows_equal_the_reference_on_both_roads(name, tiles, road, monkeypatch):
    if tiles and not amx._allowed():
        pytest.skip("this CPU has no tiles (AMX), or the system lends none")
    monkeypatch.setattr(amx, "multiplies", lambda: tiles)
    monkeypatch.setattr(blas, "threads", lambda: 1)
    *shapes, settings = WINDOWS[name]
    inputs = [Tensor(RNG.normal(size=s).astype(np.float32), requires_grad=True) for s in shapes]
    inputs.append(Tensor(RNG.normal(size=shapes[1][:1]).astype(np.float32), requires_grad=True))

    def results():
        y = ops.convolution(*inputs, **settings)
        g = np.cos(np.arange(y.size, dtype=np.float32)).reshape(y.shape)
        return [y, *dg.autograd.grad([y], inputs, gradient=[g])]

    found = results()
    with dg.reference_kernels():
        wanted = results()
    for a, b in zip(found, wanted, strict=True):
        scale = np.abs(b.array).max()
        np.testing.assert_allclose(a.array, b.array, rtol=1e-4, atol=1e-5 * scale)


@needs_library
def test_pixels_are_products_in_tiles_and_images_of_large_windows_are_summed_by_rows(monkeypatch):
    ways = pytest.importorskip("distgrad.kernels.ways", exc_type=ImportError)
    im2row = pytest.importorskip("distgrad.kernels.im2row", exc_type=ImportError)
    monkeypatch.setattr(ways.split_products, "usable", lambda: True)

    def way(name):
        images, weight, settings = WINDOWS[name]
        windows = windows_of(weight[2:], settings.get("stride", 1), settings.get("padding", 0), 1)
        y = images[0], weight[0], *windows.counts(images[2:])
        problem = Problem(images, weight, y, windows, settings.get("groups", 1))
        return convolve_module._way(problem, True, np.dtype(np.float32))

    assert isinstance(way("pixels"), im2row.Rows)
    assert isinstance(way("pixels of a line"), im2row.Line)
    library = onednn_convolution.Convolution
    assert isinstance(way("steps over pixels"), library)
    assert isinstance(way("pixels of groups"), library)
    for name in ("patches of images", "large windows over images"):
        assert isinstance(way(name).forward.__self__, library)
        assert isinstance(way(name).to_weight.__self__, library)
        assert isinstance(way(name).to_data.__self__, im2row.Rows)
    monkeypatch.setattr(ways.split_products, "usable", lambda: False)
    assert isinstance(way("pixels"), library)


@pytest.mark.usefixtures("road")
@pytest.mark.parametrize("size", [(12, 10), (11, 10), (2, 2)])
def test_winograds_filtering_is_taken_for_even_planes_that_are_large_enough(size, monkeypatch):
    winograd = pytest.importorskip("distgrad.kernels.winograd", exc_type=ImportError)
    monkeypatch.setattr(amx, "multiplies", lambda: False)

    def is_taken(problem):
        way = convolve_module._way(problem, True, np.dtype(np.float32))
        return isinstance(way, winograd.Tiles)

    windows = windows_of((3, 3), 1, 1, 1)
    problem = Problem((4, 128, *size), (128, 128, 3, 3), (4, 128, *size), windows, 1)
    assert is_taken(problem) == (size == (12, 10))
    assert not is_taken(problem._replace(groups=2, weight=(128, 64, 3, 3)))
    high = windows_of((3, 3), (2, 1), 1, 1)
    y = 4, 128, *high.counts(size)
    assert not is_taken(problem._replace(windows=high, y=y))


def test_the_filters_gradient_of_a_few_images_needs_no_second_array_of_their_size():
    winograd = pytest.importorskip("distgrad.kernels.winograd", exc_type=ImportError)
    x, g = (RNG.normal(size=(4, 12, 10, c)).astype(np.float32) for c in (128, 136))
    dw = np.empty((136, 128, 3, 3), np.float32)
    windows = windows_of((3, 3), 1, 1, 1)
    way = winograd.Tiles(Problem((4, 128, 12, 10), dw.shape, (4, 136, 12, 10), windows, 1))
    way.to_weight(x, g, dw, None)  # what it keeps for the next time
    tracemalloc.start()
    way.to_weight(x, g, dw, None)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 16 * dw[:, :, 0, 0].size


@needs_library
def test_threads_compute_beside_each_other_and_backward_may_run_on_another():
    x, w = (RNG.normal(size=s).astype(np.float32) for s in ((4, 16, 12, 12), (16, 16, 3, 3)))

    def step(x):
        weight = Tensor(w, requires_grad=True)
        y = ops.convolution(x, weight, None, padding=1)
        return y, weight

    def results(y, weight):
        y.backward(np.ones(y.shape, np.float32))
        return y.array.copy(), weight.grad.array.copy()

    alone = [results(*step(x * i)) for i in range(4)]
    waiting = [step(x * i) for i in range(4)]  # forward here, backward there
    found = [None] * 4

    def body(i):
        found[i] = results(*waiting[i])
        for _ in range(20):
            again = results(*step(x * i))
            assert all(np.array_equal(a, b) for a, b in zip(again, alone[i], strict=True))

    threads = [threading.Thread(target=body, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for f, a in zip(found, alone, strict=True):
        np.testing.assert_array_equal(f[0], a[0])
        np.testing.assert_array_equal(f[1], a[1])


@needs_library
def test_it_keeps_to_one_thread_and_leaves_openmps_setting_alone():
    library = onednn_convolution.loaded()
    before, inside = library._threads(), []
    library._set_threads(3)
    try:
        with library.alone():
            inside.append(library._threads())
        convolve(2, 3, 4, 5, 5)
        assert (inside, library._threads()) == ([1], 3)
    finally:
        library._set_threads(before)


@needs_library
def test_what_a_thread_keeps_is_bounded(monkeypatch, anew):
    monkeypatch.setattr(onednn, "_MOST", 3)
    for size in range(5, 11):
        convolve(1, 2, 2, size, size)
    assert len(onednn.MINE.known) == 3
