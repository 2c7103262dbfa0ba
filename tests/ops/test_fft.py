"""Complex numbers and Fourier transforms: gradients, precision, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, ops
from distgrad.autograd import gradcheck

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
@pytest.mark.parametrize("shape", [(521, 509), (3, 4100, 30), (3, 100_003), (521, 1, 512)])
def test_many_rows_have_numpys_bits(name, norm, shape):
    function = getattr(np.fft, name)
    real = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    both = np.empty(shape, np.complex64)
    both.real, both.imag = real, real[::-1]
    for x in [real] if name == "rfft" else [real, both]:
        x[0, 0], x[-1, -1] = np.nan, np.inf
        for n in (None, shape[-1] - 2, shape[-1] + 3):
            with np.errstate(invalid="ignore"):
                wanted = function(x, n, -1, norm)
                found = function(Tensor(x), n, -1, norm).array
            assert found.dtype == wanted.dtype
            assert found.shape == wanted.shape
            assert found.tobytes() == wanted.tobytes()
