"""Products by oneDNN: right wherever matrices lie, the same in captured steps; or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import distgrad as dg
from distgrad import blas, kernels, nn, ops
from distgrad.kernels import onednn

pytest.importorskip("numba", reason="numba is not installed: the BLAS multiplies")
if not onednn.installed()[1]:
    pytest.skip(f"{onednn.WHEEL} is not installed: the BLAS multiplies", allow_module_level=True)

from matrices import FORMS, drawn

from distgrad.kernels import onednn_products, products

SIZES = [  # m, k, n: few rows or columns, parts of tiles, many columns, more than one depth
    *[(2, 700, 901), (901, 700, 2), (3, 1000, 500), (67, 93, 451), (128, 784, 65), (48, 2100, 32)],
    *[(1031, 257, 40), (128, 128, 128)],
]


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU that it suits, with one thread."""
    monkeypatch.setattr(onednn, "_suits", lambda: True)
    monkeypatch.setattr(blas, "threads", lambda: 1)
    onednn_products.functions.cache_clear()


def by_library(a: Any, b: Any) -> Any:
    y = np.full((a.shape[0], b.shape[1]), np.nan, a.dtype)
    products._in_library(a, b, y)
    return y


@pytest.mark.parametrize(("m", "k", "n"), SIZES)
def test_a_product_is_right(m: int, k: int, n: int) -> None:
    a, b = drawn(m, k, n)
    scale = np.finfo(np.float32).eps * 4 * k**0.5
    for x in (a, np.ascontiguousarray(a.T).T):
        for y in (b, np.ascontiguousarray(b.T).T):
            found = by_library(x, y)
            wanted = a.astype(np.float64) @ b
            np.testing.assert_allclose(found, wanted, rtol=scale, atol=scale * k**0.5)


OVERLAPPING = {
    "repeated rows": lambda a: np.broadcast_to(a[:1], a.shape),
    "repeated columns": lambda a: np.broadcast_to(a[:, :1], a.shape),
    "sliding": lambda a: np.lib.stride_tricks.sliding_window_view(
        np.arange(sum(a.shape) - 1, dtype=np.float32), a.shape[1]
    ),
}


@pytest.mark.parametrize("form", [*FORMS, *OVERLAPPING])
def test_it_is_right_wherever_the_matrices_lie(form: str) -> None:
    a, b = drawn(67, 93, 45)
    other = {**FORMS, **OVERLAPPING}[form]
    for x, y in ((other(a), b), (a, other(b)), (other(a), other(b))):
        wanted = np.ascontiguousarray(x).astype(np.float64) @ y
        np.testing.assert_allclose(by_library(x, y), wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.usefixtures("chosen")
def test_the_result_is_written_where_it_is_wanted() -> None:
    a, b = drawn(301, 104, 48)
    wanted = by_library(a, b)
    bucket = np.full(7 + 301 * 48 + 5, 3, np.float32)
    out = bucket[7:-5].reshape(301, 48)
    assert products.product(a, b, out) is out
    np.testing.assert_array_equal(out, wanted)
    assert set(bucket[:7]) == set(bucket[-5:]) == {3}
    wide = np.full((301, 60), 3, np.float32)
    products.product(a, b, wide[:, 5:53])
    np.testing.assert_array_equal(wide[:, 5:53], wanted)
    assert set(wide[:, :5].flat) == set(wide[:, 53:].flat) == {3}
    columns = np.zeros((48, 301), np.float32)
    products.product(a, b, columns.T)  # not a place it can write to: NumPy does
    np.testing.assert_allclose(columns.T, wanted, rtol=1e-4, atol=1e-4)


def test_nan_and_infinity_travel() -> None:
    a, b = drawn(67, 261, 45)
    a[3, 5], b[7, 9] = np.nan, np.inf
    y = by_library(a, b)
    with np.errstate(invalid="ignore"):
        wanted = a.astype(np.float64) @ b
    np.testing.assert_array_equal(np.isnan(y), np.isnan(wanted))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(wanted))


def test_what_it_cannot_do_is_nan() -> None:
    library = onednn_products.functions()
    assert library is not None
    a, c = np.ones(12, np.float32), np.ones((3, 5), np.float32)
    onednn_products.multiply_by_library(  # rows of 4 numbers that begin 1 apart
        a, a, c.reshape(-1), 3, 4, 3, 1, 3, 5, False, False, *library
    )
    assert np.isnan(c[:, :3]).all()
    assert (c[:, 3:] == 1).all()


def test_openmp_has_the_threads_it_had() -> None:
    library = onednn.Library(onednn.installed()[0])
    before = library._threads()
    library._set_threads(3)
    try:
        by_library(*drawn(67, 93, 45))
        assert library._threads() == 3
    finally:
        library._set_threads(before)


