"""Freezing layers, replacing the head, optimizing only what is trained, groups of rates."""

import torch
import torch.nn as nn
import torch.optim as optim
from torch.optim import lr_scheduler


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True))
        self.fc = nn.Linear(8, 10)

    def forward(self, x):
        return self.fc(self.features(x))


def build():
    return Backbone(), nn.Linear(8, 2)


def run(rng, model, head):
    for param in model.parameters():
        param.requires_grad = False
    num_ftrs = model.fc.in_features
    assert num_ftrs == head.in_features
    model.fc = head
    x = torch.tensor(rng.standard_normal((20, 6)))
    labels = (x.sum(1) > 0).long()
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(model.fc.parameters(), lr=0.1, momentum=0.9)
    exp_lr_scheduler = lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.1)
    history = []
    for phase in ["train", "val"] * 4:
        if phase == "train":
            model.train()
        else:
            model.eval()
        optimizer.zero_grad()
        with torch.set_grad_enabled(phase == "train"):
            outputs = model(x)
            _, preds = torch.max(outputs, 1)
            loss = criterion(outputs, labels)
            if phase == "train":
                loss.backward()
                optimizer.step()
        running_corrects = torch.sum(preds == labels.data)
        history += [loss.item(), running_corrects.double() / len(x)]
        if phase == "train":
            exp_lr_scheduler.step()
    frozen = [p.grad is None for p in model.features.parameters()]
    model.features.requires_grad_(True)
    optimizer = optim.AdamW(
        [{"params": model.features.parameters(), "lr": 1e-4}, {"params": model.fc.parameters()}],
        lr=1e-2,
    )
    optimizer.add_param_group({"params": [torch.zeros(1, requires_grad=True)], "lr": 1.0})
    criterion(model(x), labels).backward()
    optimizer.step()
    trainable = [n for n, p in model.named_parameters() if p.requires_grad]
    rates = [group["lr"] for group in optimizer.param_groups]
    return [history, frozen, trainable, rates, model.state_dict()]
