"""A siamese network that says whether two images show the same class."""

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset


class SiameseNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 6, kernel_size=3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=2),
            nn.Conv2d(6, 8, kernel_size=3),
            nn.AdaptiveAvgPool2d((1, 1)),
        )
        self.fc_in_features = self.backbone[4].out_channels
        self.fc = nn.Sequential(
            nn.Linear(self.fc_in_features * 2, 16),
            nn.ReLU(inplace=True),
            nn.Linear(16, 1),
        )
        self.sigmoid = nn.Sigmoid()
        self.backbone.apply(self.init_weights)
        self.fc.apply(self.init_weights)

    def init_weights(self, m):
        if isinstance(m, nn.Linear):
            torch.nn.init.xavier_uniform_(m.weight)
            m.bias.data.fill_(0.01)

    def forward_once(self, x):
        output = self.backbone(x)
        output = output.view(output.size()[0], -1)
        return output

    def forward(self, input1, input2):
        output1 = self.forward_once(input1)
        output2 = self.forward_once(input2)
        output = torch.cat((output1, output2), 1)
        output = self.fc(output)
        return self.sigmoid(output), output1, output2


class ContrastiveLoss(nn.Module):
    def __init__(self, margin=1.0):
        super(ContrastiveLoss, self).__init__()
        self.margin = margin

    def forward(self, output1, output2, label):
        distance = F.pairwise_distance(output1, output2)
        return torch.mean(
            label * torch.pow(distance, 2)
            + (1 - label) * torch.pow(torch.clamp(self.margin - distance, min=0.0), 2)
        )


class Matcher(Dataset):
    def __init__(self, images, labels):
        self.images, self.labels = images, labels
        self.by_class = {}
        for i, label in enumerate(labels.tolist()):
            self.by_class.setdefault(label, []).append(i)

    def __len__(self):
        return self.images.shape[0]

    def __getitem__(self, index):
        label = self.labels[index].item()
        if index % 2 == 0:
            other = self.by_class[label][index % len(self.by_class[label])]
            target = torch.tensor(1, dtype=torch.float)
        else:
            wrong = (label + 1) % len(self.by_class)
            other = self.by_class[wrong][index % len(self.by_class[wrong])]
            target = torch.tensor(0, dtype=torch.float)
        return self.images[index].clone().float(), self.images[other].clone().float(), target


def build():
    return SiameseNetwork()


def data(rng):
    labels = rng.integers(0, 3, 40)
    images = rng.random((40, 16, 16)) + labels[:, None, None] * rng.random((16, 16))
    return torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels)


def train(model, data, steps):
    loader = DataLoader(Matcher(*data), batch_size=10)
    optimizer = optim.Adadelta(model.parameters(), lr=1.0)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.7)
    criterion = nn.BCELoss()
    contrastive = ContrastiveLoss(margin=2.0)
    losses = []
    while len(losses) < steps:
        model.train()
        for batch_idx, (images_1, images_2, targets) in enumerate(loader):
            # the images were stored as single precision: take the model's
            dtype = next(model.parameters()).dtype
            images_1, images_2 = images_1.to(dtype), images_2.to(dtype)
            targets = targets.to(dtype)
            optimizer.zero_grad()
            outputs, one, two = model(images_1, images_2)
            outputs = outputs.squeeze()
            loss = criterion(outputs, targets) + 0.1 * contrastive(one, two, targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if batch_idx % 2 == 0:
                print(f"{batch_idx * len(images_1)}/{len(loader.dataset)} {loss.item():.6f}")
        scheduler.step()
    return losses


def evaluate(model, data):
    model.eval()
    correct = 0
    test_loss = 0
    with torch.no_grad():
        for images_1, images_2, targets in DataLoader(Matcher(*data), batch_size=16):
            dtype = next(model.parameters()).dtype
            outputs = model(images_1.to(dtype), images_2.to(dtype))[0].squeeze()
            test_loss += F.binary_cross_entropy(outputs, targets.to(dtype), reduction="sum").item()
            pred = torch.where(outputs > 0.5, 1, 0)
            correct += pred.eq(targets.view_as(pred)).sum().item()
    return {"loss": test_loss / len(data[0]), "correct": correct}
