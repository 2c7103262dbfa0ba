"""Super-resolution with a sub-pixel convolution (pixel shuffle)."""

from math import log10

import torch
import torch.nn as nn
import torch.nn.init as init
import torch.optim as optim
from torch.utils.data import DataLoader, Dataset


class Net(nn.Module):
    def __init__(self, upscale_factor):
        super().__init__()
        self.relu = nn.ReLU()
        self.conv1 = nn.Conv2d(1, 12, (5, 5), (1, 1), (2, 2))
        self.conv2 = nn.Conv2d(12, 12, (3, 3), (1, 1), (1, 1))
        self.conv3 = nn.Conv2d(12, 6, (3, 3), (1, 1), (1, 1))
        self.conv4 = nn.Conv2d(6, upscale_factor**2, (3, 3), (1, 1), (1, 1))
        self.pixel_shuffle = nn.PixelShuffle(upscale_factor)
        self._initialize_weights()

    def forward(self, x):
        x = self.relu(self.conv1(x))
        x = self.relu(self.conv2(x))
        x = self.relu(self.conv3(x))
        x = self.pixel_shuffle(self.conv4(x))
        return x

    def _initialize_weights(self):
        init.orthogonal_(self.conv1.weight, init.calculate_gain("relu"))
        init.orthogonal_(self.conv2.weight, init.calculate_gain("relu"))
        init.orthogonal_(self.conv3.weight, init.calculate_gain("relu"))
        init.orthogonal_(self.conv4.weight)


class Pairs(Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        target = self.images[index]
        return target.unfold(1, 3, 3).unfold(2, 3, 3).mean(dim=(-1, -2)), target


def build():
    return Net(upscale_factor=3)


def data(rng):
    waves = rng.random((12, 1, 24, 24)).cumsum(2).cumsum(3)
    return torch.from_numpy(waves / waves.max()).float()


def train(model, images, steps):
    loader = DataLoader(dataset=Pairs(images), num_workers=0, batch_size=4, shuffle=False)
    criterion = nn.MSELoss()
    optimizer = optim.Adam(model.parameters(), lr=0.001)
    losses = []
    while len(losses) < steps:
        epoch_loss = 0
        for _, batch in enumerate(loader, 1):
            input, target = batch[0].to("cpu"), batch[1].to("cpu")
            optimizer.zero_grad()
            loss = criterion(model(input), target)
            epoch_loss += loss.item()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"===> Epoch complete: average loss {epoch_loss / len(loader):.4f}")
    return losses


def evaluate(model, images):
    avg_psnr = 0
    loader = DataLoader(Pairs(images), batch_size=5, shuffle=False)
    with torch.no_grad():
        for input, target in loader:
            prediction = model(input)
            mse = nn.functional.mse_loss(prediction, target)
            psnr = 10 * log10(1 / mse.item())
            avg_psnr += psnr
        out = model(input)[0].clamp(0, 1).mul(255.0).clip(0, 255).numpy()
    return {"psnr": avg_psnr / len(loader), "image": out}
