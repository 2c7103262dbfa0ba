"""Two LSTM cells continue a sine wave, trained with LBFGS on the whole set."""

import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim

VARIANTS = [None, "strong_wolfe"]


class Sequence(nn.Module):
    def __init__(self, line_search):
        super().__init__()
        self.lstm1 = nn.LSTMCell(1, 7)
        self.lstm2 = nn.LSTMCell(7, 7)
        self.linear = nn.Linear(7, 1)
        self.line_search = line_search

    def forward(self, input, future=0):
        outputs = []
        h_t = torch.zeros(input.size(0), 7, dtype=input.dtype)
        c_t = torch.zeros(input.size(0), 7, dtype=input.dtype)
        h_t2 = torch.zeros(input.size(0), 7, dtype=input.dtype)
        c_t2 = torch.zeros(input.size(0), 7, dtype=input.dtype)
        for input_t in input.split(1, dim=1):
            h_t, c_t = self.lstm1(input_t, (h_t, c_t))
            h_t2, c_t2 = self.lstm2(h_t, (h_t2, c_t2))
            output = self.linear(h_t2)
            outputs += [output]
        for _ in range(future):
            h_t, c_t = self.lstm1(output, (h_t, c_t))
            h_t2, c_t2 = self.lstm2(h_t, (h_t2, c_t2))
            output = self.linear(h_t2)
            outputs += [output]
        outputs = torch.cat(outputs, dim=1)
        return outputs


def build(variant):
    return Sequence(variant)


def data(rng):
    x = np.arange(20) + rng.integers(-40, 40, 8).reshape(8, 1)
    return torch.from_numpy(np.sin(x / 3.0))


def train(seq, wave, steps):
    input, target = wave[3:, :-1], wave[3:, 1:]
    criterion = nn.MSELoss()
    # most settings are PyTorch's own; few evaluations a step keep the run short
    optimizer = optim.LBFGS(
        seq.parameters(), lr=0.3, max_iter=4, history_size=5, line_search_fn=seq.line_search
    )
    losses = []

    def closure():
        optimizer.zero_grad()
        out = seq(input)
        loss = criterion(out, target)
        losses.append(loss.item())
        loss.backward()
        return loss

    for i in range(steps // 4 + 1):
        loss = optimizer.step(closure)
        print("STEP:", i, "loss:", round(loss.item(), 6))
    return losses


def evaluate(seq, wave):
    with torch.no_grad():
        pred = seq(wave[:3, :-1], future=10)
        loss = nn.functional.mse_loss(pred[:, :-10], wave[:3, 1:])
        y = pred.detach().numpy()
    return {"loss": loss.item(), "y": y}
