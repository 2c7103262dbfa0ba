"""stft, istft and windows: what they refuse, without PyTorch at hand."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor
from distgrad.functions import fft, signal, windows

X = Tensor(np.arange(12.0))
SPECTRUM = Tensor(np.ones((3, 4), complex))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: signal.stft(X, 4), r"say return_complex=True \(or False for two parts\)"),
        (lambda: signal.stft(X, 30, return_complex=True), r"a signal of 12 has no 15 points"),
        (lambda: signal.stft(X, 30, center=False, return_complex=True), r"0 < n_fft ≤ 12"),
        (lambda: signal.stft(X, 4, win_length=5, return_complex=True), r"0 < win_length ≤ n_fft"),
        (lambda: signal.stft(X, 4, window=np.ones(3), return_complex=True), r"window of 4 weights"),
        (
            lambda: signal.stft(X, 4, pad_mode="same", return_complex=True),
            r"pad_modes are constant",
        ),
        (lambda: signal.stft(X, 4, align_to_window=True), r"meaning for center=False alone"),
        (lambda: signal.stft(X + 0j, 4, onesided=True), r"no mirrored half; onesided=False"),
        (lambda: signal.istft(X, 4), r"istft takes complex \(n, frames\)"),
        (lambda: signal.istft(SPECTRUM, 4, hop_length=5), r"leaves points out between windows"),
        (lambda: signal.istft(SPECTRUM, 8, onesided=True), r"5 frequencies for n_fft=8; got 3"),
        (
            lambda: signal.istft(SPECTRUM, 4, window=np.zeros(4)),
            r"the windows leave a point out; use a smaller hop_length",
        ),
        (lambda: windows.general_cosine(3, a=[]), r"a has no coefficients"),
        (lambda: windows.gaussian(3, std=0), r"std is positive; got 0"),
        (lambda: windows.exponential(3, center=1.0), r"center for sym=False"),
        (lambda: windows.hann(-1), r"M ≥ 0 weights; got M=-1"),
        (lambda: fft.rfft(SPECTRUM), r"rfft takes a real signal; got complex128: use fft"),
        (lambda: fft.fft(X, dim=1), r"fft: axis 1 is out of range for 1 axes"),
        (lambda: fft.fft(X, 0), r"fft takes 1 point or more; got n=0"),
        (lambda: fft.hfft(X, norm="half"), r"norm is 'backward', 'forward' or 'ortho'; got 'half'"),
        (lambda: fft.fftn(SPECTRUM, dim=(0, 0)), r"an axis stands twice in \(0, 0\)"),
        (lambda: fft.rfftn(X, dim=()), r"rfftn transforms one axis or more"),
    ],
)
def test_what_does_not_fit_is_named_with_its_cure(call, message):
    with pytest.raises(dg.ShapeError, match=message):
        call()


def test_other_devices_and_whole_numbers_are_refused():
    with pytest.raises(dg.DistgradError, match="there are no GPUs here; leave it out"):
        signal.hann_window(3, device="cuda")
    with pytest.raises(dg.DistgradError, match="there is no GPU to copy to"):
        signal.hann_window(3, pin_memory=True)
    with pytest.raises(dg.DistgradError, match="windows are of real numbers; got dtype int64"):
        windows.hann(3, dtype=np.int64)
    with pytest.raises(dg.DistgradError, match="there are no GPUs here"):
        fft.fftfreq(3, device="cuda:0")


def test_a_signal_comes_back_from_its_transforms():
    w = signal.hann_window(8, dtype=np.float64)
    spectrum = signal.stft(X, 8, window=w, return_complex=True)
    np.testing.assert_allclose(
        signal.istft(spectrum, 8, window=w, length=12).array, X.array, atol=1e-14
    )


def test_whole_numbers_are_transformed_in_single_precision():
    assert fft.fft(Tensor(np.arange(3))).dtype == np.complex64
