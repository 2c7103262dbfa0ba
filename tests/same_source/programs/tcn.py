"""Forecasts by a temporal convolution network (chomps, weight norm, dilations) and by N-BEATS."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.data import DataLoader, Dataset, Subset

VARIANTS = ["tcn", "nbeats"]


class Chomp1d(nn.Module):
    def __init__(self, chomp_size):
        super(Chomp1d, self).__init__()
        self.chomp_size = chomp_size

    def forward(self, x):
        return x[:, :, : -self.chomp_size].contiguous()


class TemporalBlock(nn.Module):
    def __init__(self, n_inputs, n_outputs, kernel_size, stride, dilation, padding, dropout=0.0):
        super(TemporalBlock, self).__init__()
        conv = lambda n: weight_norm(  # noqa: E731
            nn.Conv1d(n, n_outputs, kernel_size, stride=stride, padding=padding, dilation=dilation)
        )
        self.net = nn.Sequential(
            conv(n_inputs), Chomp1d(padding), nn.ReLU(), nn.Dropout(dropout),
            conv(n_outputs), Chomp1d(padding), nn.ReLU(), nn.Dropout(dropout),
        )  # fmt: skip
        self.downsample = nn.Conv1d(n_inputs, n_outputs, 1) if n_inputs != n_outputs else None
        self.relu = nn.ReLU()
        self.init_weights()

    def init_weights(self):
        for m in self.net:
            if isinstance(m, nn.Conv1d):
                m.weight.data.normal_(0, 0.01)
        if self.downsample is not None:
            self.downsample.weight.data.normal_(0, 0.01)

    def forward(self, x):
        out = self.net(x)
        res = x if self.downsample is None else self.downsample(x)
        return self.relu(out + res)


class TCN(nn.Module):
    def __init__(self, num_inputs=1, num_channels=(8, 8, 8), kernel_size=3):
        super(TCN, self).__init__()
        layers = []
        for i in range(len(num_channels)):
            dilation_size = 2**i
            in_channels = num_inputs if i == 0 else num_channels[i - 1]
            layers += [
                TemporalBlock(
                    in_channels,
                    num_channels[i],
                    kernel_size,
                    stride=1,
                    dilation=dilation_size,
                    padding=(kernel_size - 1) * dilation_size,
                )
            ]
        self.network = nn.Sequential(*layers)
        self.linear = nn.Linear(num_channels[-1], 4)

    def forward(self, inputs):
        y = self.network(inputs.unsqueeze(1))
        return self.linear(y[:, :, -4:].transpose(1, 2)).diagonal(dim1=1, dim2=2)


class NBeatsBlock(nn.Module):
    def __init__(self, backcast_length, forecast_length, basis, units=16):
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(backcast_length, units), nn.ReLU(), nn.Linear(units, units)
        )
        self.fc.append(nn.ReLU())
        back = torch.linspace(-1, 1, backcast_length)
        fore = torch.linspace(1, 1.5, forecast_length)
        if basis == "trend":
            p = torch.arange(3)
            T = [torch.stack([t**i for i in p], dim=0) for t in (back, fore)]
        else:
            k = torch.arange(1, 4)[:, None] * torch.pi
            T = [torch.cat([torch.cos(k * t), torch.sin(k * t)]) for t in (back, fore)]
        self.register_buffer("backcast_basis", T[0])
        self.register_buffer("forecast_basis", T[1])
        self.theta = nn.Linear(units, T[0].size(0) * 2, bias=False)

    def forward(self, x):
        theta_b, theta_f = torch.chunk(self.theta(self.fc(x)), 2, dim=-1)
        return theta_b.mm(self.backcast_basis), theta_f.mm(self.forecast_basis)


class NBeats(nn.Module):
    def __init__(self, stacks=("trend", "seasonality")):
        super().__init__()
        self.stacks = nn.ModuleDict(
            {name: nn.ModuleList(NBeatsBlock(12, 4, name) for _ in range(2)) for name in stacks}
        )
        self.to(torch.get_default_dtype())

    def forward(self, backcast):
        forecast = torch.zeros(size=(backcast.size(0), 4), dtype=backcast.dtype)
        for name, blocks in self.stacks.items():
            for block in blocks:
                b, f = block(backcast)
                backcast = backcast.to(b.device) - b
                forecast = forecast + f
        return forecast


class Windows(Dataset):
    def __init__(self, series, backcast, horizon):
        self.windows = series.unfold(0, backcast + horizon, 1)
        self.backcast = backcast

    def __len__(self):
        return self.windows.shape[0]

    def __getitem__(self, i):
        w = self.windows[i]
        return w[: self.backcast], w[self.backcast :]


def build(variant):
    return TCN() if variant == "tcn" else NBeats()


def data(rng):
    t = torch.arange(60)
    noise = 0.1 * torch.from_numpy(rng.standard_normal(60))
    return (torch.sin(t / 3) + t / 40 + noise,)


def smape(forecast, target):
    return 200 * (torch.abs(forecast - target) / (forecast.abs() + target.abs()).detach()).mean()


def train(model, data, steps):
    dataset = Windows(data[0], 12, 4)
    train_set = Subset(dataset, range(len(dataset) - 5))
    loader = DataLoader(train_set, batch_size=16, shuffle=False, drop_last=True)
    optimizer = torch.optim.Adam(params=model.parameters(), lr=4e-3)
    scheduler = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        schedulers=[
            torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=5),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=25),
        ],
        milestones=[5],
    )
    losses = []

    def train_step(x, y):
        optimizer.zero_grad()
        output = model(x)
        loss = F.mse_loss(output, y) + 0.001 * smape(output, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    epoch = 0
    while len(losses) < steps:
        for batch_idx, (x, y) in enumerate(loader):
            losses.append(train_step(x, y).item())
            scheduler.step()
        if epoch % 5 == 0:
            cur_loss = sum(losses[-2:]) / 2
            print(
                f"| epoch {epoch:3d} | lr {scheduler.get_last_lr()[0]:2.5f} | loss {cur_loss:.4f}"
            )
        epoch += 1
    return losses


def evaluate(model, data):
    model.eval()
    dataset = Windows(data[0], 12, 4)
    with torch.no_grad():
        x, y = dataset[len(dataset) - 1]
        forecast = model(x[None])
    return [forecast, smape(forecast, y), dataset.windows.shape]
