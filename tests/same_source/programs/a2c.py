"""Advantage actor-critic with a recurrent policy: rollout storage, GAE, masks, shared optimizer."""

import torch
import torch.nn as nn
from torch.distributions import Categorical

FixedCategorical = torch.distributions.Categorical
old_sample = FixedCategorical.sample


def init(module, weight_init, bias_init, gain=1):
    weight_init(module.weight.data, gain=gain)
    bias_init(module.bias.data)
    return module


class Flatten(nn.Module):
    def forward(self, x):
        return x.view(x.size(0), -1)


class RolloutStorage(object):
    def __init__(self, num_steps, num_processes, obs_shape, recurrent_hidden_state_size):
        self.obs = torch.zeros(num_steps + 1, num_processes, *obs_shape)
        self.recurrent_hidden_states = torch.zeros(
            num_steps + 1, num_processes, recurrent_hidden_state_size
        )
        self.rewards = torch.zeros(num_steps, num_processes, 1)
        self.value_preds = torch.zeros(num_steps + 1, num_processes, 1)
        self.returns = torch.zeros(num_steps + 1, num_processes, 1)
        self.actions = torch.zeros(num_steps, num_processes, 1).long()
        self.masks = torch.ones(num_steps + 1, num_processes, 1)
        self.num_steps = num_steps
        self.step = 0

    def insert(self, obs, hidden, actions, value_preds, rewards, masks):
        self.obs[self.step + 1].copy_(obs)
        self.recurrent_hidden_states[self.step + 1].copy_(hidden)
        self.actions[self.step].copy_(actions)
        self.value_preds[self.step].copy_(value_preds)
        self.rewards[self.step].copy_(rewards)
        self.masks[self.step + 1].copy_(masks)
        self.step = (self.step + 1) % self.num_steps

    def after_update(self):
        self.obs[0].copy_(self.obs[-1])
        self.recurrent_hidden_states[0].copy_(self.recurrent_hidden_states[-1])
        self.masks[0].copy_(self.masks[-1])

    def compute_returns(self, next_value, gamma=0.99, gae_lambda=0.95):
        self.value_preds[-1] = next_value
        gae = 0
        for step in reversed(range(self.rewards.size(0))):
            delta = (
                self.rewards[step]
                + gamma * self.value_preds[step + 1] * self.masks[step + 1]
                - self.value_preds[step]
            )
            gae = delta + gamma * gae_lambda * self.masks[step + 1] * gae
            self.returns[step] = gae + self.value_preds[step]


class Policy(nn.Module):
    def __init__(self, obs=6, hidden=8, actions=3):
        super(Policy, self).__init__()
        self.gru = nn.GRU(obs, hidden)
        for name, param in self.gru.named_parameters():
            if "bias" in name:
                nn.init.constant_(param, 0)
            elif "weight" in name:
                nn.init.orthogonal_(param)
        init_ = lambda m, gain: init(  # noqa: E731
            m, nn.init.orthogonal_, lambda x: nn.init.constant_(x, 0), gain
        )
        self.actor = nn.Sequential(init_(nn.Linear(hidden, hidden), 2**0.5), nn.Tanh())
        self.dist = init_(nn.Linear(hidden, actions), 0.01)
        self.critic = init_(nn.Linear(hidden, 1), 1)

    def base(self, x, hxs, masks):
        if x.size(0) == hxs.size(0):
            x, hxs = self.gru(x.unsqueeze(0), (hxs * masks).unsqueeze(0))
            return x.squeeze(0), hxs.squeeze(0)
        N = hxs.size(0)
        T = int(x.size(0) / N)
        x = x.view(T, N, x.size(1))
        masks = masks.view(T, N)
        has_zeros = (masks[1:] == 0.0).any(dim=-1).nonzero().squeeze().cpu()
        if has_zeros.dim() == 0:
            has_zeros = [has_zeros.item() + 1]
        else:
            has_zeros = (has_zeros + 1).numpy().tolist()
        has_zeros = [0] + has_zeros + [T]
        hxs = hxs.unsqueeze(0)
        outputs = []
        for i in range(len(has_zeros) - 1):
            start_idx, end_idx = has_zeros[i], has_zeros[i + 1]
            rnn_scores, hxs = self.gru(x[start_idx:end_idx], hxs * masks[start_idx].view(1, -1, 1))
            outputs.append(rnn_scores)
        x = torch.cat(outputs, dim=0).view(T * N, -1)
        return x, hxs.squeeze(0)

    def evaluate_actions(self, inputs, hxs, masks, action):
        features, hxs = self.base(inputs, hxs, masks)
        dist = Categorical(logits=self.dist(self.actor(features)))
        log_probs = dist.log_prob(action.squeeze(-1)).view(action.size(0), -1).sum(-1).unsqueeze(-1)
        return self.critic(features), log_probs, dist.entropy().mean(), hxs

    @torch.no_grad()
    def act(self, inputs, hxs, masks, deterministic=False):
        features, hxs = self.base(inputs, hxs, masks)
        dist = Categorical(logits=self.dist(self.actor(features)))
        action = dist.probs.argmax(dim=-1, keepdim=True) if deterministic else dist.sample()
        return self.critic(features), action, hxs


