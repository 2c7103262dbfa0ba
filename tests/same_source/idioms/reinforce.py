"""REINFORCE on a bandit and a corridor, with discounted returns; actions come as data."""

import torch
import torch.nn as nn
import torch.optim as optim
from torch.distributions import Categorical, Normal


class PolicyNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
        self.log_std = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return Categorical(logits=self.net(x)), Normal(self.net(x)[..., :1], self.log_std.exp())


def discount(rewards, gamma=0.9):
    out = torch.zeros(len(rewards))
    running = 0.0
    for t in reversed(range(len(rewards))):
        running = rewards[t] + gamma * running
        out[t] = running
    return out


def build():
    return PolicyNet()


def run(rng, policy):
    optimizer = optim.Adam(policy.parameters(), lr=0.01)
    losses = []
    for _ in range(10):
        log_probs, rewards = [], []
        old = None
        for _ in range(6):
            state = torch.from_numpy(rng.standard_normal(3)).unsqueeze(0)
            discrete, continuous = policy(state)
            action = torch.tensor(rng.integers(0, 2))
            force = torch.tensor(rng.standard_normal((1, 1)))
            log_probs.append(discrete.log_prob(action) + continuous.log_prob(force).sum(-1))
            rewards.append(1.0 if int(action) == (state[0, 0] > 0) else 0.0)
            old = discrete.probs.detach()
        returns = discount(rewards)
        returns = (returns - returns.mean()) / (returns.std() + 1e-8)
        log_probs = torch.cat(log_probs)
        ratio = torch.exp(log_probs - log_probs.detach() * 0.9)
        surrogate = torch.min(ratio * returns, torch.clamp(ratio, 0.8, 1.2) * returns)
        entropy = continuous.entropy().mean() + discrete.entropy().mean()
        loss = (-log_probs * returns).sum() - surrogate.mean() - 0.01 * entropy
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return [losses, old]
