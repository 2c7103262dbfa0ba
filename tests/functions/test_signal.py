"""stft, istft and windows: what they refuse, without PyTorch at hand."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor
from distgrad.functions import counting, fft, signal, windows

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


SIZES = [0, 1, 2, 3, 4, 7, 64, 101, 40_001]  # of the last a half fills several blocks


@pytest.mark.parametrize("sym", [True, False])
@pytest.mark.parametrize("M", SIZES)
def test_windows_are_their_formulas_and_their_own_mirror_images(M, sym):
    N = M - 1 if sym else M
    n = np.arange(M)
    turn = 2 * np.pi * n / max(N, 1)
    one = np.ones(1)
    formulas = {
        windows.hann: 0.5 - 0.5 * np.cos(turn) if M != 1 else one,
        windows.hamming: 0.54 - 0.46 * np.cos(turn) if M != 1 else one,
        windows.blackman: 0.42 - 0.5 * np.cos(turn) + 0.08 * np.cos(2 * turn) if M != 1 else one,
        windows.bartlett: 1 - np.abs(2 * n / max(N, 1) - 1) if M != 1 else one,
        windows.cosine: np.sin(np.pi * (n + 0.5) / (N + 1)) if M != 1 else one,
        windows.gaussian: np.exp(-((n - N / 2) ** 2) / 2) if M != 1 else one,
        windows.exponential: np.exp(-np.abs(n - N / 2)) if M != 1 else one,
        windows.kaiser: np.kaiser(N + 1, 12.0)[:M] if M != 1 else one,
    }
    for window, expected in formulas.items():
        w = window(M, sym=sym, dtype=np.float64).array
        np.testing.assert_allclose(w, expected, atol=4e-15, err_msg=window.__name__)
        whole = w if sym else np.append(w, w[:1])
        np.testing.assert_array_equal(whole, whole[::-1], err_msg=window.__name__)


@pytest.mark.parametrize("count", [1, 2, 3, 33, 512, 513, 1024, 1025, 5001])
@pytest.mark.parametrize("a", [[0.5], [0.5, -0.5], [0.42, -0.5, 0.08], [0.3, 0.4, -0.2, 0.1]])
@pytest.mark.parametrize("phase", [0.0, 0.3])
def test_waves_are_sums_of_cosines_however_many_there_are(count, a, phase):
    angle = 0.01 * np.arange(count) + phase
    expected = sum(c * np.cos(i * angle) for i, c in enumerate(a))
    found = counting.waves(count, a, 0.01, phase)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
    assert found.shape == (count,)


def test_waves_of_more_numbers_than_are_kept(monkeypatch):
    few = counting.waves(5001, [0.5, -0.5], 0.01)
    monkeypatch.setattr(counting, "MANY", 4)
    np.testing.assert_array_equal(counting.waves(5001, [0.5, -0.5], 0.01), few)
    np.testing.assert_array_equal(counting.spaced(0, 1, 99), np.linspace(0, 1, 99))


def test_windows_are_new_arrays_each_time():
    first = signal.kaiser_window(8)
    first.array[...] = 7
    assert signal.kaiser_window(8).array.max() == 1


def test_an_exponential_window_may_have_its_center_anywhere():
    w = windows.exponential(5, center=1.5, tau=2.0, sym=False, dtype=np.float64)
    np.testing.assert_allclose(w.array, np.exp(-np.abs(np.arange(5) - 1.5) / 2), atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64])
@pytest.mark.parametrize("d", [1.0, -0.3])
@pytest.mark.parametrize("n", [1, 2, 3, 8, 9, 9999, 40_000])
def test_frequencies_have_numpys_bits(n, d, dtype):
    for ours, numpys in ((fft.fftfreq, np.fft.fftfreq), (fft.rfftfreq, np.fft.rfftfreq)):
        np.testing.assert_array_equal(ours(n, d, dtype=dtype).array, numpys(n, d).astype(dtype))


@pytest.mark.parametrize("mode", [dg.enable_grad, dg.reference_kernels])
@pytest.mark.parametrize("beta", [0.0, 0.5, 12.0, 300.0])
def test_a_kaiser_window_is_1_in_its_middle(mode, beta):
    with mode():
        assert dg.kaiser_window(64, beta=beta, dtype=np.float64)[32].item() == 1
