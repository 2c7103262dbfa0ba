"""Complex numbers and Fourier transforms: gradients, precision, what is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, ops
from distgrad.autograd import grad, gradcheck

RNG = np.random.default_rng(8)


def parts(function):
    """A function with complex results as one of two real ones."""

    def both(*inputs):
        z = function(*inputs)
        return np.real(z), np.imag(z)

    return both


@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
@pytest.mark.parametrize("n", [None, 2, 3, 5, 6])
@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft"])
def test_transforms_have_gradients_of_both_orders(name, n, norm):
    function = getattr(np.fft, name)
    x, y = RNG.normal(size=(2, 4)), RNG.normal(size=(2, 4))
    gradcheck(parts(lambda a: function(a, n, 1, norm)), [x], second=True)
    if name != "rfft":
        gradcheck(parts(lambda a, b: function(ops.complex(a, b), n, -1, norm)), [x, y], second=True)


@pytest.mark.parametrize("function", [np.conj, np.real, np.imag, np.angle])
def test_parts_have_gradients_of_both_orders(function):
    x, y = RNG.uniform(0.5, 1, size=(2, 3)), RNG.uniform(0.5, 1, size=3)
    gradcheck(parts(lambda a, b: function(ops.complex(a, b))), [-x, y], second=True)
    gradcheck(function, [x], second=True)


@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft", "fft2", "irfftn"])
def test_single_precision_stays_single(name):
    x = Tensor(RNG.normal(size=(3, 4)).astype(np.float32), requires_grad=True)
    y = getattr(np.fft, name)(x)
    assert y.dtype == (np.float32 if "irfft" in name else np.complex64)
    np.real(y).sum().backward()
    assert x.grad.dtype == np.float32
    np.testing.assert_allclose(y.array, getattr(np.fft, name)(x.array), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["fftn", "ifftn", "rfftn", "irfftn", "rfft2", "irfft2"])
@pytest.mark.parametrize("s", [None, (3, 5)])
def test_several_axes_give_numpys_values(name, s):
    x = RNG.normal(size=(3, 4, 5))
    function = getattr(np.fft, name)
    axes = None if s is None and name.endswith("n") else (0, 2)
    expected = function(x, s, axes)
    np.testing.assert_allclose(function(Tensor(x), s, axes).array, expected, rtol=1e-12, atol=1e-13)


def test_a_part_that_is_not_finite_spoils_no_other():
    z = ops.complex(np.array([1.0, np.inf]), np.array([np.inf, 2.0])).array
    assert z.tolist() == [complex(1, np.inf), complex(np.inf, 2)]


def test_the_angle_of_zero_has_gradient_zero():
    z = Tensor(np.array([0j, 2j]), requires_grad=True)
    np.sum(np.angle(z, deg=True)).backward()
    np.testing.assert_allclose(z.grad.array, [0, -90 / np.pi], atol=1e-15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: np.fft.fft(x, norm="orthogonal"), r"fft expects .*norm"),
        (lambda x: np.fft.fft(x, n=0), r"fft expects .*data points \(0\)"),
        (lambda x: np.fft.rfft(ops.complex(x, x)), r"rfft expects"),
        (lambda x: np.fft.fftn(x, s=(2,), axes=(0, 1)), r"fftn got 1 lengths s=\(2,\) for axes"),
        (lambda x: ops.complex(x, ops.complex(x, x)), r"from two real arrays; take np\.real"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(dg.ShapeError, match=message):
        call(Tensor(np.ones((2, 3))))


@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft"])
@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
@pytest.mark.parametrize(
    ("shape", "axis"), [((21, 509), -1), ((64, 5, 3), 0), ((7, 1), 1), ((6,), 0)]
)
def test_single_precision_is_kept_and_rounds_as_such(name, norm, shape, axis):
    function = getattr(np.fft, name)
    real = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    both = (real + 1j * real[::-1]).astype(np.complex64)
    for x in [real] if name == "rfft" else [real, both]:
        for n in (None, max(shape[axis] - 2, 2), shape[axis] + 3):
            if n is None and shape[axis] == 1 and name == "irfft":
                continue  # no point
            wanted = function(
                x.astype(np.complex128 if x.dtype.kind == "c" else float), n, axis, norm
            )
            found = function(Tensor(x), n, axis, norm).array
            assert found.dtype == np.result_type(np.float32, function(x, n, axis, norm).dtype)
            assert found.dtype.itemsize == (4 if name == "irfft" else 8)
            scale = float(np.abs(wanted).max())
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_no_number_goes_to_all_points_of_its_row_alone(name, number):
    x = np.random.default_rng(3).normal(size=(3, 12)).astype(np.float32)
    x[1, 5] = number
    with np.errstate(invalid="ignore"):
        found = getattr(np.fft, name)(Tensor(x)).array
    assert np.isfinite(found[::2]).all()
    assert not np.isfinite(found[1]).any()


@pytest.mark.parametrize("n", [1, 2, 5, 6])
@pytest.mark.parametrize("name", ["fft", "ifft"])
def test_the_transform_of_real_numbers_is_that_of_complex_ones(name, n):
    x = np.random.default_rng(3).normal(size=(2, 4, 3)).astype(np.float32)
    for norm in ("backward", "ortho", "forward"):
        found, wanted = (getattr(np.fft, name)(Tensor(a), n, 1, norm) for a in (x, x + 0j))
        np.testing.assert_allclose(found.array, wanted.array, atol=1e-6)


def test_single_precision_has_the_gradients_of_double():
    x = np.random.default_rng(3).normal(size=(4, 9)).astype(np.float32)
    for function in (np.fft.fft, np.fft.ifft, np.fft.rfft, np.fft.irfft, np.fft.fft2):
        found = []
        for dtype in (np.float32, np.float64):
            a = Tensor(x.astype(dtype), requires_grad=True)
            (np.abs(function(a)) ** 2 * 0.5).sum().backward()
            found.append(a.grad.array)
        np.testing.assert_allclose(found[0], found[1], rtol=2e-5, atol=2e-5)
        assert found[0].dtype == np.float32


@pytest.fixture
def halved(monkeypatch):
    """Small arrays are transformed as large ones: by half of their spectrum."""
    monkeypatch.setattr(sys.modules["distgrad.ops.fft"], "_HALVED_FROM", 1)


NORMS = [None, "backward", "ortho", "forward"]
OVER_AXES = [
    ((6,), None, (0,)),
    ((1, 3), None, (-2, -1)),
    ((3, 1), None, (0, 1)),
    ((4, 5), None, (-1, 0)),
    ((2, 2), (3, 3), (0, 1)),
    ((3, 4, 5), None, None),
    ((3, 4, 5), None, (1, -3)),
    ((3, 4, 5), (2, 7), (-1, 0)),
    ((4, 3, 6), (5, 1, 4), (2, 0, 1)),
    ((2, 3, 4, 3), None, None),
    ((2, 3, 4, 3), (4, None, 2), (-1, 0, 2)),
    ((0, 3, 4), None, (1, 2)),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "s", "axes"), OVER_AXES)
@pytest.mark.parametrize("name", ["fftn", "ifftn"])
def test_half_spectra_give_numpys_values_and_shapes(name, shape, s, axes, dtype, halved):
    function = getattr(np.fft, name)
    x = np.random.default_rng(3).normal(size=shape)
    numpys = s and [x.shape[axis] if n is None else n for n, axis in zip(s, axes, strict=True)]
    for norm in NORMS:
        for a in (x.astype(dtype), np.asfortranarray(x.astype(dtype))):
            found, wanted = function(Tensor(a), s, axes, norm), function(a, numpys, axes, norm)
            assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
            limit = 50 * np.finfo(dtype).eps * np.abs(wanted).max(initial=0)
            np.testing.assert_allclose(found.array, wanted, rtol=0, atol=limit)


@pytest.mark.parametrize("part", [np.real, np.imag, np.abs, lambda z: np.abs(z * (1 + 2j)) ** 2])
@pytest.mark.parametrize(("shape", "s", "axes"), OVER_AXES)
@pytest.mark.parametrize("name", ["fftn", "ifftn"])
def test_half_spectra_have_the_gradients_of_whole_ones(name, shape, s, axes, part, halved):
    function = getattr(np.fft, name)
    values = np.random.default_rng(3).normal(size=shape)
    for norm in NORMS:
        found = []
        for whole in (False, True):
            x = Tensor(values, requires_grad=True)
            y = part(function(ops.complex(x, np.zeros(shape)) if whole else x, s, axes, norm))
            np.sum(y * np.arange(1, 1 + y.size).reshape(y.shape)).backward()
            found.append(x.grad.array)
        np.testing.assert_allclose(*found, rtol=1e-9, atol=1e-9 * np.abs(found).max(initial=0))


@pytest.mark.parametrize("part", [np.real, np.imag, lambda z: np.abs(z) ** 2])
@pytest.mark.parametrize("name", ["fft", "ifft", "fft2", "ifft2", "fftn", "ifftn"])
def test_half_spectra_of_single_precision_have_the_gradients_of_double(name, part, halved):
    values = np.random.default_rng(3).normal(size=(3, 4, 9)).astype(np.float32)
    for norm in NORMS:
        found = []
        for dtype in (np.float32, np.float64):
            x = Tensor(values.astype(dtype), requires_grad=True)
            y = part(getattr(np.fft, name)(x, norm=norm))
            np.sum(y * np.arange(y.size, dtype=dtype).reshape(y.shape)).backward()
            found.append(x.grad.array)
        assert found[0].dtype == np.float32
        np.testing.assert_allclose(*found, rtol=0, atol=1e-5 * np.abs(found[1]).max())


@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
@pytest.mark.parametrize(
    ("shape", "s", "axes"),
    [((3,), (5,), (0,)), ((3, 4), None, (0, 1)), ((2, 3, 3), (3, 2, 4), (2, 0, 1))],
)
@pytest.mark.parametrize("name", ["fftn", "ifftn"])
def test_half_spectra_have_gradients_of_both_orders(name, shape, s, axes, norm, halved):
    function = getattr(np.fft, name)
    x = np.random.default_rng(3).normal(size=shape)
    gradcheck(parts(lambda a: function(a, s, axes, norm)), [x], second=True)
    gradcheck(lambda a: np.abs(function(a, s, axes, norm)) ** 2, [x], second=True)


@pytest.mark.parametrize("conjugated", [False, True])
@pytest.mark.parametrize(("points", "axes"), [(4, (1,)), (5, (0, 1)), (1, (1,)), (2, (0, -1))])
def test_half_spectra_and_whole_ones_have_gradients_of_both_orders(points, axes, conjugated):
    module, rng = sys.modules["distgrad.ops.fft"], np.random.default_rng(3)
    settings = {"axes": axes, "conjugated": conjugated}

    def mirrored(re, im):
        return module.mirrored(ops.complex(re, im), points=points, **settings)

    def hermitian(re, im):
        return module.hermitian(ops.complex(re, im), **settings)

    gradcheck(parts(mirrored), list(rng.normal(size=(2, 3, points // 2 + 1))), second=True)
    gradcheck(parts(hermitian), list(rng.normal(size=(2, 3, points))), second=True)


@pytest.mark.parametrize("name", ["fft2", "ifft2"])
def test_an_axis_that_stands_twice_is_transformed_twice(name, halved):
    x, function = np.random.default_rng(3).normal(size=(3, 4)), getattr(np.fft, name)
    for axes in [(0, 0), (-1, 1), (0, 1, 0)]:
        found, wanted = (function(a, axes=axes) for a in (Tensor(x), x))
        np.testing.assert_allclose(found.array, wanted, atol=1e-13)


@pytest.mark.parametrize("name", ["fft", "ifft", "fft2", "ifft2", "fftn", "ifftn"])
def test_numbers_that_are_not_floats_keep_numpys_bits(name, halved):
    function = getattr(np.fft, name)
    x = np.random.default_rng(3).integers(-9, 9, size=(3, 22, 37))
    for a in (x, x > 0, x + 1j * x[::-1]):
        np.testing.assert_array_equal(function(Tensor(a)).array, function(a))


@pytest.mark.parametrize("function", [np.fft.ifft, np.fft.fft2, np.fft.ifft2])
def test_an_unknown_norm_is_refused_in_any_precision(function, halved):
    for dtype in (np.float32, np.float64, np.complex64):
        with pytest.raises(dg.ShapeError, match=r"expects .*norm"):
            function(Tensor(np.ones((2, 3), dtype)), norm="orthogonal")


@pytest.mark.parametrize("function", [np.fft.fft, np.fft.ifft2, dg.fft.fftn])
def test_a_captured_step_transforms_large_arrays_as_an_eager_one(function):
    def step(x):
        y = function(np.sin(x))
        loss = np.sum(np.real(y * (1 + 2j)) ** 3)
        (g,) = grad(loss, [x], create_graph=True)
        return g, grad(np.sum(g * g), [x])[0]

    captured = dg.capture(step)
    for seed in range(4):
        values = np.random.default_rng(seed).normal(size=(3, 73, 90)).astype(np.float32)
        found, wanted = (f(Tensor(values, requires_grad=True)) for f in (captured, step))
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(a.array, b.array)
