"""The torch.nn tutorial from scratch: weights by hand, then F, Module, Linear, Dataset, loader."""

import math

import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset


def log_softmax(x):
    return x - x.exp().sum(-1).log().unsqueeze(-1)


def nll(input, target):
    return -input[range(target.shape[0]), target].mean()


def accuracy(out, yb):
    preds = torch.argmax(out, dim=1)
    return (preds == yb).float().mean()


class Lambda(nn.Module):
    def __init__(self, func):
        super().__init__()
        self.func = func

    def forward(self, x):
        return self.func(x)


def preprocess(x):
    return x.view(-1, 1, 8, 8)


def build():
    return nn.Sequential(
        Lambda(preprocess),
        nn.Conv2d(1, 4, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 3, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        Lambda(lambda x: x.view(x.size(0), -1)),
    )


def loss_batch(model, loss_func, xb, yb, opt=None):
    loss = loss_func(model(xb), yb)
    if opt is not None:
        loss.backward()
        opt.step()
        opt.zero_grad()
    return loss.item(), len(xb)


def run(rng, model):
    x_train, y_train = map(torch.tensor, (rng.random((50, 64)), rng.integers(0, 3, 50)))
    n, c = x_train.shape
    history = [n, c, y_train.min(), y_train.max()]

    weights = torch.from_numpy(rng.standard_normal((64, 3))) / math.sqrt(64)
    weights.requires_grad_()
    bias = torch.zeros(3, requires_grad=True)
    bs = 16
    lr = 0.5
    for epoch in range(2):
        for i in range((n - 1) // bs + 1):
            start_i = i * bs
            end_i = start_i + bs
            xb = x_train[start_i:end_i]
            yb = y_train[start_i:end_i]
            pred = log_softmax(xb @ weights + bias) if epoch == 0 else xb @ weights + bias
            loss = nll(pred, yb) if epoch == 0 else F.cross_entropy(pred, yb)
            loss.backward()
            with torch.no_grad():
                weights -= weights.grad * lr
                bias -= bias.grad * lr
                weights.grad.zero_()
                bias.grad.zero_()
            history += [loss.item(), accuracy(pred, yb)]

    opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    train_dl = DataLoader(TensorDataset(x_train, y_train), batch_size=bs)
    for _ in range(3):
        model.train()
        for xb, yb in train_dl:
            history.append(loss_batch(model, F.cross_entropy, xb, yb, opt)[0])
        model.eval()
        with torch.no_grad():
            losses, nums = zip(
                *[loss_batch(model, F.cross_entropy, xb, yb) for xb, yb in train_dl], strict=True
            )
        history.append(sum(a * b for a, b in zip(losses, nums, strict=True)) / sum(nums))
    return history
