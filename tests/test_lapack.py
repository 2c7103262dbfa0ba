"""LAPACK's LU from NumPy's own library, and what runs where it is not found."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from distgrad import Tensor, kernels, lapack, linalg, ops
from distgrad.ops import lu_factors


def drawn(shape, dtype):
    r = np.random.default_rng(6)
    x = r.normal(size=shape)
    return (x + 1j * r.normal(size=shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("shape", [(37, 37), (2, 3, 35, 41), (41, 35), (1, 1), (0, 33, 33)])
def test_it_is_gausss_elimination(shape, dtype):
    if not lapack.has_lu(np.dtype(dtype)):
        pytest.skip("NumPy's LAPACK shows no getrf here")
    a = drawn(shape, dtype)
    kept = a.copy()
    y, pivots = lapack.lu(a)
    wanted, exchanged = lu_factors._eliminated(a)
    assert (y.dtype, y.shape) == (wanted.dtype, wanted.shape)
    scale = float(np.abs(wanted).max(initial=0))
    rough = 1e-3 if np.dtype(dtype).char in "fF" else 1e-10
    np.testing.assert_allclose(y, wanted, rtol=0, atol=rough * scale)
    np.testing.assert_array_equal(pivots, exchanged)
    np.testing.assert_array_equal(a, kept)


@pytest.mark.parametrize("found", [True, False])
def test_large_matrices_are_factored_with_and_without_it(found, monkeypatch):
    if not found:
        monkeypatch.setattr(lapack, "_getrf", lambda char: None)
    a = drawn((2, 40, 40), "f8")
    x = Tensor(a, requires_grad=True)
    P, L, U = linalg.lu(x)
    np.testing.assert_allclose((P @ L @ U).array, a, atol=1e-12)
    (L.sum() + (U * U).sum()).backward()
    step = 1e-6 * drawn((2, 40, 40), "f8")[::-1]
    ends = [linalg.lu(a + s * step) for s in (1, -1)]
    up, down = (e[1].sum().item() + (e[2] * e[2]).sum().item() for e in ends)
    np.testing.assert_allclose((x.grad.array * step).sum(), (up - down) / 2, rtol=1e-4)


def test_a_library_that_nobody_finds_has_none(monkeypatch):
    monkeypatch.setattr(lapack.blas, "file", lambda: None)
    assert lapack._getrf.__wrapped__("f") is None
    assert not lapack.has_lu(np.dtype(np.float16))


@pytest.mark.parametrize("whole", [np.int32, np.int64])
def test_how_long_its_whole_numbers_are_is_found_out(whole):
    def getrf(m, n, a, leading, pivots, info):
        kind = ctypes.c_int32 if whole is np.int32 else ctypes.c_int64
        pivots = ctypes.cast(pivots, ctypes.POINTER(kind))
        pivots[0] = pivots[1] = 2
        values = ctypes.cast(a, ctypes.POINTER(ctypes.c_double))
        values[0], values[1], values[2], values[3] = 2, 0.5, 4, 2

    call = lapack._checked(getrf, "d")
    assert call.keywords["whole"] is whole
    assert lapack._checked(lambda *_: None, "d") is None


@pytest.mark.parametrize("shape", [(3, 3), (0, 3, 3), (2, 0, 0), (2, 5, 3), (3, 5), (4, 1)])
def test_the_permutation_of_exchanges_is_the_references(shape):
    pivots = ops.lu_factor(drawn(shape, "f8"))[1].array
    order = lu_factors.permutation_of(pivots, shape[-2])
    twin = kernels.twin("row_order")
    if twin is not None and pivots.size:
        np.testing.assert_array_equal(twin(pivots, shape[-2]), order)
    P = linalg.lu(drawn(shape, "f8")).P.array
    np.testing.assert_array_equal(P, np.swapaxes(np.eye(shape[-2])[order], -1, -2))


def test_singular_and_unknown_numbers_are_as_in_the_reference():
    a = np.ones((3, 4, 4), np.float32)
    a[1] = 0
    a[2] = np.diag([0, 1, 0, 2])
    y, pivots = ops.lu_factor(a)
    wanted, exchanged = lu_factors._eliminated(a)
    np.testing.assert_array_equal(y.array, wanted)
    np.testing.assert_array_equal(pivots.array, exchanged)
    assert linalg.inv_ex(a).info.array.tolist() == [2, 1, 1]
    a[0, 1, 2] = np.nan
    assert np.isnan(ops.lu_factor(a)[0].array[0]).any()
