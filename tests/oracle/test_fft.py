"""Fourier transforms and complex numbers beside PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from oracle import array, broadcastable, check, drawn, dtypes, shapes, torch

import distgrad as dg
from distgrad import ops

OPS = {
    "fft": (np.fft.fft, torch.fft.fft),
    "ifft": (np.fft.ifft, torch.fft.ifft),
    "rfft": (np.fft.rfft, torch.fft.rfft),
    "irfft": (np.fft.irfft, torch.fft.irfft),
    "complex": (ops.complex, torch.complex),
    "real": (np.real, torch.real),
    "imag": (np.imag, torch.imag),
    "conj": (np.conj, torch.conj),
    "angle": (np.angle, torch.angle),
    "frames": (ops.frames, torch.Tensor.unfold),
    "overlap": (ops.overlap, torch.Tensor.index_add),
}
norms = st.sampled_from([None, "backward", "ortho", "forward"])
signals = shapes(1, 3, min_side=1, max_side=5)


def of_complex(function, make):
    """A function of one complex array as one of its two parts."""
    return lambda re, im: function(make(re, im))


@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft"])
@drawn
@given(data=st.data())
def test_transforms_along_an_axis_cut_and_padded(name, data):
    ours, theirs = OPS[name]
    dtype = data.draw(dtypes)
    shape = data.draw(signals)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    least = 2 if name == "irfft" and shape[axis] == 1 else 1
    n = data.draw(st.integers(least, 6) if least == 2 else st.none() | st.integers(1, 6))
    norm = data.draw(norms)
    parts = [data.draw(array(shape, dtype)) for _ in range(2)]

    def mine(x):
        return ours(x, n, axis, norm)

    def other(x):
        return theirs(x, n, axis, norm)

    check(mine, other, parts[:1])
    if name != "rfft":
        check(of_complex(mine, ops.complex), of_complex(other, torch.complex), parts)


SEVERAL = ["fft2", "ifft2", "rfft2", "irfft2", "fftn", "ifftn", "rfftn", "irfftn"]


@pytest.mark.parametrize("name", SEVERAL)
@drawn
@given(data=st.data())
def test_transforms_over_several_axes(name, data):
    ours, theirs = getattr(np.fft, name), getattr(torch.fft, name)
    shape = data.draw(shapes(2, 3, min_side=2, max_side=5))
    axes = data.draw(st.permutations(range(-len(shape), 0)))[:2]
    settings = {"norm": data.draw(norms)}
    if data.draw(st.booleans()):  # otherwise all axes, or the last two
        settings["s"] = data.draw(st.none() | st.tuples(*[st.integers(2, 5)] * 2))
        settings["axes"] = tuple(axes)
    renamed = {{"axes": "dim"}.get(k, k): v for k, v in settings.items()}
    parts = [data.draw(array(shape, dtypes))]
    check(lambda x: ours(x, **settings), lambda x: theirs(x, **renamed), parts)


@drawn
@given(data=st.data())
def test_there_and_back_and_shifted(data):
    a = data.draw(array(shapes(1, 3), dtypes))
    axes = data.draw(st.sampled_from([None, -1, (0,), tuple(range(a.ndim))]))
    for name in ("fftshift", "ifftshift"):
        ours, theirs = getattr(np.fft, name), getattr(torch.fft, name)
        check(lambda x, f=ours: f(x, axes), lambda x, f=theirs: f(x, axes), [a])
    if a.size:
        n = a.shape[-1]
        check(lambda x: np.fft.irfft(np.fft.rfft(x), n), lambda x: x * 1, [a])
        check(lambda x: np.real(np.fft.ifft(np.fft.fft(x))), lambda x: x * 1, [a])


@drawn
@given(data=st.data())
def test_pairs_of_numbers_as_complex_ones_and_back(data):
    a = data.draw(array(shapes(0, 3).map(lambda s: (*s, 2)), dtypes))
    assume(a.size)  # the steps of no elements are not PyTorch's

    def turned(n):
        def back_and_forth(x):
            z = n.view_as_complex(x if n is dg else x.contiguous())
            return n.view_as_real(z * z * (2 - 3j))

        return back_and_forth

    check(turned(dg), turned(torch), [a])


@pytest.mark.parametrize("name", ["real", "imag", "conj", "angle"])
@drawn
@given(data=st.data())
def test_parts_of_complex_numbers(name, data):
    ours, theirs = OPS[name]
    dtype = data.draw(dtypes)
    re, im = (data.draw(array(s, dtype, 0.3, 2.0)) for s in data.draw(broadcastable(2)))
    check(
        of_complex(ours, ops.complex),
        of_complex(theirs, torch_complex),
        [np.negative(re, out=re), im],
    )
    if name != "imag":
        check(ours, lambda x: theirs(x) * 1, [re], second=name != "angle")


def torch_complex(re, im):
    # Times 1, or the gradient to im is a lazily negated tensor, which NumPy cannot read.
    return torch.complex(*torch.broadcast_tensors(re * 1, im * 1))


@drawn
@given(data=st.data())
def test_complex_numbers_from_parts(data):
    dtype = data.draw(dtypes)
    re, im = (data.draw(array(s, dtype)) for s in data.draw(broadcastable(2)))
    check(ops.complex, torch_complex, [re, im])


@drawn
@given(data=st.data())
def test_frames_and_their_sums(data):
    dtype, front = data.draw(dtypes), data.draw(shapes(0, 2, min_side=0, max_side=2))
    size, hop, count = (data.draw(st.integers(1, 4)) for _ in range(3))
    length = hop * (count - 1) + size + data.draw(st.integers(0, hop - 1))
    x = data.draw(array((*front, length), dtype))
    check(lambda a: ops.frames(a, size=size, hop=hop), lambda a: a.unfold(-1, size, hop), [x])
    y = data.draw(array((*front, count, size), dtype))
    places = torch.arange(count)[:, None] * hop + torch.arange(size)

    def theirs(a):
        line = a.new_zeros((*front, length))
        return line.index_add(-1, places.reshape(-1), a.reshape(*front, count * size))

    check(lambda a: ops.overlap(a, hop=hop, length=length), theirs, [y])
