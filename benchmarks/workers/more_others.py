"""Models of graphs, tables and points in PyTorch: rows of ``one_core.py --more``.

distgrad runs this file too, with its imports changed (distgrad_rows.py).
"""

import torch
from torch import nn
from torch.nn import functional as F


class GraphNetwork(nn.Module):
    """Messages along edges, summed and averaged (Gilmer et al. 2017)."""

    def __init__(self, features=64, w=64):
        super().__init__()
        self.embed = nn.Linear(features, w)
        self.message = nn.ModuleList([nn.Linear(2 * w, w) for _ in range(2)])
        self.update = nn.ModuleList([nn.Linear(2 * w, w) for _ in range(2)])
        self.out = nn.Linear(w, 7)

    def forward(self, x, edges):
        source, target = edges[0], edges[1]
        h = F.relu(self.embed(x))
        ones = torch.ones(source.shape[0])
        degree = torch.zeros(x.shape[0]).index_add(0, target, ones).clamp(min=1).unsqueeze(1)
        for message, update in zip(self.message, self.update, strict=True):
            m = F.relu(message(torch.cat([h[source], h[target]], dim=1)))
            total = torch.zeros_like(h).index_add(0, target, m)
            h = h + F.relu(update(torch.cat([h, total / degree], dim=1)))
        return self.out(h)


class GraphAttention(nn.Module):
    """Veličković et al. 2018, by scatter operations."""

    def __init__(self, features=64, heads=4, w=16):
        super().__init__()
        self.heads, self.w = heads, w
        self.lin = nn.Linear(features, heads * w, bias=False)
        self.att_weight = nn.Parameter(torch.zeros(2, heads, w))
        self.out = nn.Linear(heads * w, 7)

    def forward(self, x, edges):
        source, target = edges[0], edges[1]
        h = self.lin(x).view(-1, self.heads, self.w)
        a_source, a_target = ((h * self.att_weight[i]).sum(-1) for i in range(2))
        e = F.leaky_relu(a_source[source] + a_target[target], 0.2)
        index = target.unsqueeze(1).expand(-1, self.heads)
        top = torch.zeros(x.shape[0], self.heads)
        top = top.scatter_reduce(0, index, e.detach(), reduce="amax", include_self=False)
        e = (e - top[target]).exp()
        total = torch.zeros(x.shape[0], self.heads).scatter_add(0, index, e)
        alpha = e / (total[target] + 1e-16)
        m = h[source] * alpha.unsqueeze(-1)
        out = torch.zeros_like(h).index_add(0, target, m)
        return self.out(F.elu(out.flatten(1)))


def of_nodes(model, x, edges):
    labels = torch.arange(x.shape[0]) % 7
    return F.cross_entropy(model(x, edges), labels)


class DLRM(nn.Module):
    """Naumov et al. 2019: bags of categories, interactions by dot products."""

    def __init__(self, tables=8, rows=5000, dim=32):
        super().__init__()
        self.embeddings = nn.ModuleList(
            [nn.EmbeddingBag(rows, dim, mode="sum") for _ in range(tables)]
        )
        self.bottom = nn.Sequential(nn.Linear(13, 128), nn.ReLU(), nn.Linear(128, dim), nn.ReLU())
        pairs = (tables + 1) * tables // 2
        self.top = nn.Sequential(nn.Linear(dim + pairs, 256), nn.ReLU(), nn.Linear(256, 1))

    def forward(self, dense, sparse):
        x = self.bottom(dense)
        found = [x] + [e(sparse[:, i]) for i, e in enumerate(self.embeddings)]
        T = torch.stack(found, dim=1)
        Z = torch.bmm(T, T.transpose(1, 2))
        li, lj = torch.tril_indices(T.shape[1], T.shape[1], offset=-1)
        return self.top(torch.cat([x, Z[:, li, lj]], dim=1)).squeeze(1)


def clicked(model, dense, sparse):
    return F.binary_cross_entropy_with_logits(model(dense, sparse), (dense[:, 0] > 0).float())


class NeRF(nn.Module):
    """Mildenhall et al. 2020: encoded positions, a skip, densities composed along rays."""

    def __init__(self, w=128, samples=32):
        super().__init__()
        self.samples = samples
        self.first = nn.ModuleList([nn.Linear(63 if i == 0 else w, w) for i in range(4)])
        self.second = nn.ModuleList([nn.Linear(63 + w if i == 0 else w, w) for i in range(2)])
        self.out = nn.Linear(w, 4)

    def encode(self, x):
        parts = [x]
        for i in range(10):
            parts += [torch.sin(2.0**i * x), torch.cos(2.0**i * x)]
        return torch.cat(parts, dim=-1)

    def forward(self, origins, directions):
        t = torch.linspace(0, 1, self.samples)
        points = origins[:, None] + directions[:, None] * t[:, None]
        encoded = self.encode(points.reshape(-1, 3))
        h = encoded
        for layer in self.first:
            h = F.relu(layer(h))
        h = torch.cat([encoded, h], dim=-1)
        for layer in self.second:
            h = F.relu(layer(h))
        out = self.out(h).view(-1, self.samples, 4)
        alpha = 1 - torch.exp(-F.relu(out[..., 3]) / self.samples)
        light = torch.cumprod(1 - alpha + 1e-10, dim=-1).roll(1, -1)
        light = torch.cat([torch.ones_like(light[:, :1]), light[:, 1:]], dim=-1)
        return ((alpha * light)[..., None] * torch.sigmoid(out[..., :3])).sum(1)


