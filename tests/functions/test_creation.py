"""What dtype new tensors have."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg

CREATE = [dg.tensor, dg.as_tensor, dg.asarray]


@pytest.mark.parametrize("create", CREATE)
def test_numpys_numbers_keep_their_precision_in_lists_and_pythons_have_none(create) -> None:
    assert create([1.5, 2, 3]).dtype == np.float32
    assert create([np.ones(3), np.zeros(3)]).dtype == np.float64
    assert create(((1.5, 2), [1, np.float64(2)])).dtype == np.float64
    assert create([np.float32(1), 2.5]).dtype == np.float32
    assert create([[1.5, 1j]]).dtype == create(1j).dtype == np.complex64
    assert create([np.ones(3), 1j * np.ones(3)]).dtype == np.complex128
    assert create([np.ones(3)], dtype=dg.float32).dtype == np.float32


@pytest.mark.parametrize("create", CREATE)
def test_pythons_numbers_take_the_default_dtype(create) -> None:
    dg.set_default_dtype(dg.float64)
    try:
        assert create([1.5, 2]).dtype == np.float64
        assert create(1j).dtype == np.complex128
    finally:
        dg.set_default_dtype(dg.float32)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.complex64])
@pytest.mark.parametrize(
    ("start", "end"), [(0.0, 1.0), (-3, 3.5), (2, 2), (1e308, -1e308), (0, 5e-324), (0, np.inf)]
)
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 50, 20_001])
@pytest.mark.parametrize("mode", [dg.enable_grad, dg.reference_kernels])
def test_linspace_has_numpys_bits(mode, steps, start, end, dtype) -> None:
    expected = np.linspace(start, end, steps, dtype=dtype)
    with mode():
        found = dg.linspace(start, end, steps, dtype=dtype).array
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found.real), np.signbit(expected.real))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("n", [3, 20_001])
@pytest.mark.parametrize("mode", [dg.enable_grad, dg.reference_kernels])
@pytest.mark.parametrize(
    ("start", "step"),
    [(0.0, 1e-3), (0.3, 0.1), (2, 0.7), (-5, 3), (7.5, -2), (1 << 60, 1 << 40), (-0.0, 1.0)],
)
def test_many_steps_have_numpys_bits(start, step, mode, n, dtype) -> None:
    kind = np.dtype(dtype)
    for end in (start + (n - 0.5) * step, start + n * step):
        with mode(), np.errstate(over="ignore", invalid="ignore"):
            found = dg.arange(start, end, step, dtype=dtype).array
            wanted = np.arange(start, end, step).astype(kind)
            np.testing.assert_array_equal(found, wanted, strict=True)
            np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))
            found = dg.range(start, end, step, dtype=dtype).array
            wanted = (start + step * np.arange(len(found))).astype(kind)
            np.testing.assert_array_equal(found, wanted, strict=True)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.bool_, np.complex128])
@pytest.mark.parametrize(("n", "m"), [(0, 0), (3, 0), (0, 3), (1, 1), (3, 5), (5, 3), (4, 4)])
def test_eye_is_numpys(n, m, dtype) -> None:
    made = dg.eye(n, m, dtype=dtype).array
    np.testing.assert_array_equal(made, np.eye(n, m, dtype=dtype))
    assert made.dtype == dtype


@pytest.mark.parametrize("dtype", [None, np.float32, np.int64, np.complex64])
def test_filled_tensors_keep_the_order_of_axes_and_take_any_dtype(dtype) -> None:
    x = dg.Tensor(np.ones((3, 5), np.float32).T)
    for made, number in (
        (dg.zeros_like(x, dtype=dtype), 0),
        (dg.ones_like(x, dtype=dtype), 1),
        (dg.full_like(x, 2.5, dtype=dtype), 2.5),
    ):
        assert made.dtype == np.dtype(dtype or np.float32)
        assert made.array.flags.f_contiguous
        np.testing.assert_array_equal(made.array, np.full((5, 3), number).astype(made.dtype))
    np.testing.assert_array_equal(dg.full((2, 3), 2.5, dtype=dtype).array, made.array[:2])
    assert dg.zeros((2, np.int64(3))).shape == dg.ones([2, 3]).shape == (2, 3)
    with pytest.raises(dg.ShapeError, match="lengths are ≥ 0"):
        dg.zeros((2, -3))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1001])
@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (-3, 2), (2.5, 2.5), (1, -0.1)])
def test_logspace_has_numpys_bits(start, end, count):
    found = dg.logspace(start, end, count, 2.0, dtype=np.float64).array
    np.testing.assert_array_equal(found, np.logspace(start, end, count, base=2.0))
