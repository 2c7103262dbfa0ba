"""Sequences as signals: 1-D convolutions, FFT, windows, moving averages, cumulative sums."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class Chomp1d(nn.Module):
    def __init__(self, chomp_size):
        super().__init__()
        self.chomp_size = chomp_size

    def forward(self, x):
        return x[:, :, : -self.chomp_size].contiguous()


def build():
    layers = []
    for i in range(2):
        d = 2**i
        conv = nn.Conv1d(1 if i == 0 else 3, 3, 3, padding=2 * d, dilation=d)
        layers += [nn.utils.parametrizations.weight_norm(conv), Chomp1d(2 * d), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveMaxPool1d(4))


def run(rng, tcn):
    t = torch.arange(0, 2, 1 / 16)
    wave = torch.sin(2 * math.pi * 3 * t) + 0.5 * torch.cos(2 * torch.pi * 5 * t)
    wave = wave + 0.01 * torch.from_numpy(rng.standard_normal(32))
    spectrum = torch.fft.rfft(wave)
    freqs = torch.fft.rfftfreq(32, d=1 / 16)
    peak = freqs[spectrum.abs().argmax()]
    power = spectrum.abs() ** 2
    back = torch.fft.irfft(spectrum, n=32)
    low = spectrum.clone()
    low[8:] = 0
    window = torch.hann_window(8)
    smooth = F.conv1d(wave.view(1, 1, -1), torch.ones(1, 1, 5) / 5, padding=2).squeeze()
    stft = torch.stft(wave, n_fft=8, hop_length=4, window=window, return_complex=True)
    frames = wave.unfold(0, 8, 4) * window
    features = tcn(wave.reshape(2, 1, 16))
    features.square().mean().backward()
    grads = [p.grad for p in tcn.parameters()]
    return {
        "fft": [peak, power, back, torch.fft.irfft(low, n=32), torch.angle(spectrum)],
        "window": [window, smooth, frames, stft.abs()],
        "tcn": [features, grads],
        "cumulative": [
            wave.cumsum(0),
            wave.diff(),
            wave.cummax(0).values,
            torch.logcumsumexp(wave, 0),
        ],
        "bins": [torch.histc(wave, bins=5, min=-2, max=2), torch.bucketize(wave, freqs[:4])],
        "special": [torch.erf(wave), torch.lgamma(wave.abs() + 1), wave.sign(), torch.sinc(wave)],
    }
