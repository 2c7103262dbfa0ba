"""Soft actor-critic: a tanh-squashed normal, twin critics, a learned temperature, a buffer."""

import copy
import itertools
from collections import namedtuple

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import AffineTransform, TanhTransform

LOG_STD_MAX, LOG_STD_MIN = 2, -5
Batch = namedtuple("Batch", "obs next_obs actions rewards dones")


def mlp(sizes, activation, output_activation=nn.Identity):
    layers = []
    for j in range(len(sizes) - 1):
        act = activation if j < len(sizes) - 2 else output_activation
        layers += [nn.Linear(sizes[j], sizes[j + 1]), act()]
    return nn.Sequential(*layers)


class SquashedGaussianMLPActor(nn.Module):
    def __init__(self, obs_dim, act_dim, hidden_sizes, act_limit):
        super().__init__()
        self.net = mlp([obs_dim] + list(hidden_sizes), nn.ReLU, nn.ReLU)
        self.mu_layer = nn.Linear(hidden_sizes[-1], act_dim)
        self.log_std_layer = nn.Linear(hidden_sizes[-1], act_dim)
        self.register_buffer("action_scale", torch.tensor(act_limit, dtype=torch.float32))
        self.register_buffer("action_bias", torch.zeros_like(self.action_scale))

    def stats(self, obs):
        net_out = self.net(obs)
        log_std = torch.tanh(self.log_std_layer(net_out))
        log_std = LOG_STD_MIN + 0.5 * (LOG_STD_MAX - LOG_STD_MIN) * (log_std + 1)
        return self.mu_layer(net_out), log_std.exp()

    def forward(self, obs, noise=None):
        mu, std = self.stats(obs)
        normal = Normal(mu, std)
        x_t = normal.rsample() if noise is None else mu + std * noise
        y_t = torch.tanh(x_t)
        action = y_t * self.action_scale + self.action_bias
        log_prob = normal.log_prob(x_t)
        log_prob -= torch.log(self.action_scale * (1 - y_t.pow(2)) + 1e-6)
        return action, log_prob.sum(1, keepdim=True)

    def distribution(self, obs):
        base = Independent(Normal(*self.stats(obs)), 1)
        squash = [
            TanhTransform(cache_size=1),
            AffineTransform(self.action_bias, self.action_scale, 1),
        ]
        return TransformedDistribution(base, squash)


class QFunction(nn.Module):
    def __init__(self, obs_dim, act_dim, hidden_sizes):
        super().__init__()
        self.q = mlp([obs_dim + act_dim] + list(hidden_sizes) + [1], nn.ReLU)

    def forward(self, obs, act):
        q = self.q(torch.cat([obs, act], dim=-1))
        return torch.squeeze(q, -1)


class ActorCritic(nn.Module):
    def __init__(self, obs_dim=3, act_dim=2, hidden_sizes=(16, 16)):
        super().__init__()
        self.pi = SquashedGaussianMLPActor(obs_dim, act_dim, hidden_sizes, [2.0, 1.0])
        self.q1 = QFunction(obs_dim, act_dim, hidden_sizes)
        self.q2 = QFunction(obs_dim, act_dim, hidden_sizes)
        self.log_alpha = nn.Parameter(torch.zeros(1))


class ReplayBuffer:
    def __init__(self, obs_dim, act_dim, size):
        self.obs_buf = np.zeros((size, obs_dim), dtype=np.float32)
        self.obs2_buf = np.zeros((size, obs_dim), dtype=np.float32)
        self.act_buf = np.zeros((size, act_dim), dtype=np.float32)
        self.rew_buf = np.zeros(size, dtype=np.float32)
        self.done_buf = np.zeros(size, dtype=np.float32)
        self.ptr, self.size, self.max_size = 0, 0, size

    def store(self, obs, act, rew, next_obs, done):
        self.obs_buf[self.ptr], self.obs2_buf[self.ptr] = obs, next_obs
        self.act_buf[self.ptr] = act
        self.rew_buf[self.ptr], self.done_buf[self.ptr] = rew, done
        self.ptr = (self.ptr + 1) % self.max_size
        self.size = min(self.size + 1, self.max_size)

    def sample_batch(self, idxs):
        idxs = idxs % self.size
        parts = (self.obs_buf, self.obs2_buf, self.act_buf, self.rew_buf, self.done_buf)
        dtype = torch.get_default_dtype()
        return Batch(*(torch.as_tensor(part[idxs], dtype=dtype) for part in parts))


