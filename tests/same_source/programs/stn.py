"""A spatial transformer over digits with capsules behind it: affine_grid, grid_sample, routing."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset, random_split


def squash(inputs, axis=-1):
    norm = torch.norm(inputs, p=2, dim=axis, keepdim=True)
    scale = norm**2 / (1 + norm**2) / (norm + 1e-8)
    return scale * inputs


class DenseCapsule(nn.Module):
    def __init__(self, in_num_caps, in_dim_caps, out_num_caps, out_dim_caps, routings=3):
        super(DenseCapsule, self).__init__()
        self.out_num_caps, self.routings = out_num_caps, routings
        self.weight = nn.Parameter(
            0.1 * torch.randn(out_num_caps, in_num_caps, out_dim_caps, in_dim_caps)
        )

    def forward(self, x):
        x_hat = torch.squeeze(torch.matmul(self.weight, x[:, None, :, :, None]), dim=-1)
        x_hat_detached = x_hat.detach()
        b = torch.zeros(
            x.size(0), self.out_num_caps, x.size(1), device=x.device, requires_grad=False
        )
        for i in range(self.routings):
            c = F.softmax(b, dim=1)
            if i == self.routings - 1:
                outputs = squash(torch.sum(c[:, :, :, None] * x_hat, dim=-2, keepdim=True))
            else:
                outputs = squash(torch.sum(c[:, :, :, None] * x_hat_detached, dim=-2, keepdim=True))
                b = b + torch.sum(outputs * x_hat_detached, dim=-1)
        return torch.squeeze(outputs, dim=-2)


class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.localization = nn.Sequential(
            nn.Conv2d(1, 4, kernel_size=3),
            nn.MaxPool2d(2, stride=2),
            nn.ReLU(True),
            nn.Conv2d(4, 5, kernel_size=3),
            nn.ReLU(True),
        )
        self.fc_loc = nn.Sequential(nn.Linear(5 * 3 * 3, 16), nn.ReLU(True), nn.Linear(16, 3 * 2))
        self.fc_loc[2].weight.data.zero_()
        self.fc_loc[2].bias.data.copy_(
            torch.tensor([0.9, 0, 0.03, 0, 1.1, -0.05], dtype=torch.float)
        )
        self.primary = nn.Conv2d(1, 8, kernel_size=3, stride=2)
        self.digits = DenseCapsule(25 * 2, 4, 3, 6)
        self.decoder = nn.Sequential(
            nn.Linear(3 * 6, 32), nn.ELU(), nn.Linear(32, 144), nn.Sigmoid()
        )

    def stn(self, x):
        xs = self.localization(x)
        xs = xs.view(-1, 5 * 3 * 3)
        theta = self.fc_loc(xs)
        theta = theta.view(-1, 2, 3)
        grid = F.affine_grid(theta, x.size(), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)

    def forward(self, x, y=None):
        x = self.stn(x)
        x = self.primary(x)
        caps = squash(x.view(x.size(0), -1, 4))
        x = self.digits(caps)
        length = x.norm(dim=-1)
        if y is None:
            index = length.max(dim=1)[1]
            y = torch.zeros(length.size()).scatter_(1, index.view(-1, 1).cpu().data, 1.0)
        reconstruction = self.decoder((x * y[:, :, None]).view(x.size(0), -1))
        return length, reconstruction.view(-1, *(1, 12, 12))


def caps_loss(y_true, y_pred, x, x_recon, lam_recon):
    L = (
        y_true * torch.clamp(0.9 - y_pred, min=0.0) ** 2
        + 0.5 * (1 - y_true) * torch.clamp(y_pred - 0.1, min=0.0) ** 2
    )
    return L.sum(dim=1).mean() + lam_recon * nn.MSELoss()(x_recon, x)


class Blobs(Dataset):
    def __init__(self, x, y, transform=None):
        self.x, self.y, self.transform = x, y, transform

    def __len__(self):
        return len(self.y)

    def __getitem__(self, index):
        x = self.x[index]
        return self.transform(x) if self.transform else x, int(self.y[index])


def build():
    return Net()


def data(rng):
    yy, xx = np.mgrid[:12, :12]
    labels = rng.integers(0, 3, 24)
    centres = rng.uniform(3, 8, (24, 2, 1, 1))
    kinds = np.stack([yy + 0 * xx, xx + 0 * yy, yy + xx])[labels]
    images = np.sin(kinds) * np.exp(-((yy - centres[:, 0]) ** 2 + (xx - centres[:, 1]) ** 2) / 9)
    return torch.tensor(images[:, None]), torch.tensor(labels)


def train(model, data, steps):
    dataset = Blobs(*data, transform=lambda t: t.sub(0.05).div(0.3))
    first, second = random_split(dataset, [18, 6], generator=torch.Generator().manual_seed(0))
    assert (len(first), len(second), len(set(first.indices) | set(second.indices))) == (18, 6, 24)
    loader = DataLoader(dataset, batch_size=8, num_workers=0, pin_memory=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.95)
    losses = []

    def train_step(x, y):
        y = torch.zeros(y.size(0), 3).scatter_(1, y.view(-1, 1), 1.0)
        optimizer.zero_grad()
        y_pred, x_recon = model(x, y)
        loss = caps_loss(y, y_pred, x, x_recon, 0.5)
        loss.backward()
        optimizer.step()
        return loss

    while len(losses) < steps:
        for x, y in loader:
            losses.append(train_step(x, y).item())
        scheduler.step()
    return losses


def evaluate(model, data):
    model.eval()
    with torch.no_grad():
        length, reconstruction = model(data[0])
        warped = model.stn(data[0][:3])
        correct = torch.max(length, 1)[1].eq(data[1]).cpu().sum()
    return [length, reconstruction[:2], warped, correct]
