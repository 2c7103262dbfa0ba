"""Proximal policy optimisation: a Gaussian policy, generalised advantages, clipped ratios."""

import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
from torch.distributions.normal import Normal


def layer_init(layer, std=np.sqrt(2), bias_const=0.0):
    torch.nn.init.orthogonal_(layer.weight, std)
    torch.nn.init.constant_(layer.bias, bias_const)
    return layer


class Agent(nn.Module):
    def __init__(self, obs=3, actions=2):
        super().__init__()
        self.critic = nn.Sequential(
            layer_init(nn.Linear(np.array((obs,)).prod(), 16)),
            nn.Tanh(),
            layer_init(nn.Linear(16, 1), std=1.0),
        )
        self.actor_mean = nn.Sequential(
            layer_init(nn.Linear(obs, 16)),
            nn.Tanh(),
            layer_init(nn.Linear(16, np.prod((actions,))), std=0.01),
        )
        self.actor_logstd = nn.Parameter(torch.zeros(1, np.prod((actions,))))

    def get_value(self, x):
        return self.critic(x)

    def get_action_and_value(self, x, action=None):
        action_mean = self.actor_mean(x)
        action_logstd = self.actor_logstd.expand_as(action_mean)
        action_std = torch.exp(action_logstd)
        probs = Normal(action_mean, action_std)
        if action is None:
            action = probs.sample()
        return action, probs.log_prob(action).sum(1), probs.entropy().sum(1), self.critic(x)


def build():
    return Agent()


def data(rng):
    obs = torch.Tensor(rng.standard_normal((8, 4, 3)))
    actions = torch.Tensor(rng.standard_normal((8, 4, 2)))
    dones = torch.Tensor((rng.random((8, 4)) < 0.2).astype(np.float32))
    return obs, actions, -(actions - obs[..., :2]).pow(2).sum(-1), dones


def train(agent, data, steps):
    obs, actions, rewards, dones = data
    num_steps, num_envs = rewards.shape
    optimizer = optim.Adam(agent.parameters(), lr=3e-3, eps=1e-5)
    losses = []
    update = 0
    while len(losses) < steps:
        frac = 1.0 - update / 10.0
        optimizer.param_groups[0]["lr"] = frac * 3e-3
        update += 1
        logprobs = torch.zeros((num_steps, num_envs))
        values = torch.zeros((num_steps, num_envs))
        for step in range(num_steps):
            with torch.no_grad():
                _, logprob, _, value = agent.get_action_and_value(obs[step], actions[step])
                values[step] = value.flatten()
            logprobs[step] = logprob
        with torch.no_grad():
            next_value = agent.get_value(obs[-1]).reshape(1, -1)
            advantages = torch.zeros_like(rewards).to("cpu")
            lastgaelam = 0
            for t in reversed(range(num_steps)):
                if t == num_steps - 1:
                    nextnonterminal, nextvalues = 1.0 - dones[-1], next_value
                else:
                    nextnonterminal, nextvalues = 1.0 - dones[t + 1], values[t + 1]
                delta = rewards[t] + 0.99 * nextvalues * nextnonterminal - values[t]
                advantages[t] = lastgaelam = delta + 0.99 * 0.95 * nextnonterminal * lastgaelam
            returns = advantages + values
        b_obs = obs.reshape((-1, 3))
        b_logprobs = logprobs.reshape(-1)
        b_actions = actions.reshape((-1,) + (2,))
        b_advantages = advantages.reshape(-1)
        b_returns = returns.reshape(-1)
        b_values = values.reshape(-1)
        b_inds = np.arange(num_steps * num_envs)
        clipfracs = []
        for epoch in range(2):
            np.random.default_rng(epoch).shuffle(b_inds)
            for start in range(0, len(b_inds), 16):
                mb_inds = b_inds[start : start + 16]
                _, newlogprob, entropy, newvalue = agent.get_action_and_value(
                    b_obs[mb_inds], b_actions[mb_inds]
                )
                logratio = newlogprob - b_logprobs[mb_inds]
                ratio = logratio.exp()
                with torch.no_grad():
                    approx_kl = ((ratio - 1) - logratio).mean()
                    clipfracs += [((ratio - 1.0).abs() > 0.2).float().mean().item()]
                mb_advantages = b_advantages[mb_inds]
                mb_advantages = (mb_advantages - mb_advantages.mean()) / (
                    mb_advantages.std() + 1e-8
                )
                pg_loss1 = -mb_advantages * ratio
                pg_loss2 = -mb_advantages * torch.clamp(ratio, 1 - 0.2, 1 + 0.2)
                pg_loss = torch.max(pg_loss1, pg_loss2).mean()
                newvalue = newvalue.view(-1)
                v_loss_unclipped = (newvalue - b_returns[mb_inds]) ** 2
                v_clipped = b_values[mb_inds] + torch.clamp(newvalue - b_values[mb_inds], -0.2, 0.2)
                v_loss_clipped = (v_clipped - b_returns[mb_inds]) ** 2
                v_loss = 0.5 * torch.max(v_loss_unclipped, v_loss_clipped).mean()
                loss = pg_loss - 0.01 * entropy.mean() + v_loss * 0.5
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimizer.step()
                losses.append(loss.item())
        y_pred, y_true = b_values.cpu().numpy(), b_returns.cpu().numpy()
        var_y = np.var(y_true)
        explained_var = np.nan if var_y == 0 else 1 - np.var(y_true - y_pred) / var_y
        print(f"{approx_kl.item():.6f} {np.mean(clipfracs):.3f} {explained_var:.5f}")
    return losses


def evaluate(agent, data):
    with torch.no_grad():
        return {"values": agent.get_value(data[0]), "mean": agent.actor_mean(data[0][0])}


def sample(agent, data):
    action, logprob, _, _ = agent.get_action_and_value(data[0][0])
    assert logprob.shape == (4,)
    return action