def build():
    torch.manual_seed(1)
    return ActorCritic()


def data(rng):
    obs = torch.from_numpy(rng.standard_normal((40, 3)))
    actions = torch.from_numpy(rng.uniform(-1, 1, (40, 2)))
    noise = torch.from_numpy(rng.standard_normal((30, 2, 12, 2)))
    return obs, actions, noise, torch.from_numpy(rng.integers(0, 1 << 30, (30, 12)))


def train(ac, data, steps):
    obs, actions, noise, indices = data
    targ = copy.deepcopy(ac)
    for p in targ.parameters():
        p.requires_grad = False
    q_params = itertools.chain(ac.q1.parameters(), ac.q2.parameters())
    pi_optimizer = optim.Adam(ac.pi.parameters(), lr=3e-3)
    q_optimizer = optim.Adam(list(q_params), lr=3e-3)
    alpha_optimizer = optim.Adam([ac.log_alpha], lr=3e-3)
    target_entropy = -torch.prod(torch.Tensor((2,))).item()
    replay, losses, gamma, polyak = ReplayBuffer(3, 2, 32), [], 0.99, 0.9

    def train_step(o, o2, a, r, d, noise):
        alpha = ac.log_alpha.exp().detach()
        with torch.no_grad():
            a2, logp_a2 = ac.pi(o2, noise[0])
            q_pi_targ = torch.min(targ.q1(o2, a2), targ.q2(o2, a2))
            backup = r + gamma * (1 - d) * (q_pi_targ - alpha * logp_a2.flatten())
        loss_q = F.mse_loss(ac.q1(o, a), backup) + F.mse_loss(ac.q2(o, a), backup)
        q_optimizer.zero_grad()
        loss_q.backward()
        q_optimizer.step()

        for p in itertools.chain(ac.q1.parameters(), ac.q2.parameters()):
            p.requires_grad = False
        pi, logp_pi = ac.pi(o, noise[1])
        q_pi = torch.min(ac.q1(o, pi), ac.q2(o, pi)).view(-1, 1)
        loss_pi = ((alpha * logp_pi) - q_pi).mean()
        pi_optimizer.zero_grad()
        loss_pi.backward()
        pi_optimizer.step()
        for p in itertools.chain(ac.q1.parameters(), ac.q2.parameters()):
            p.requires_grad = True

        alpha_loss = (-ac.log_alpha.exp() * (logp_pi.detach() + target_entropy)).mean()
        alpha_optimizer.zero_grad()
        alpha_loss.backward()
        alpha_optimizer.step()

        with torch.no_grad():
            for p, p_targ in zip(ac.parameters(), targ.parameters()):
                p_targ.data.mul_(polyak)
                p_targ.data.add_((1 - polyak) * p.data)
        return loss_q + loss_pi

    for i in range(steps):
        reward = -(actions[i] ** 2).sum() + obs[i, 0]
        replay.store(
            obs[i].numpy(), actions[i].numpy(), reward.item(), obs[i + 1].numpy(), i % 7 == 6
        )
        b = replay.sample_batch(indices[i].numpy())
        loss = train_step(b.obs, b.next_obs, b.actions, b.rewards, b.dones, noise[i])
        losses.append(loss.item())
    return losses


def evaluate(ac, data):
    with torch.no_grad():
        d = ac.pi.distribution(data[0])
        inside = torch.stack([data[1][:, 0], data[1][:, 1] * 0.5], -1)
        mean = d.base_dist.base_dist.loc
        for transform in d.transforms:
            mean = transform(mean)
    return [d.log_prob(inside), mean, d.batch_shape, d.event_shape, ac.log_alpha.exp()]


def sample(ac, data):
    d = ac.pi.distribution(data[0])
    action = d.rsample()
    _, log_prob = ac.pi(data[0])
    assert log_prob.shape == (40, 1) and d.log_prob(action).shape == (40,)
    return action
