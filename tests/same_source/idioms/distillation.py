"""Knowledge distillation with kl_div, label smoothing by hand and by setting, mixup, focal loss."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class LabelSmoothing(nn.Module):
    def __init__(self, classes, smoothing=0.1):
        super().__init__()
        self.confidence, self.smoothing, self.classes = 1.0 - smoothing, smoothing, classes

    def forward(self, pred, target):
        pred = pred.log_softmax(dim=-1)
        with torch.no_grad():
            true_dist = torch.zeros_like(pred)
            true_dist.fill_(self.smoothing / (self.classes - 1))
            true_dist.scatter_(1, target.data.unsqueeze(1), self.confidence)
        return torch.mean(torch.sum(-true_dist * pred, dim=-1))


class FocalLoss(nn.Module):
    def __init__(self, gamma=2.0, alpha=None):
        super().__init__()
        self.gamma = gamma
        self.register_buffer("alpha", alpha)

    def forward(self, inputs, targets):
        ce = F.cross_entropy(inputs, targets, reduction="none", weight=self.alpha)
        pt = torch.exp(-ce)
        return ((1 - pt) ** self.gamma * ce).mean()


def mixup_data(x, y, lam, index):
    mixed_x = lam * x + (1 - lam) * x[index, :]
    y_a, y_b = y, y[index]
    return mixed_x, y_a, y_b


def build():
    teacher = nn.Sequential(nn.Linear(5, 16), nn.SELU(), nn.Linear(16, 3))
    student = nn.Sequential(nn.Linear(5, 4), nn.Hardswish(), nn.Linear(4, 3))
    return teacher, student


def run(rng, teacher, student):
    x, y = torch.tensor(rng.standard_normal((10, 5))), torch.tensor(rng.integers(0, 3, 10))
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-2)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    by_hand = LabelSmoothing(3)
    focal = FocalLoss(alpha=torch.tensor([0.2, 0.3, 0.5]))
    T = 2
    teacher.eval()
    student.train()
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        with torch.no_grad():
            teacher_logits = teacher(x)
        student_logits = student(x)
        soft_targets = nn.functional.softmax(teacher_logits / T, dim=-1)
        soft_prob = nn.functional.log_softmax(student_logits / T, dim=-1)
        by_sum = torch.sum(soft_targets * (soft_targets.log() - soft_prob)) / 10 * (T**2)
        kd = nn.KLDivLoss(reduction="batchmean")(soft_prob, soft_targets) * (T * T)
        kd = kd + F.kl_div(soft_prob, soft_targets.log(), reduction="sum", log_target=True)
        lam, index = rng.beta(1.0, 1.0), torch.from_numpy(rng.permutation(10))
        mixed_x, y_a, y_b = mixup_data(x, y, lam, index)
        mixed = student(mixed_x)
        mix = lam * criterion(mixed, y_a) + (1 - lam) * criterion(mixed, y_b)
        loss = (
            0.25 * kd + 0.1 * by_sum + mix + by_hand(student_logits, y) + focal(student_logits, y)
        )
        loss.backward()
        optimizer.step()
        losses += [loss.item(), kd.item()]
    onehot = F.one_hot(y, num_classes=3).to(x.dtype)
    soft = F.cross_entropy(student(x), onehot)
    return [losses, soft, student(x)]