def rendered(model, origins, directions):
    return F.mse_loss(model(origins, directions), directions.abs())


class Flow(nn.Module):
    """RealNVP (Dinh et al. 2016)."""

    def __init__(self, dim=16, w=128, layers=6):
        super().__init__()
        self.nets = nn.ModuleList(
            [
                nn.Sequential(
                    *[nn.Linear(dim // 2, w), nn.LeakyReLU(0.01), nn.Linear(w, w)],
                    *[nn.LeakyReLU(0.01), nn.Linear(w, dim)],
                )
                for _ in range(layers)
            ]
        )

    def forward(self, x):
        log_det = x.new_zeros(x.shape[0])
        for net in self.nets:
            a, b = x.chunk(2, dim=1)
            s, t = net(a).chunk(2, dim=1)
            s = torch.tanh(s)
            x = torch.cat([b * torch.exp(s) + t, a], dim=1)
            log_det = log_det + s.sum(dim=1)
        return x, log_det


def fitted(model, x, _):
    z, log_det = model(x)
    prior = torch.distributions.Normal(0.0, 1.0)
    return -(prior.log_prob(z).sum(dim=1) + log_det).mean()


class NeuralODE(nn.Module):
    """Chen et al. 2018, by Runge and Kutta's fourth order: many small operations."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 2))

    def forward(self, y):
        h, found = 0.1, [y]
        for _ in range(10):
            k1 = self.net(y**3)
            k2 = self.net((y + h * k1 / 2) ** 3)
            k3 = self.net((y + h * k2 / 2) ** 3)
            k4 = self.net((y + h * k3) ** 3)
            y = y + h * (k1 + 2 * k2 + 2 * k3 + k4) / 6
            found.append(y)
        return torch.stack(found)


def followed(model, y, target):
    return torch.mean(torch.abs(model(y) - target))


class ActorCritic(nn.Module):
    """PPO's networks and loss (Schulman et al. 2017), as CleanRL has them: small."""

    def __init__(self, w=64):
        super().__init__()
        self.critic = nn.Sequential(
            *[nn.Linear(8, w), nn.Tanh(), nn.Linear(w, w), nn.Tanh(), nn.Linear(w, 1)]
        )
        self.actor = nn.Sequential(
            *[nn.Linear(8, w), nn.Tanh(), nn.Linear(w, w), nn.Tanh(), nn.Linear(w, 4)]
        )


def improved(model, x, actions):
    probs = torch.distributions.Categorical(logits=model.actor(x))
    ratio = (probs.log_prob(actions) + 1.386).exp()
    advantages = (x[:, 0] - x[:, 0].mean()) / (x[:, 0].std() + 1e-8)
    clipped = torch.clamp(ratio, 0.8, 1.2)
    policy = torch.max(-advantages * ratio, -advantages * clipped).mean()
    value = 0.5 * ((model.critic(x).view(-1) - x[:, 1]) ** 2).mean()
    return policy - 0.01 * probs.entropy().mean() + 0.5 * value


class SetTransformer(nn.Module):
    """Points through nn.MultiheadAttention and a pooled seed (Lee et al. 2019)."""

    def __init__(self, dim=64):
        super().__init__()
        self.embed = nn.Linear(3, dim)
        self.attention = nn.MultiheadAttention(dim, 4, batch_first=True)
        self.seed_weight = nn.Parameter(torch.zeros(1, 1, dim))
        self.pool = nn.MultiheadAttention(dim, 4, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.out = nn.Linear(dim, 10)

    def forward(self, x):
        x = self.embed(x)
        x = self.norm1(x + self.attention(x, x, x, need_weights=False)[0])
        seed = self.seed_weight.expand(x.shape[0], -1, -1)
        return self.out(self.norm2(self.pool(seed, x, x, need_weights=False)[0]).squeeze(1))


class Recommender(nn.Module):
    """Matrix factorisation with a small network (He et al. 2017)."""

    def __init__(self, users=5000, items=5000, dim=32):
        super().__init__()
        self.user, self.item = nn.Embedding(users, dim), nn.Embedding(items, dim)
        self.user_bias, self.item_bias = nn.Embedding(users, 1), nn.Embedding(items, 1)
        self.net = nn.Sequential(nn.Linear(2 * dim, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, users, items):
        u, i = self.user(users), self.item(items)
        together = (u * i).sum(1) + self.user_bias(users).squeeze(1)
        together = together + self.item_bias(items).squeeze(1)
        return together + self.net(torch.cat([u, i], dim=1)).squeeze(1)


def rated(model, users, items):
    return F.mse_loss(model(users, items), ((users + items) % 5).float())


def classified(model, x, y):
    return F.cross_entropy(model(x), y)


MODELS = {
    "graph": (GraphNetwork, of_nodes),
    "gat": (GraphAttention, of_nodes),
    "dlrm": (DLRM, clicked),
    "nerf": (NeRF, rendered),
    "flow": (Flow, fitted),
    "ode": (NeuralODE, followed),
    "ppo": (ActorCritic, improved),
    "points": (SetTransformer, classified),
    "recommender": (Recommender, rated),
}
