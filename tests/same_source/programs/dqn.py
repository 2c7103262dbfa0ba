"""Deep Q-learning from a replay memory: policy and target network, soft updates, masks."""

import random
from collections import deque, namedtuple

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

Transition = namedtuple("Transition", ("state", "action", "next_state", "reward"))


class ReplayMemory:
    def __init__(self, capacity):
        self.memory = deque([], maxlen=capacity)

    def push(self, *args):
        self.memory.append(Transition(*args))

    def sample(self, batch_size):
        return random.Random(len(self.memory)).sample(self.memory, batch_size)

    def __len__(self):
        return len(self.memory)


class DQN(nn.Module):
    def __init__(self, n_observations, n_actions):
        super().__init__()
        self.layer1 = nn.Linear(n_observations, 24)
        self.layer2 = nn.Linear(24, 24)
        self.layer3 = nn.Linear(24, n_actions)

    def forward(self, x):
        x = F.relu(self.layer1(x))
        x = F.relu(self.layer2(x))
        return self.layer3(x)


def select_action(policy_net, state, steps_done):
    if random.Random(steps_done).random() > 0.3:
        with torch.no_grad():
            return policy_net(state).max(dim=1).indices.view(1, 1)
    action = random.Random(steps_done).randrange(3)
    return torch.tensor([[action]], device=state.device, dtype=torch.long)


def optimize_model(policy_net, target_net, memory, optimizer, batch_size=8, gamma=0.9):
    if len(memory) < batch_size:
        return None
    transitions = memory.sample(batch_size)
    batch = Transition(*zip(*transitions, strict=True))
    non_final_mask = torch.tensor(
        tuple(map(lambda s: s is not None, batch.next_state)), dtype=torch.bool
    )
    non_final_next_states = torch.cat([s for s in batch.next_state if s is not None])
    state_batch = torch.cat(batch.state)
    action_batch = torch.cat(batch.action)
    reward_batch = torch.cat(batch.reward)
    state_action_values = policy_net(state_batch).gather(1, action_batch)
    next_state_values = torch.zeros(batch_size, device="cpu")
    with torch.no_grad():
        next_state_values[non_final_mask] = target_net(non_final_next_states).max(dim=1).values
    expected_state_action_values = (next_state_values * gamma) + reward_batch
    criterion = nn.SmoothL1Loss()
    loss = criterion(state_action_values, expected_state_action_values.unsqueeze(1))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_value_(policy_net.parameters(), 100)
    optimizer.step()
    return loss.item()


def build():
    return DQN(4, 3), DQN(4, 3)


def data(rng):
    return torch.tensor(rng.standard_normal((60, 4)), dtype=torch.float32)


def train(models, states, steps):
    policy_net, target_net = models
    target_net.load_state_dict(policy_net.state_dict())
    optimizer = optim.AdamW(policy_net.parameters(), lr=1e-3, amsgrad=True)
    memory = ReplayMemory(1000)
    losses = []
    for t in range(steps + 7):
        state = states[t].unsqueeze(0)
        action = select_action(policy_net, state, t)
        reward = torch.tensor([float(action.item() == 1) + state.sum().item()])
        next_state = None if t % 5 == 4 else states[t + 1].unsqueeze(0)
        memory.push(state, action, next_state, reward)
        loss = optimize_model(policy_net, target_net, memory, optimizer)
        if loss is not None:
            losses.append(loss)
        target_state = target_net.state_dict()
        policy_state = policy_net.state_dict()
        for key in policy_state:
            target_state[key] = policy_state[key] * 0.05 + target_state[key] * (1 - 0.05)
        target_net.load_state_dict(target_state)
    return losses


def evaluate(models, states):
    with torch.no_grad():
        q = models[0](states)
        values, actions = q.max(dim=1)
    return {"q": q, "values": values, "actions": actions, "count": torch.bincount(actions)}
