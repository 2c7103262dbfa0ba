"""NumPy's functions on Tensors: NumPy's values, and gradients of both orders."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, ops
from distgrad.autograd import gradcheck

RNG = np.random.default_rng(21)
V, W = RNG.normal(size=5), RNG.normal(size=3)
M, N = RNG.normal(size=(3, 4)), RNG.normal(size=(2, 3))
CUBE = RNG.normal(size=(2, 3, 4))
PLACES = np.array([0.0, 0.5, 2.0, 2.5])
HOLES = np.array([[1.0, np.nan, 3.0, 2.5], [np.nan, -2.0, 0.5, np.nan], [4.0, 1.0, 2.0, 7.0]])
SOME = {"axis": 1}

CASES = [
    # samples
    *[(f"convolve {m}", lambda a, v, m=m: np.convolve(a, v, m), (V, W)) for m in ("full", "same")],
    ("convolve valid", lambda a, v: np.convolve(a, v, "valid"), (V, W)),
    ("convolve a shorter one", lambda a, v: np.convolve(v, a, "same"), (V, RNG.normal(size=4))),
    *[
        (f"correlate {m}", lambda a, v, m=m: np.correlate(a, v, m), (V, W))
        for m in ("full", "same", "valid")
    ],
    *[
        (f"correlate a shorter one {m}", lambda a, v, m=m: np.correlate(v, a, m), (V, W))
        for m in ("full", "same", "valid")
    ],
    ("interp", lambda x, f: np.interp(x, PLACES, f), (np.array([-1.0, 0.2, 1.7, 9.0]), M[0])),
    ("interp ends", lambda f: np.interp([-1.0, 0.2, 3.0], PLACES, f, left=7, right=8), (M[0],)),
    ("interp period", lambda x, f: np.interp(x, PLACES, f, period=3.0), (V * 3, M[0])),
    ("interp places", lambda p: np.interp([0.2, 1.7], p + PLACES, M[0]), (np.zeros(4),)),
    ("gradient", lambda f: tuple(np.gradient(f)), (M,)),
    ("gradient of edges", lambda f: np.gradient(f, 0.5, axis=1, edge_order=2), (M,)),
    ("gradient of places", lambda f, p: np.gradient(f, PLACES + p, axis=1), (M, np.zeros(4))),
    ("gradient of second", lambda f: np.gradient(f, PLACES, axis=-1, edge_order=2), (M,)),
    ("gradient spacings", lambda f: tuple(np.gradient(f, 2.0, PLACES)), (M,)),
    ("gradient of two", lambda f: np.gradient(f, axis=0), (M[:2],)),
    ("unwrap", np.unwrap, (V * 4,)),
    ("unwrap axis", lambda p: np.unwrap(p, axis=0, period=3), (M * 4,)),
    ("ediff1d", lambda a: np.ediff1d(a, to_begin=1.0, to_end=[2.0, 3.0]), (M,)),
    # polynomials
    ("polyval", np.polyval, (W, M)),
    ("polyadd", np.polyadd, (V, W)),
    ("polysub", np.polysub, (W, V)),
    ("polymul", np.polymul, (V, W)),
    ("polyder", lambda p: np.polyder(p, 2), (V,)),
    ("polyint", lambda p: np.polyint(p, 2, [3.0, 1.0]), (V,)),
    ("poly", np.poly, (W,)),
    ("poly of a matrix", lambda a: np.real(np.poly(a)), (M[:, :3] + 3 * np.eye(3),)),
    ("roots", lambda p: np.sort(np.abs(np.roots(np.pad(p, 1)))), (np.array([1.0, -6, 11, -6]),)),
    ("polyfit", lambda x, y: np.polyfit(x, y, 2), (np.arange(5.0), V)),
    ("polyfit weights", lambda y: np.polyfit(np.arange(5.0), y, 1, w=[1, 2, 1, 1, 3.0]), (V,)),
    ("vander", np.vander, (W,)),
    ("vander up", lambda x: np.vander(x, 4, increasing=True), (W,)),
    # NaN left out
    *[
        (f"{f.__name__} {s}", lambda a, f=f, s=s: f(a, **s), (HOLES,))
        for f in (np.nanmax, np.nanmin, np.nanprod, np.nanvar, np.nanstd, np.nanmedian, np.nansum)
        for s in ({}, {"axis": 1}, {"axis": (0, 1), "keepdims": True})
    ],
    ("nanvar ddof", lambda a: np.nanvar(a, axis=1, ddof=1), (HOLES,)),
    ("nanquantile", lambda a: np.nanquantile(a, [0.0, 0.3, 1.0], axis=1), (HOLES,)),
    ("nanpercentile", lambda a: np.nanpercentile(a, 30, axis=0, keepdims=True), (HOLES,)),
    ("nancumsum", lambda a: np.nancumsum(a, axis=1), (HOLES,)),
    ("nancumprod", lambda a: np.nancumprod(a, axis=0), (HOLES,)),
    # covariances
    ("cov", np.cov, (M,)),
    ("cov of a row", np.cov, (V,)),
    ("cov of columns", lambda m, y: np.cov(m, y, rowvar=False, ddof=0), (M, M + 1.5)),
    ("cov weights", lambda m: np.cov(m, fweights=[1, 2, 0, 3], aweights=[1, 2, 1, 0.5]), (M,)),
    ("cov biased", lambda m: np.cov(m, bias=True), (M,)),
    ("corrcoef", np.corrcoef, (M,)),
    ("corrcoef of two", np.corrcoef, (V, V**2)),
    # elements in other places
    ("rollaxis", lambda a: np.rollaxis(a, 2), (CUBE,)),
    ("rollaxis to the end", lambda a: np.rollaxis(a, 0, 3), (CUBE,)),
    ("rollaxis from behind", lambda a: np.rollaxis(a, -1, -2), (CUBE,)),
    ("block", lambda a, b: np.block([[a, b], [np.ones((1, 5))]]), (N, N[:, :2])),
    ("insert", lambda a, v: np.insert(a, 1, v, axis=1), (M, W)),
    ("insert several", lambda a: np.insert(a, [0, 2, 2], [7.0, 8.0, 9.0]), (M,)),
    ("resize", lambda a: np.resize(a, (3, 7)), (M,)),
    ("trim_zeros", lambda a: np.trim_zeros(np.pad(a, 2)), (W,)),
    ("trim_zeros front", lambda a: np.trim_zeros(np.pad(a, 2), "f"), (W,)),
    ("choose", lambda a, b: np.choose([[0, 1, 0], [1, 1, 0]], [a, b]), (N, W)),
    ("piecewise", lambda x: np.piecewise(x, [x < 0, x > 1], [np.exp, 3.0, np.sin]), (M,)),
    ("apply_along_axis", lambda a: np.apply_along_axis(np.cumsum, 1, a), (CUBE,)),
    ("apply_along_axis to numbers", lambda a: np.apply_along_axis(np.sum, 0, a), (CUBE,)),
    (
        "apply_along_axis to matrices",
        lambda a: np.apply_along_axis(lambda r: np.outer(r, r), 1, a),
        (CUBE,),
    ),
    ("apply_over_axes", lambda a: np.apply_over_axes(np.sum, a, [0, 2]), (CUBE,)),
    # ranges and parts
    ("linspace", lambda a, b: np.linspace(a, b, 4), (W, W + 2)),
    ("linspace open", lambda a: np.linspace(a, 3.0, 4, endpoint=False, axis=-1), (W,)),
    ("linspace and step", lambda a: tuple(np.linspace(a, 3.0, 4, retstep=True)), (W,)),
    ("logspace", lambda a: np.logspace(a, 2.0, 4, base=2.0), (W,)),
    ("geomspace", lambda a, b: np.geomspace(a, b, 4), (np.abs(W) + 1, np.abs(W) + 9)),
    ("geomspace below 0", lambda a: np.geomspace(a, -8.0, 3), (np.array(-2.0),)),
    ("cumulative_sum", lambda a: np.cumulative_sum(a, axis=1, include_initial=True), (M,)),
    ("cumulative_prod", lambda a: np.cumulative_prod(a, include_initial=True), (V,)),
    ("i0", np.i0, (M,)),
    ("divmod", lambda a: tuple(np.divmod(a, 0.7)), (M,)),
    ("modf", lambda a: tuple(np.modf(a)), (M * 3,)),
    ("frexp", lambda a: np.frexp(a)[0], (M * 3,)),
    ("ldexp", lambda a: np.ldexp(a, [1, 2, 0, -1]), (M,)),
    ("float_power", np.float_power, (np.abs(M) + 0.5, M)),
    ("real_if_close", np.real_if_close, (M,)),
    ("logaddexp.reduce", lambda a: np.logaddexp.reduce(a, axis=1), (M,)),
    ("logaddexp2.reduce", np.logaddexp2.reduce, (M,)),
]


def as_arrays(found):
    return [np.asarray(x) for x in (found if isinstance(found, tuple | list) else [found])]


@pytest.mark.parametrize(("function", "inputs"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_values_are_numpys_and_gradients_of_both_orders_exact(function, inputs):
    found = as_arrays(function(*map(Tensor, inputs)))
    expected = as_arrays(function(*inputs))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    there = [np.where(np.isnan(x), 0, x) for x in inputs]
    masks = [np.isnan(x) for x in inputs]

    def of_what_is_there(*xs):
        return function(*[np.where(m, np.nan, x) for m, x in zip(masks, xs, strict=True)])

    gradcheck(of_what_is_there, there, second=True)


@pytest.mark.parametrize("name", ["nanmax", "nanmin", "nanvar", "nanmedian"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_of_nothing_but_nan_the_result_is_nan(name):
    x = np.array([[np.nan, np.nan], [1.0, 2.0]])
    found = getattr(np, name)(Tensor(x), axis=1).array
    np.testing.assert_allclose(found, getattr(np, name)(x, axis=1))


def test_the_deviation_of_equal_elements_has_gradient_zero():
    x = Tensor(np.array([2.0, np.nan, 2.0]), requires_grad=True)
    np.nanstd(x).backward()
    assert x.grad.array.tolist() == [0, 0, 0]


def test_the_real_part_alone_is_left_of_numbers_that_are_close_to_real():
    z = ops.complex(Tensor(np.ones(2), requires_grad=True), np.full(2, 1e-15))
    assert np.real_if_close(z).dtype == np.float64
    assert np.real_if_close(z * 1j).dtype == np.complex128


def test_complex_convolutions_are_numpys():
    a, v = V + 1j * V[::-1], W - 2j * W
    for mode in ("full", "same", "valid"):
        for function in (np.convolve, np.correlate):
            for x, y in ((a, v), (v, a)):
                found = function(Tensor(x), Tensor(y), mode).array
                np.testing.assert_allclose(found, function(x, y, mode))


def test_functions_without_a_gradient_take_tensors():
    x = Tensor(np.array([3.0, 1.0, 1.0]), requires_grad=True)
    assert np.histogram(x, 2)[0].tolist() == [2, 1]
    assert np.lexsort((x, x)).tolist() == [1, 2, 0]
    assert np.array_str(x) == "[3. 1. 1.]"
    assert np.gcd(Tensor(np.array([4, 6])), 2).tolist() == [2, 2]
    assert np.asarray(np.tril_indices_from(Tensor(np.eye(2)))).tolist() == [[0, 1, 1], [0, 0, 1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: np.convolve(Tensor(M), V), r"two rows of samples; got shapes \(3, 4\) and \(5,\)"),
        (lambda: np.convolve(Tensor(V), V, "half"), r"'full', 'same' and 'valid'; got 'half'"),
        (lambda: np.interp(0.0, Tensor(V), W), r"rows of one length; got \(5,\), \(3,\)"),
        (lambda: np.gradient(Tensor(V[:1])), r"axis 0 of shape \(1,\) has no 2 samples"),
        (lambda: np.gradient(Tensor(V), W), r"5 places along axis 0; got spacing of shape \(3,\)"),
        (
            lambda: np.gradient(Tensor(M), 1, 2, 3),
            r"each of 2 axes, edge_order 1 or 2; got 3 and 1",
        ),
        (lambda: np.nanquantile(Tensor(V), 2), r"q lies in \[0, 1\].*got 2"),
        (lambda: np.nanquantile(Tensor(V), 0.5, method="lower"), r"method='linear' alone"),
        (lambda: np.nanmax(Tensor(V), initial=3), r"np\.nanmax on a Tensor does not take initial"),
        (lambda: np.cov(Tensor(CUBE)), r"one variable or a matrix of them; got shape \(2, 3, 4\)"),
        (lambda: np.cov(Tensor(M), fweights=[0.5] * 4), r"fweights are whole numbers ≥ 0, one for"),
        (lambda: np.rollaxis(Tensor(CUBE), 1, 5), r"start=5 is not in 0\.\.3"),
        (lambda: np.trim_zeros(Tensor(M)), r"trim_zeros takes a row"),
        (
            lambda: np.piecewise(Tensor(V), [V > 0], [1, 2, 3]),
            r"1 conditions for 3",
        ),
        (lambda: np.geomspace(Tensor(W), -W), r"both ends are positive, or both negative"),
        (lambda: np.linspace(Tensor(W), 1, -1), r"num is 0 or more; got -1"),
        (lambda: np.cumulative_sum(Tensor(M)), r"say axis= for a tensor of shape \(3, 4\)"),
        (lambda: ops.hstack(()), r"no arrays to join"),
        (lambda: ops.stack([]), r"no arrays to join"),
        (lambda: ops.vstack([]), r"no arrays to join"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(dg.ShapeError, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda t: np.array([t, t]),
        lambda t: np.r_[t, t],
        lambda t: np.c_[t, t],
        lambda t: np.asarray([t[0], 1.0]),
    ],
)
def test_arrays_made_of_tensors_say_how_they_are_joined(call):
    with pytest.raises(dg.GradError, match=r"np\.stack or np\.concatenate for np\.array"):
        call(Tensor(W, requires_grad=True))
