"""The product's gradient: zeros, products too small or too large for their dtype, long rows."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor
from distgrad.autograd import grad

pytest.importorskip("numba", reason="numba is not installed: there are no twins")


def slopes(x, axis):
    a = Tensor(x, requires_grad=True)
    return grad(np.sum(np.prod(a, axis=axis)), [a])[0].array


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("zeros", [0, 1, 2])
@pytest.mark.parametrize(
    ("shape", "axis"), [((5003,), 0), ((3, 4099), 1), ((3, 5), 1), ((5, 3, 7), 1), ((4, 4100), 0)]
)
def test_zeros_and_long_rows_have_the_references_gradient(shape, axis, zeros, dtype):
    r = np.random.default_rng(0)
    x = r.uniform(0.9, 1.1, shape).astype(dtype)
    x.reshape(-1)[r.choice(x.size, zeros, replace=False)] = 0
    with dg.reference_kernels():
        expected = slopes(x, axis)
    np.testing.assert_allclose(
        slopes(x, axis), expected, rtol=1e-3 if dtype == np.float32 else 1e-9
    )
    turned = slopes(np.asfortranarray(x), axis)
    np.testing.assert_allclose(turned, expected, rtol=1e-3 if dtype == np.float32 else 1e-9)


# Too small or too large in whatever order they are multiplied, which depends on the processor.
@pytest.mark.parametrize("row", [[1e-30, 1e-20, 3.0], [1e30, 1e20, 3.0, 2.0], [np.nan, 2.0, 3.0]])
def test_a_product_beyond_its_dtype_has_the_gradient_of_the_others_products(row):
    x = np.array([row], np.float32)
    with dg.reference_kernels(), np.errstate(over="ignore"):
        expected = slopes(x, 1)
    np.testing.assert_allclose(slopes(x, 1), expected, rtol=1e-5)
