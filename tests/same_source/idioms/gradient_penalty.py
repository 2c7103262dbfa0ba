"""A Wasserstein critic with gradient penalty, and the norm of an input's gradient."""

import torch
import torch.nn as nn
from torch import autograd


def build():
    return nn.Sequential(
        nn.Linear(4, 16), nn.LeakyReLU(0.2), nn.Linear(16, 16), nn.Softplus(), nn.Linear(16, 1)
    )


def gradient_penalty(critic, real, fake, alpha):
    alpha = alpha.expand_as(real)
    interpolated = (alpha * real.data + (1 - alpha) * fake.data).requires_grad_(True)
    scores = critic(interpolated)
    gradients = autograd.grad(
        outputs=scores,
        inputs=interpolated,
        grad_outputs=torch.ones(scores.size()),
        create_graph=True,
        retain_graph=True,
        only_inputs=True,
    )[0]
    gradients = gradients.view(gradients.size(0), -1)
    return ((gradients.norm(2, dim=1) - 1) ** 2).mean()


def run(rng, critic):
    optimizer = torch.optim.RMSprop(critic.parameters(), lr=5e-4)
    history = []
    for _ in range(8):
        real = torch.from_numpy(rng.standard_normal((6, 4)) + 2)
        fake = torch.from_numpy(rng.standard_normal((6, 4)))
        alpha = torch.from_numpy(rng.random((6, 1)))
        penalty = gradient_penalty(critic, real, fake, alpha)
        loss = critic(fake).mean() - critic(real).mean() + 10 * penalty
        critic.zero_grad()
        loss.backward()
        optimizer.step()
        history += [loss.item(), penalty.item()]
    for p in critic.parameters():
        p.data.clamp_(-0.01, 0.01)
    return [history, critic.state_dict()]
