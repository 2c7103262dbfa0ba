"""Densities: a mixture density network and DeepAR, a recurrent network that gives distributions."""

import torch
import torch.nn as nn
from torch import distributions as D
from torch.distributions import Categorical, MixtureSameFamily, NegativeBinomial, Normal, StudentT
from torch.distributions.independent import Independent
from torch.nn import functional as F

VARIANTS = ["mdn", "deepar"]


class MDN(nn.Module):
    def __init__(self, in_features=1, hidden=12, num_gaussians=3, out_features=2):
        super(MDN, self).__init__()
        self.in_features, self.out_features = in_features, out_features
        self.num_gaussians = num_gaussians
        self.trunk = nn.Sequential(nn.Linear(in_features, hidden), nn.Tanh())
        self.pi = nn.Sequential(nn.Linear(hidden, num_gaussians), nn.Softmax(dim=1))
        self.sigma = nn.Linear(hidden, out_features * num_gaussians)
        self.mu = nn.Linear(hidden, out_features * num_gaussians)

    def forward(self, minibatch):
        h = self.trunk(minibatch)
        pi = self.pi(h)
        sigma = torch.exp(self.sigma(h)).view(-1, self.num_gaussians, self.out_features)
        mu = self.mu(h).view(-1, self.num_gaussians, self.out_features)
        return pi, sigma, mu


def gaussian_probability(sigma, mu, target):
    target = target.unsqueeze(1).expand_as(sigma)
    one_over_sqrt_2pi = 1.0 / (2.0 * torch.pi) ** 0.5
    ret = one_over_sqrt_2pi * torch.exp(-0.5 * ((target - mu) / sigma) ** 2) / sigma
    return torch.prod(ret, 2)


def mdn_loss(pi, sigma, mu, target):
    prob = pi * gaussian_probability(sigma, mu, target)
    return torch.mean(-torch.log(torch.sum(prob, dim=1)))


class DeepAR(nn.Module):
    def __init__(self, num_series=4, embedding=3, hidden=8):
        super().__init__()
        self.embed = nn.Embedding(num_series, embedding)
        self.lstm = nn.LSTM(2 + embedding, hidden, num_layers=2, batch_first=True, bias=True)
        for names in self.lstm._all_weights:
            for name in filter(lambda n: "bias" in n, names):
                bias = getattr(self.lstm, name)
                n = bias.size(0)
                bias.data[n // 4 : n // 2].fill_(1.0)
        self.args_proj = nn.ModuleDict(
            {
                "normal": nn.Linear(hidden, 2),
                "studentT": nn.Linear(hidden, 3),
                "counts": nn.Linear(hidden, 2),
            }
        )

    def forward(self, past, covariate, series):
        scale = past.abs().mean(dim=1, keepdim=True).clamp(min=1e-3)
        static = self.embed(series).unsqueeze(1).expand(-1, past.shape[1], -1)
        lagged = F.pad(past / scale, (1, -1))
        inputs = torch.cat((torch.stack((lagged, covariate), dim=-1), static), dim=-1)
        outputs, _ = self.lstm(inputs)
        return outputs, scale

    def distr(self, outputs, scale):
        loc, s = self.args_proj["normal"](outputs).unbind(dim=-1)
        df, t_loc, t_s = torch.split(self.args_proj["studentT"](outputs), 1, dim=-1)
        r, logit = self.args_proj["counts"](outputs).chunk(2, -1)
        affine = D.AffineTransform(loc=0.0, scale=scale)
        return {
            "normal": D.TransformedDistribution(Normal(loc, F.softplus(s) + 1e-3), [affine]),
            "studentT": StudentT(2.0 + F.softplus(df[..., 0]), t_loc[..., 0] * scale, scale),
            "counts": NegativeBinomial(F.softplus(r.squeeze(-1)), logits=logit.squeeze(-1)),
        }


def build(variant):
    return MDN() if variant == "mdn" else DeepAR()


def data(rng):
    t = torch.arange(60).view(4, 15)
    noise = torch.from_numpy(rng.standard_normal((4, 15)))
    past = torch.sin(t / 4) * torch.tensor([[1.0], [2.0], [0.5], [3.0]]) + 0.1 * noise
    covariate = (t % 7).to(noise.dtype) / 7
    return past, covariate, torch.arange(4), torch.from_numpy(rng.poisson(3.0, (4, 15))).float()


def train(model, data, steps):
    past, covariate, series, counts = data
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    losses = []

    def train_step(past, covariate, series, counts):
        optimizer.zero_grad()
        if isinstance(model, MDN):
            x, y = covariate.reshape(-1, 1), torch.stack([past.flatten(), counts.flatten()], 1)
            loss = mdn_loss(*model(x), y)
        else:
            outputs, scale = model(past, covariate, series)
            distr = model.distr(outputs, scale)
            observed = torch.where(past.abs() > 0.05, 1.0, 0.0)
            nll = -(distr["normal"].log_prob(past) + distr["studentT"].log_prob(past))
            loss = (nll * observed).sum() / observed.sum().clamp(min=1.0)
            loss = loss - distr["counts"].log_prob(counts).mean()
        loss.backward()
        nn.utils.clip_grad_value_(model.parameters(), clip_value=1.0)
        optimizer.step()
        return loss

    for i in range(steps):
        loss = train_step(past, covariate, series, counts)
        scheduler.step(loss.detach())
        losses.append(loss.item())
    print(optimizer.param_groups[0]["lr"], scheduler.num_bad_epochs)
    return losses


def evaluate(model, data):
    past, covariate, series, counts = data
    if isinstance(model, MDN):
        pi, sigma, mu = model(covariate.reshape(-1, 1))
        mixture = MixtureSameFamily(Categorical(probs=pi), Independent(Normal(mu, sigma), 1))
        y = torch.stack([past.flatten(), counts.flatten()], dim=1)
        assert torch.allclose(-mixture.log_prob(y).mean(), mdn_loss(pi, sigma, mu, y))
        return [mixture.mean, mixture.variance, mixture.log_prob(y), mixture.event_shape]
    distr = model.distr(*model(past, covariate, series))
    normal = distr["normal"]
    quantiles = [normal.icdf(torch.tensor(q).to(past)) for q in (0.1, 0.5, 0.9)]
    crps = sum(
        2 * torch.max(q * (past - z), (q - 1) * (past - z)).mean()
        for q, z in zip((0.1, 0.5, 0.9), quantiles)
    )
    return [quantiles, crps, normal.cdf(past), distr["studentT"].variance, distr["counts"].mean]


def sample(model, data):
    if isinstance(model, MDN):
        pi, sigma, mu = model(data[1].reshape(-1, 1))
        pis = Categorical(pi).sample().view(-1, 1, 1).expand(-1, 1, 2)
        return torch.gather(mu, 1, pis).squeeze(1) + torch.randn(60, 2) * sigma.gather(1, pis)[:, 0]
    return model.distr(*model(*data[:3]))["normal"].sample((5,))
