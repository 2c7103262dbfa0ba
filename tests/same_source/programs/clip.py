"""Two towers and margins: CLIP's loss, ArcFace, BYOL's target network, supervised contrast."""

import copy
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class ArcMarginProduct(nn.Module):
    def __init__(self, in_features, out_features, s=8.0, m=0.50, easy_margin=False):
        super(ArcMarginProduct, self).__init__()
        self.s, self.m, self.easy_margin = s, m, easy_margin
        self.weight = nn.Parameter(
            torch.FloatTensor(out_features, in_features).to(torch.get_default_dtype())
        )
        nn.init.xavier_uniform_(self.weight)
        self.cos_m, self.sin_m = math.cos(m), math.sin(m)
        self.th, self.mm = math.cos(math.pi - m), math.sin(math.pi - m) * m

    def forward(self, input, label):
        cosine = F.linear(F.normalize(input), F.normalize(self.weight))
        sine = torch.sqrt((1.0 - torch.pow(cosine, 2)).clamp(0, 1))
        phi = cosine * self.cos_m - sine * self.sin_m
        if self.easy_margin:
            phi = torch.where(cosine > 0, phi, cosine)
        else:
            phi = torch.where(cosine > self.th, phi, cosine - self.mm)
        one_hot = torch.zeros(cosine.size(), device=cosine.device)
        one_hot.scatter_(1, label.view(-1, 1).long(), 1)
        output = (one_hot * phi) + ((1.0 - one_hot) * cosine)
        output *= self.s
        return output


class Tower(nn.Module):
    def __init__(self, i):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(i, 16), nn.BatchNorm1d(16), nn.ReLU(inplace=True), nn.Linear(16, 8)
        )

    def forward(self, x):
        return self.net(x)


class CLIP(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.text = Tower(10), Tower(7)
        self.predictor = Tower(8)
        self.arc = ArcMarginProduct(8, 3)
        self.logit_scale = nn.Parameter(torch.ones([]) * np.log(1 / 0.07))
        self.target = copy.deepcopy(self.image)
        for p in self.target.parameters():
            p.requires_grad = False

    def forward(self, image, text):
        i, t = self.image(image), self.text(text)
        i_n = i / i.norm(dim=1, keepdim=True)
        t_n = t / t.norm(dim=1, keepdim=True)
        logits = self.logit_scale.exp() * i_n @ t_n.t()
        return logits, logits.t(), i

    @torch.no_grad()
    def update(self, tau):
        for po, pt in zip(self.image.parameters(), self.target.parameters(), strict=False):
            pt.data = tau * pt.data + (1 - tau) * po.data


def supcon(features, labels, temperature=0.5):
    features = F.normalize(features, dim=1)
    n = labels.shape[0]
    labels = labels.contiguous().view(-1, 1)
    mask = torch.eq(labels, labels.T).float().to(features.device)
    dot = torch.div(torch.matmul(features, features.T), temperature)
    logits_max, _ = torch.max(dot, dim=1, keepdim=True)
    logits = dot - logits_max.detach()
    logits_mask = torch.scatter(torch.ones_like(mask), 1, torch.arange(n).view(-1, 1), 0)
    mask = mask * logits_mask
    exp_logits = torch.exp(logits) * logits_mask
    log_prob = logits - torch.log(exp_logits.sum(1, keepdim=True))
    return -((mask * log_prob).sum(1) / mask.sum(1).clamp_min(1)).mean()


def build():
    return CLIP()


def data(rng):
    kind = torch.get_default_dtype()
    image = torch.tensor(rng.standard_normal((9, 10)), dtype=kind)
    return (
        image,
        torch.tensor(rng.standard_normal((9, 7)), dtype=kind),
        torch.tensor(rng.integers(0, 3, 9)),
    )


def train(model, data, steps):
    image, text, y = data
    params = [p for p in model.parameters() if p.requires_grad]
    opt = torch.optim.SGD(params, lr=0.02, momentum=0.9, weight_decay=1e-6)
    sched = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, T_0=10, T_mult=2)
    losses = []
    for step in range(steps):
        li, lt, z = model(image, text)
        truth = torch.arange(len(image), dtype=torch.long, device=image.device)
        clip = (F.cross_entropy(li, truth) + F.cross_entropy(lt, truth)) / 2
        arc = F.cross_entropy(model.arc(z, y), y)
        with torch.no_grad():
            t = model.target(image.flip(0)).detach_()
        byol = 2 - 2 * F.cosine_similarity(model.predictor(z), t, dim=-1).mean()
        loss = clip + arc + 0.5 * byol + 0.1 * supcon(z, y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        sched.step(step + 1)
        model.update(0.9)
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        losses.append(loss.item())
    return losses


def evaluate(model, data):
    model.eval()
    with torch.no_grad():
        li, _, z = model(data[0], data[1])
        sim = F.cosine_similarity(z[None], z[:, None], dim=-1).fill_diagonal_(-1)
        return [li.softmax(-1), sim.argmax(1), torch.sort(sim, dim=1, descending=True)[0][:, :2]]
