"""A Fourier neural operator: complex weights of the lowest modes, einsum, a relative L2 loss."""

import operator
from functools import reduce

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class SpectralConv1d(nn.Module):
    def __init__(self, in_channels, out_channels, modes1):
        super(SpectralConv1d, self).__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.modes1 = modes1  # at most floor(N / 2) + 1
        self.scale = 1 / (in_channels * out_channels)
        dtype = torch.cdouble if torch.get_default_dtype() == torch.float64 else torch.cfloat
        self.weights1 = nn.Parameter(
            self.scale * torch.rand(in_channels, out_channels, self.modes1, dtype=dtype)
        )

    def compl_mul1d(self, input, weights):
        return torch.einsum("bix,iox->box", input, weights)

    def forward(self, x):
        batchsize = x.shape[0]
        x_ft = torch.fft.rfft(x)
        out_ft = torch.zeros(
            batchsize,
            self.out_channels,
            x.size(-1) // 2 + 1,
            device=x.device,
            dtype=self.weights1.dtype,
        )
        out_ft[:, :, : self.modes1] = self.compl_mul1d(x_ft[:, :, : self.modes1], self.weights1)
        return torch.fft.irfft(out_ft, n=x.size(-1))


class FNO1d(nn.Module):
    def __init__(self, modes, width):
        super(FNO1d, self).__init__()
        self.modes1 = modes
        self.width = width
        self.padding = 2
        self.fc0 = nn.Linear(2, self.width)
        self.conv0 = SpectralConv1d(self.width, self.width, self.modes1)
        self.conv1 = SpectralConv1d(self.width, self.width, self.modes1)
        self.w0 = nn.Conv1d(self.width, self.width, 1)
        self.w1 = nn.Conv1d(self.width, self.width, 1)
        self.fc1 = nn.Linear(self.width, 16)
        self.fc2 = nn.Linear(16, 1)

    def forward(self, x):
        grid = self.get_grid(x.shape, x.device)
        x = torch.cat((x, grid.to(x.dtype)), dim=-1)
        x = self.fc0(x)
        x = x.permute(0, 2, 1)
        x = F.pad(x, [0, self.padding])

        x = F.gelu(self.conv0(x) + self.w0(x))
        x = self.conv1(x) + self.w1(x)

        x = x[..., : -self.padding]
        x = x.permute(0, 2, 1)
        x = F.gelu(self.fc1(x))
        return self.fc2(x)

    def get_grid(self, shape, device):
        batchsize, size_x = shape[0], shape[1]
        gridx = torch.tensor(np.linspace(0, 1, size_x), dtype=torch.float)
        return gridx.reshape(1, size_x, 1).repeat([batchsize, 1, 1]).to(device)


class LpLoss(object):
    def __init__(self, d=2, p=2, size_average=True):
        assert d > 0 and p > 0
        self.p = p
        self.size_average = size_average

    def rel(self, x, y):
        num_examples = x.size()[0]
        diff_norms = torch.norm(
            x.reshape(num_examples, -1) - y.reshape(num_examples, -1), self.p, 1
        )
        y_norms = torch.norm(y.reshape(num_examples, -1), self.p, 1)
        return torch.mean(diff_norms / y_norms) if self.size_average else diff_norms / y_norms

    def __call__(self, x, y):
        return self.rel(x, y)


class UnitGaussianNormalizer(object):
    def __init__(self, x, eps=0.00001):
        self.mean = torch.mean(x, 0)
        self.std = torch.std(x, 0)
        self.eps = eps

    def encode(self, x):
        return (x - self.mean) / (self.std + self.eps)

    def decode(self, x):
        return x * (self.std + self.eps) + self.mean


def count_params(model):
    return sum(
        reduce(operator.mul, list(p.size() + (2,) if p.is_complex() else p.size()))
        for p in model.parameters()
    )


def build():
    return FNO1d(6, 8)


def data(rng):
    k = torch.arange(1, 4)
    coefficients = torch.tensor(rng.standard_normal((12, 3)))
    s = torch.linspace(0, 1, 33)[:-1]
    waves = torch.sin(2 * torch.pi * k[:, None] * s[None])
    a = torch.einsum("nk,ks->ns", coefficients.to(waves.dtype), waves)
    u = torch.fft.ifft(torch.fft.fft(a) * torch.exp(-0.02 * torch.fft.fftfreq(32, 1 / 32) ** 2))
    return a.unsqueeze(-1), u.real


def train(model, data, steps):
    x, y = data
    normalizer = UnitGaussianNormalizer(y)
    y = normalizer.encode(y)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, y), batch_size=4, shuffle=False
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.5)
    myloss = LpLoss()
    print(count_params(model), model.conv0.weights1.dtype == x.to(torch.complex64).dtype)
    losses = []

    def train_step(x, y):
        optimizer.zero_grad()
        out = model(x)
        loss = myloss(out.view(len(x), -1), y.view(len(x), -1))
        loss.backward()
        optimizer.step()
        return loss

    while len(losses) < steps:
        model.train()
        for xb, yb in loader:
            losses.append(train_step(xb, yb).item())
        scheduler.step()
    return losses


def evaluate(model, data):
    x, y = data
    model.eval()
    with torch.no_grad():
        coarse = model(x[:, ::2])
        g = torch.view_as_real(model.conv1.weights1)
    return [coarse, g, [tuple(p.shape) for p in model.parameters() if p.is_complex()]]
