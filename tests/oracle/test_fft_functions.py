"""Windows by PyTorch's older names, frequencies, Hermitian transforms and stft beside PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import check, torch

from distgrad import ops
from distgrad.functions import fft, signal

RNG = np.random.default_rng(12)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 8])
@pytest.mark.parametrize("name", [n for n in signal.__all__ if n.endswith("_window")])
def test_windows(name, length, periodic):
    ours = getattr(signal, name)(length, periodic, dtype=np.float64)
    theirs = getattr(torch, name)(length, periodic, dtype=torch.float64)
    np.testing.assert_allclose(ours.data, theirs.numpy(), atol=1e-12)
    assert getattr(signal, name)(length).dtype == np.float32


def test_settings_of_windows():
    for ours, theirs in (
        (signal.hamming_window(5, True, 0.6, 0.3), torch.hamming_window(5, True, 0.6, 0.3)),
        (signal.kaiser_window(5, False, 3.0), torch.kaiser_window(5, False, 3.0)),
    ):
        np.testing.assert_allclose(ours.data, theirs.numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_frequencies(n):
    for name in ("fftfreq", "rfftfreq"):
        theirs = getattr(torch.fft, name)(n, 0.5)
        np.testing.assert_allclose(getattr(fft, name)(n, 0.5).data, theirs.numpy(), rtol=1e-6)


@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
def test_hermitian_transforms_by_numpys_names(norm):
    x = RNG.normal(size=(2, 5))
    check(lambda a: np.fft.ihfft(a, 6, 1, norm), lambda a: torch.fft.ihfft(a, 6, 1, norm), [x])
    y = RNG.normal(size=(2, 5))
    check(
        lambda a, b: np.fft.hfft(ops.complex(a, b), 6, -1, norm),
        lambda a, b: torch.fft.hfft(torch.complex(a, b), 6, -1, norm),
        [x, y],
    )


@pytest.mark.parametrize("settings", [{}, {"win_length": 6, "normalized": True}, {"center": False}])
@pytest.mark.parametrize("length", [None, 20])
def test_stft_and_back_with_gradients_of_both_orders(settings, length):
    x, w = RNG.normal(size=(2, 24)), RNG.uniform(0.5, 1, settings.get("win_length", 8))

    def there_and_back(module, view):
        def call(a, window):
            spectrum = module.stft(
                a, 8, 2, window=window, return_complex=True, pad_mode="circular", **settings
            )
            back = module.istft(spectrum, 8, 2, window=window, length=length, **settings)
            return view(spectrum), back

        return call

    check(there_and_back(signal, lambda z: z), there_and_back(torch, lambda z: z * 1), [x, w])