@pytest.mark.usefixtures("chosen")
def test_large_products_of_float32_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    way = products._in_library
    monkeypatch.setattr(products, "_in_library", lambda *x: (calls.append(x[2].shape), way(*x)))
    products._way.cache_clear()
    try:
        x, w = drawn(130, 128, 90)
        layer = nn.Linear(128, 90)
        layer(dg.tensor(x)).sum().backward()
        ops.matmul(dg.tensor(x), w)
        assert calls == [(130, 90), (90, 128), (130, 90)]
        calls.clear()
        for a, b in ((x.astype(np.float64), w.astype(np.float64)), (x[:1], w), (x[:20], w)):
            ops.matmul(a, b)  # another dtype, a vector, a small one
        monkeypatch.setattr(blas, "threads", lambda: 2)
        ops.matmul(x, w)
        assert calls == []
    finally:
        products._way.cache_clear()


@pytest.mark.usefixtures("chosen")
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_recurrent_layers_multiply_with_it(kind: Any) -> None:
    rng = np.random.default_rng(2)
    layer, x = kind(100, 104), rng.normal(size=(5, 101, 100)).astype(np.float32)

    def gradients() -> list[Any]:
        layer.zero_grad()
        y, _ = layer(dg.tensor(x))
        (y * y).sum().backward()
        return [y.detach().numpy(), *[p.grad.numpy().copy() for p in layer.parameters()]]

    found = gradients()
    with dg.reference_kernels():
        wanted = gradients()
    for one, two in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("chosen")
def test_a_captured_step_has_its_eager_bits() -> None:
    x = np.random.default_rng(3).normal(size=(130, 100)).astype(np.float32)

    def trained(capture: bool) -> Any:
        dg.manual_seed(3)
        model = nn.Sequential(nn.Linear(100, 97), nn.Tanh(), nn.Linear(97, 101))
        optimizer = dg.optim.SGD(model.parameters(), lr=0.1)

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss = (model(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        run = dg.capture(step) if capture else step
        losses = [run(x).array.copy() for _ in range(3)]
        return [*losses, *[p.array.copy() for p in model.parameters()]]

    for one, two in zip(trained(capture=False), trained(capture=True), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.usefixtures("chosen")
def test_one_that_multiplies_wrongly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn_products, "_is_right", lambda library: False)
    monkeypatch.setattr(onednn, "WRONG", [])
    assert "products on one thread by oneDNN" in kernels.status()
    with pytest.warns(RuntimeWarning, match="computes a wrong matrix product.*DISTGRAD_ONEDNN=0"):
        assert not onednn_products.faster()
    assert "products on one thread by oneDNN" not in kernels.status()
    onednn_products.functions.cache_clear()


def test_the_test_of_it_can_fail() -> None:
    library = onednn_products.functions()
    assert library is not None
    assert onednn_products._is_right(library)
    other = onednn.Library(onednn.installed()[0]).address("dnnl_version")  # does nothing, says 1
    assert not onednn_products._is_right(library._replace(multiply=other))


INTEL, AMD = ("GenuineIntel", 6), ("AuthenticAMD", 26)


@pytest.mark.parametrize(
    ("vendor", "blas_kernels", "variables", "is_chosen"),
    [
        (INTEL, "SkylakeX", {}, True),
        (AMD, "SkylakeX", {}, False),
        (INTEL, "Haswell", {}, False),  # chosen by the user, or no AVX-512
        (INTEL, "", {}, False),  # another BLAS
        (INTEL, "SkylakeX", {"DISTGRAD_ONEDNN": "0"}, False),
        (INTEL, "SkylakeX", {"ONEDNN_MAX_CPU_ISA": "AVX2"}, False),
    ],
)
def test_it_is_chosen_by_cpu_blas_and_variables_and_that_is_in_the_status(
    vendor: Any,
    blas_kernels: str,
    variables: dict[str, str],
    is_chosen: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blas, "cpu", lambda: blas.Cpu(*vendor, frozenset(blas._NEEDED)))
    monkeypatch.setattr(blas, "kernels", lambda: blas_kernels)
    monkeypatch.setattr(onednn, "REFUSED", [])
    monkeypatch.setattr(onednn, "WRONG", [])
    for name in ("DISTGRAD_ONEDNN", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    onednn._suits.cache_clear()
    try:
        assert onednn.multiplies() is is_chosen
        assert ("products on one thread by oneDNN" in kernels.status()) is is_chosen
    finally:
        onednn._suits.cache_clear()


def test_blas_says_its_kernels_and_threads() -> None:
    from threadpoolctl import threadpool_info, threadpool_limits  # noqa: PLC0415

    if not blas.kernels():
        pytest.skip("NumPy has another BLAS than OpenBLAS")
    own = [i for i in threadpool_info() if i.get("internal_api") == "openblas"]
    assert blas.kernels() in {i["architecture"] for i in own}
    for count in (1, 2):
        with threadpool_limits(limits=count, user_api="blas"):
            assert blas.threads() in (1, count)  # a build without threads has one
