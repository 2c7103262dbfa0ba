"""Large products by oneDNN and in AMX's tiles: right wherever matrices lie, the same captured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import distgrad as dg
from distgrad import blas, nn, ops
from distgrad.kernels import amx, onednn

pytest.importorskip("numba", reason="numba is not installed: the BLAS multiplies")

from captured import squaring_step
from matrices import FORMS, drawn

from distgrad.kernels import onednn_products, products

SIZES = [  # m, k, n: few rows or columns, parts of tiles, many columns, more than one depth
    *[(2, 700, 901), (901, 700, 2), (3, 1000, 500), (67, 93, 451), (128, 784, 65), (48, 2100, 32)],
    *[(1031, 257, 40), (128, 128, 128), (301, 513, 2085)],
]
ROADS = {"library": "_in_library", "tiles": "_in_parts"}
Product = Callable[[Any, Any], Any]


@pytest.fixture(params=ROADS)
def road(request: pytest.FixtureRequest) -> str:
    if request.param == "library" and not onednn.installed()[1]:
        pytest.skip(f"{onednn.WHEEL} is not installed")
    if request.param == "tiles" and not amx._allowed():
        pytest.skip("this CPU has no tiles (AMX), or the system lends none")
    name: str = request.param
    return name


@pytest.fixture
def multiply(road: str) -> Product:
    """Return what computes a product in this way."""

    def product(a: Any, b: Any) -> Any:
        y = np.full((a.shape[0], b.shape[1]), np.nan, a.dtype)
        getattr(products, ROADS[road])(a, b, y)
        return y

    return product


@pytest.fixture
def chosen(road: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU that it suits, with one thread."""
    monkeypatch.setattr(onednn, "multiplies", lambda: road == "library")
    monkeypatch.setattr(amx, "multiplies", lambda: road == "tiles")
    monkeypatch.setattr(blas, "threads", lambda: 1)
    onednn_products.functions.cache_clear()


@pytest.mark.parametrize(("m", "k", "n"), SIZES)
def test_a_product_is_right(m: int, k: int, n: int, multiply: Product) -> None:
    a, b = drawn(m, k, n)
    scale = np.finfo(np.float32).eps * 4 * k**0.5
    for x in (a, np.ascontiguousarray(a.T).T):
        for y in (b, np.ascontiguousarray(b.T).T):
            found = multiply(x, y)
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
def test_it_is_right_wherever_the_matrices_lie(form: str, multiply: Product) -> None:
    a, b = drawn(67, 93, 45)
    other = {**FORMS, **OVERLAPPING}[form]
    for x, y in ((other(a), b), (a, other(b)), (other(a), other(b))):
        wanted = np.ascontiguousarray(x).astype(np.float64) @ y
        np.testing.assert_allclose(multiply(x, y), wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.usefixtures("chosen")
def test_the_result_is_written_where_it_is_wanted(multiply: Product) -> None:
    a, b = drawn(301, 104, 88)
    wanted = multiply(a, b)
    bucket = np.full(7 + 301 * 88 + 5, 3, np.float32)
    out = bucket[7:-5].reshape(301, 88)
    assert products.product(a, b, out) is out
    np.testing.assert_array_equal(out, wanted)
    assert set(bucket[:7]) == set(bucket[-5:]) == {3}
    wide = np.full((301, 100), 3, np.float32)
    products.product(a, b, wide[:, 5:93])
    np.testing.assert_array_equal(wide[:, 5:93], wanted)
    assert set(wide[:, :5].flat) == set(wide[:, 93:].flat) == {3}
    columns = np.zeros((88, 301), np.float32)
    products.product(a, b, columns.T)  # not a place it can write to: NumPy does
    np.testing.assert_allclose(columns.T, wanted, rtol=1e-4, atol=1e-4)


def test_nan_and_infinity_travel(multiply: Product) -> None:
    a, b = drawn(67, 261, 45)
    a[3, 5], b[7, 9] = np.nan, np.inf
    y = multiply(a, b)
    with np.errstate(invalid="ignore"):
        wanted = a.astype(np.float64) @ b
    np.testing.assert_array_equal(np.isnan(y), np.isnan(wanted))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(wanted))


@pytest.mark.usefixtures("chosen")
def test_large_products_of_float32_are_its_own(road: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    way = getattr(products, ROADS[road])
    monkeypatch.setattr(products, ROADS[road], lambda *x: (calls.append(x[2].shape), way(*x)))
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
@pytest.mark.parametrize(("batch", "width"), [(101, 104), (60, 160)])
def test_recurrent_layers_multiply_with_it(kind: Any, batch: int, width: int) -> None:
    rng = np.random.default_rng(2)
    layer, x = kind(100, width), rng.normal(size=(5, batch, 100)).astype(np.float32)

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
    x = np.random.default_rng(3).normal(size=(260, 100)).astype(np.float32)

    def trained(capture: bool) -> Any:
        dg.manual_seed(3)
        model = nn.Sequential(nn.Linear(100, 197), nn.Tanh(), nn.Linear(197, 101))
        optimizer = dg.optim.SGD(model.parameters(), lr=0.1)
        step = squaring_step(model, optimizer)
        run = dg.capture(step) if capture else step
        losses = [run(x).array.copy() for _ in range(3)]
        return [*losses, *[p.array.copy() for p in model.parameters()]]

    for one, two in zip(trained(capture=False), trained(capture=True), strict=True):
        np.testing.assert_array_equal(one, two)
