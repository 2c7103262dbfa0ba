"""The first program of many people: a convolutional network on digits, train() and test()."""

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, 1)
        self.conv2 = nn.Conv2d(8, 12, 3, 1)
        self.dropout1 = nn.Dropout(0.0)
        self.dropout2 = nn.Dropout2d(0.0)
        self.fc1 = nn.Linear(12 * 5 * 5, 20)
        self.fc2 = nn.Linear(20, 10)

    def forward(self, x):
        x = self.conv1(x)
        x = F.relu(x)
        x = self.conv2(x)
        x = F.relu(x)
        x = F.max_pool2d(x, 2)
        x = self.dropout2(x)
        x = torch.flatten(x, 1)
        x = self.fc1(x)
        x = F.relu(x)
        x = self.dropout1(x)
        x = self.fc2(x)
        output = F.log_softmax(x, dim=1)
        return output


def build():
    return Net()


def data(rng):
    labels = rng.integers(0, 10, 50)
    images = rng.random((50, 14, 14)) * 0.5
    for image, label in zip(images, labels, strict=True):
        image[label + 2 : label + 4, 3:10] += 1
    return torch.from_numpy(images).float().unsqueeze(1), torch.from_numpy(labels)


def train(model, data, steps):
    train_loader = DataLoader(TensorDataset(*data), batch_size=16)
    optimizer = optim.Adadelta(model.parameters(), lr=1.0)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.7)
    losses = []
    epoch = 0
    while len(losses) < steps:
        model.train()
        for batch_idx, (data_, target) in enumerate(train_loader):
            data_, target = data_.to("cpu"), target.to("cpu")
            optimizer.zero_grad()
            output = model(data_)
            loss = F.nll_loss(output, target)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            print(
                f"{epoch} [{batch_idx * len(data_)}/{len(train_loader.dataset)}] {loss.item():.6f}"
            )
        scheduler.step()
        epoch += 1
    return losses


def evaluate(model, data):
    model.eval()
    test_loss = 0
    correct = 0
    with torch.no_grad():
        for x, target in DataLoader(TensorDataset(*data), batch_size=20):
            output = model(x)
            test_loss += F.nll_loss(output, target, reduction="sum").item()
            pred = output.argmax(dim=1, keepdim=True)
            correct += pred.eq(target.view_as(pred)).sum().item()
    return {"loss": test_loss / len(data[0]), "accuracy": 100.0 * correct / len(data[0])}
