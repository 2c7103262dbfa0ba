"""x Wᵀ of few rows: the same values by both forms, and which shapes take which."""

import numpy as np
import pytest

from distgrad import Tensor, autograd, ops
from distgrad.ops import few_rows

SHAPES = [(2, 1024, 512), (17, 300, 257), (64, 1024, 1024), (128, 784, 1024), (128, 515, 513)]


def _data(m, k, n):
    rng = np.random.default_rng(m)
    x, w, b = rng.normal(size=(m, k)), rng.normal(size=(n, k)), rng.normal(size=n)
    return x.astype(np.float32), w.astype(np.float32), b.astype(np.float32)


@pytest.fixture
def slow_to_copy(monkeypatch):
    monkeypatch.setattr(few_rows, "kernels", lambda: "SkylakeX")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("with_bias", [True, False])
def test_few_rows_give_the_product_in_rows(shape, with_bias, slow_to_copy):
    x, w, b = _data(*shape)
    assert few_rows.turned_is_faster(x, w)
    y = ops.linear(x, w, b if with_bias else None).array
    expected = x.astype(np.float64) @ w.T + (b if with_bias else 0)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-3)
    assert y.flags.c_contiguous


@pytest.mark.parametrize("shape", SHAPES)
def test_on_this_blas_few_rows_have_the_bits_of_the_plain_product(shape):
    x, w, b = _data(*shape)
    if not few_rows.turned_is_faster(x, w):
        pytest.skip("this BLAS takes the plain product")
    assert few_rows.turned(x, w, b).tobytes() == (x @ w.T + b).tobytes()
    assert few_rows.turned(x[::-1], w, b).tobytes() == (x[::-1] @ w.T + b).tobytes()


def test_a_bias_of_another_dtype_promotes_the_result(slow_to_copy):
    x, w, b = _data(64, 1024, 1024)
    y = ops.linear(x, w, b.astype(np.float64)).array
    assert y.dtype == np.float64
    assert y.flags.c_contiguous
    np.testing.assert_array_equal(y, ops.linear(x, w, None).array + b.astype(np.float64))


def test_second_derivatives_are_recorded_whatever_the_form(slow_to_copy):
    x, w, b = (Tensor(a, requires_grad=True) for a in _data(16, 512, 256))
    (gx,) = autograd.grad(ops.linear(x, w, b).sum(), x, create_graph=True)
    (gx * gx).sum().backward()
    expected = np.broadcast_to(2 * 16 * w.array.sum(axis=0), w.shape)
    np.testing.assert_allclose(w.grad.array, expected, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    ("m", "k", "n"), [(1, 2048, 2048), (4, 256, 256), (256, 2048, 2048), (128, 128, 4096)]
)
def test_other_shapes_take_the_plain_product(m, k, n, slow_to_copy):
    x, w, _ = _data(m, k, n)
    assert not few_rows.turned_is_faster(x, w)


def test_other_kinds_of_arrays_take_the_plain_product(slow_to_copy):
    x, w, _ = _data(64, 1024, 1024)
    assert few_rows.turned_is_faster(x, w)
    assert not few_rows.turned_is_faster(x.astype(np.float64), w.astype(np.float64))
    assert not few_rows.turned_is_faster(x, w.T)
    assert not few_rows.turned_is_faster(x, w.astype(np.float64))
