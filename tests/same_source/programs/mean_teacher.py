"""A mean teacher: mixup, soft labels, an average of the weights, consistency, warm-up."""

import copy
import math
from collections import OrderedDict
from dataclasses import asdict, dataclass, field

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Subset, TensorDataset, WeightedRandomSampler


@dataclass
class Config:
    widths: list[int] = field(default_factory=lambda: [16, 16])
    lr: float = 0.05
    ema_decay: float = 0.95
    alpha: float = 0.75
    num_classes: int = 4
    smoothing: float = 0.1


class ModelEMA(object):
    def __init__(self, model, decay):
        self.ema = copy.deepcopy(model)
        self.ema.eval()
        self.decay = decay
        self.param_keys = [k for k, _ in self.ema.named_parameters()]
        self.buffer_keys = [k for k, _ in self.ema.named_buffers()]
        for p in self.ema.parameters():
            p.requires_grad_(False)

    def update(self, model):
        with torch.no_grad():
            msd, esd = model.state_dict(), self.ema.state_dict()
            for k in self.param_keys:
                esd[k].copy_(esd[k].detach() * self.decay + (1.0 - self.decay) * msd[k].detach())
            for k in self.buffer_keys:
                esd[k].copy_(msd[k])


def get_cosine_schedule_with_warmup(optimizer, num_warmup, num_training, num_cycles=7.0 / 16.0):
    def _lr_lambda(current_step):
        if current_step < num_warmup:
            return float(current_step + 1) / float(max(1, num_warmup))
        no_progress = float(current_step - num_warmup) / float(max(1, num_training - num_warmup))
        return max(0.0, math.cos(math.pi * num_cycles * no_progress))

    return LambdaLR(optimizer, _lr_lambda, -1)


class Network(nn.Module):
    def __init__(self, config):
        super().__init__()
        layers, width = OrderedDict(), 6
        for i, w in enumerate(config.widths):
            layers[f"fc{i}"] = nn.Linear(width, w)
            layers[f"bn{i}"] = nn.BatchNorm1d(w, momentum=0.05, eps=1e-3)
            layers[f"act{i}"] = nn.LeakyReLU(0.1)
            width = w
        self.body = nn.Sequential(layers)
        self.heads = nn.ModuleDict({"student": nn.Linear(width, config.num_classes)})
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="leaky_relu")
                nn.init.zeros_(m.bias)
            elif isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
                nn.init.constant_(m.weight, 1)

    def forward(self, x):
        return self.heads["student"](self.body(x))


def mixup(x, y, lam, perm):
    return lam * x + (1 - lam) * x[perm, ...], lam * y + (1.0 - lam) * y[perm, :]


def soft_cross_entropy(logits, targets):
    return -(F.log_softmax(logits, dim=1) * targets).sum(dim=1).mean()


def build():
    return Network(Config())


def data(rng):
    y = torch.tensor(rng.integers(0, 4, 48))
    centres = torch.tensor(rng.standard_normal((4, 6)))
    x = centres[y] + 0.5 * torch.tensor(rng.standard_normal((48, 6)))
    lam = torch.tensor(rng.beta(0.75, 0.75, 30))
    noise = torch.tensor(rng.standard_normal((30, 2, 16, 6)))
    return (
        x,
        y,
        lam,
        noise,
        torch.tensor(rng.permuted(torch.arange(16).repeat([30, 1]).numpy(), axis=1)),
    )


def train(model, data, steps):
    config = Config()
    x, y, lams, noise, perms = data
    dataset = TensorDataset(x, y)
    counts = torch.bincount(y, minlength=config.num_classes)
    sampler = WeightedRandomSampler((1.0 / counts.float())[y], num_samples=16, replacement=True)
    assert len(list(DataLoader(dataset, batch_size=4, sampler=sampler))) == 4
    labelled = DataLoader(Subset(dataset, torch.arange(0, 48, 3).tolist()), batch_size=16)
    unlabelled = DataLoader(dataset, batch_size=16, drop_last=True)
    no_decay = ["bias", "bn"]
    grouped = [
        {
            "params": [p for n, p in model.named_parameters() if not any(d in n for d in no_decay)],
            "weight_decay": 5e-4,
        },
        {
            "params": [p for n, p in model.named_parameters() if any(d in n for d in no_decay)],
            "weight_decay": 0.0,
        },
    ]
    optimizer = torch.optim.SGD(grouped, lr=config.lr, momentum=0.9, nesterov=True)
    scheduler = get_cosine_schedule_with_warmup(optimizer, 3, steps)
    ema = ModelEMA(model, config.ema_decay)
    losses, targets = [], []

    def train_step(x, y, u, lam, noise, perm, weight):
        y = F.one_hot(y, config.num_classes).to(x.dtype)
        y = y * (1 - config.smoothing) + config.smoothing / config.num_classes
        mixed, soft = mixup(x, y, torch.max(lam, 1 - lam), perm)
        loss_x = soft_cross_entropy(model(mixed), soft)
        with torch.no_grad():
            teacher = torch.softmax(ema.ema(u + 0.1 * noise[0]) / 0.5, dim=-1)
            max_probs, pseudo = torch.max(teacher, dim=-1)
            mask = max_probs.ge(0.4).to(x.dtype)
        student = model(u + 0.2 * noise[1])
        loss_u = (F.cross_entropy(student, pseudo, reduction="none") * mask).mean()
        consistency = F.mse_loss(torch.softmax(student, 1), teacher)
        loss = loss_x + weight * (loss_u + consistency)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss, mask.mean()

    (xb, yb) = next(iter(labelled))
    while len(losses) < steps:
        for u, _ in unlabelled:
            if len(losses) == steps:
                break
            i = len(losses)
            loss, kept = train_step(xb, yb, u, lams[i], noise[i], perms[i], min(1.0, i / 10))
            scheduler.step()
            ema.update(model)
            losses.append(loss.item())
            targets.append(kept.item())
    model.ema = [ema]
    print(asdict(config), f"{sum(targets) / len(targets):.4f}")
    return losses


@torch.no_grad()
def evaluate(model, data):
    model.eval()
    teacher = model.ema[0].ema
    logits = torch.stack([model(data[0]), teacher(data[0])])
    _, pred = logits.topk(2, dim=-1, largest=True, sorted=True)
    correct = pred.eq(data[1].reshape(1, -1, 1).expand_as(pred))
    return [logits, correct[..., :2].any(-1).float().mean(-1), teacher.state_dict()]