def build():
    return Policy()


def data(rng):
    frames = torch.from_numpy(rng.standard_normal((151, 4, 6)))
    return frames, torch.from_numpy((rng.random((151, 4, 1)) > 0.1).astype("float32"))


def train(actor_critic, data, steps):
    frames, alive = data
    optimizer = torch.optim.RMSprop(actor_critic.parameters(), 7e-4, eps=1e-5, alpha=0.99)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lr_lambda=[lambda u: 1 - u / 40])
    rollouts = RolloutStorage(5, 4, (6,), 8)
    rollouts.obs[0].copy_(frames[0])
    losses = []

    def train_step(obs, hidden, masks, actions, returns):
        values, log_probs, entropy, _ = actor_critic.evaluate_actions(
            obs.view(-1, 6), hidden.view(-1, 8), masks.view(-1, 1), actions.view(-1, 1)
        )
        values = values.view(5, 4, 1)
        advantages = returns - values
        value_loss = advantages.pow(2).mean()
        action_loss = -(advantages.detach() * log_probs.view(5, 4, 1)).mean()
        optimizer.zero_grad()
        loss = value_loss * 0.5 + action_loss - entropy * 0.01
        loss.backward()
        nn.utils.clip_grad_norm_(actor_critic.parameters(), 0.5)
        optimizer.step()
        return loss

    for update in range(steps):
        for step in range(5):
            t = update * 5 + step
            value, action, hidden = actor_critic.act(
                rollouts.obs[step],
                rollouts.recurrent_hidden_states[step],
                rollouts.masks[step],
                deterministic=True,
            )
            reward = (action == frames[t, :, :3].argmax(-1, keepdim=True)).to(value.dtype) - 0.3
            rollouts.insert(frames[t + 1], hidden, action, value, reward, alive[t + 1])
        next_value, _, _ = actor_critic.act(
            rollouts.obs[-1], rollouts.recurrent_hidden_states[-1], rollouts.masks[-1]
        )
        rollouts.compute_returns(next_value.detach())
        loss = train_step(
            rollouts.obs[:-1],
            rollouts.recurrent_hidden_states[0],
            rollouts.masks[:-1],
            rollouts.actions,
            rollouts.returns[:-1],
        )
        rollouts.after_update()
        scheduler.step()
        losses.append(loss.item())
    print("mean reward %.3f" % rollouts.rewards.mean())
    return losses


def evaluate(actor_critic, data):
    value, action, hidden = actor_critic.act(
        data[0][0], torch.zeros(4, 8), torch.ones(4, 1), deterministic=True
    )
    return [value, action, hidden]


def sample(actor_critic, data):
    return actor_critic.act(data[0][0], torch.zeros(4, 8), torch.ones(4, 1))[1]
