"""A policy network with Categorical: REINFORCE and actor-critic on episodes that come as data."""

from collections import namedtuple

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.distributions import Categorical

SavedAction = namedtuple("SavedAction", ["log_prob", "value"])
eps = torch.finfo(torch.float32).eps


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1 = nn.Linear(4, 16)
        self.dropout = nn.Dropout(p=0.0)
        self.action_head = nn.Linear(16, 3)
        self.value_head = nn.Linear(16, 1)
        self.saved_actions = []
        self.rewards = []

    def forward(self, x):
        x = F.relu(self.dropout(self.affine1(x)))
        action_prob = F.softmax(self.action_head(x), dim=-1)
        state_values = self.value_head(x)
        return action_prob, state_values


def select_action(model, state, action=None):
    state = torch.as_tensor(state)
    probs, state_value = model(state)
    m = Categorical(probs)
    if action is None:
        action = m.sample()
    model.saved_actions.append(SavedAction(m.log_prob(action), state_value))
    return action.item(), m.entropy()


def finish_episode(model, optimizer, entropies):
    R = 0
    saved_actions = model.saved_actions
    policy_losses = []
    value_losses = []
    returns = []
    for r in model.rewards[::-1]:
        R = r + 0.99 * R
        returns.insert(0, R)
    returns = torch.tensor(returns)
    returns = (returns - returns.mean()) / (returns.std() + eps)
    for (log_prob, value), R in zip(saved_actions, returns, strict=True):
        advantage = R - value.item()
        policy_losses.append(-log_prob * advantage)
        value_losses.append(F.smooth_l1_loss(value, torch.tensor([R])))
    optimizer.zero_grad()
    loss = torch.stack(policy_losses).sum() + torch.stack(value_losses).sum()
    loss = loss - 0.01 * torch.stack(entropies).mean()
    loss.backward()
    optimizer.step()
    del model.rewards[:]
    del model.saved_actions[:]
    return loss.item()


def build():
    torch.manual_seed(543)
    return Policy()


def data(rng):
    states = torch.from_numpy(rng.standard_normal((30, 12, 4))).float()
    actions = torch.from_numpy(rng.integers(0, 3, (30, 12)))
    return states, actions


def train(model, data, steps):
    optimizer = optim.Adam(model.parameters(), lr=3e-2)
    running_reward = 10
    losses = []
    for i_episode in range(steps):
        ep_reward = 0
        entropies = []
        for state, chosen in zip(data[0][i_episode], data[1][i_episode], strict=True):
            action, entropy = select_action(model, state, chosen)
            reward = 1.0 if action == state.abs().argmax() % 3 else -0.1 * action
            model.rewards.append(reward)
            entropies.append(entropy)
            ep_reward += reward
        running_reward = 0.05 * ep_reward + (1 - 0.05) * running_reward
        losses.append(finish_episode(model, optimizer, entropies))
        if i_episode % 10 == 0:
            print(f"{i_episode}\t{ep_reward:.2f}\t{running_reward:.2f}")
    return losses


def evaluate(model, data):
    with torch.no_grad():
        probs, values = model(data[0][0])
        m = Categorical(logits=probs.log())
    return {"entropy": m.entropy().sum(), "values": values, "greedy": probs.argmax(dim=-1)}


def sample(model, data):
    torch.manual_seed(1)
    taken = []
    for state in data[0][0]:
        action, _ = select_action(model, state.numpy())
        assert action in range(3)
        taken.append(action)
    del model.saved_actions[:]
    m = Categorical(torch.tensor([0.25, 0.25, 0.25, 0.25]))
    return torch.cat([torch.tensor(taken), m.sample((8,))])
