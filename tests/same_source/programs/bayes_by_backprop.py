"""Bayes by backprop: weights are distributions, the loss is a lower bound; noise is data."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class Gaussian(object):
    def __init__(self, mu, rho):
        super().__init__()
        self.mu = mu
        self.rho = rho
        self.normal = torch.distributions.Normal(0, 1)

    @property
    def sigma(self):
        return torch.log1p(torch.exp(self.rho))

    def sample(self, epsilon=None):
        if epsilon is None:
            epsilon = self.normal.sample(self.rho.size()).to(self.rho.dtype)
        return self.mu + self.sigma * epsilon

    def log_prob(self, input):
        return (
            -math.log(math.sqrt(2 * math.pi))
            - torch.log(self.sigma)
            - ((input - self.mu) ** 2) / (2 * self.sigma**2)
        ).sum()


class ScaleMixtureGaussian(object):
    def __init__(self, pi, sigma1, sigma2):
        super().__init__()
        self.pi = pi
        self.gaussian1 = torch.distributions.Normal(0, sigma1)
        self.gaussian2 = torch.distributions.Normal(0, sigma2)

    def log_prob(self, input):
        prob1 = torch.exp(self.gaussian1.log_prob(input))
        prob2 = torch.exp(self.gaussian2.log_prob(input))
        return (torch.log(self.pi * prob1 + (1 - self.pi) * prob2)).sum()


PI = 0.5
SIGMA_1 = torch.tensor([math.exp(-0)], dtype=torch.get_default_dtype())
SIGMA_2 = torch.tensor([math.exp(-2)], dtype=torch.get_default_dtype())


class BayesianLinear(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        shape = (out_features, in_features)
        self.weight_mu = nn.Parameter(torch.empty(*shape).uniform_(-0.2, 0.2))
        self.weight_rho = nn.Parameter(torch.empty(*shape).uniform_(-5, -4))
        self.weight = Gaussian(self.weight_mu, self.weight_rho)
        self.bias_mu = nn.Parameter(torch.empty(out_features).uniform_(-0.2, 0.2))
        self.bias_rho = nn.Parameter(torch.empty(out_features).uniform_(-5, -4))
        self.bias = Gaussian(self.bias_mu, self.bias_rho)
        self.weight_prior = ScaleMixtureGaussian(PI, SIGMA_1, SIGMA_2)
        self.bias_prior = ScaleMixtureGaussian(PI, SIGMA_1, SIGMA_2)
        self.log_prior = 0
        self.log_variational_posterior = 0

    def forward(self, input, sample=False, noise=None):
        if self.training or sample:
            weight = self.weight.sample(noise and noise.pop())
            bias = self.bias.sample(noise and noise.pop())
        else:
            weight = self.weight.mu
            bias = self.bias.mu
        if self.training:
            self.log_prior = self.weight_prior.log_prob(weight) + self.bias_prior.log_prob(bias)
            self.log_variational_posterior = self.weight.log_prob(weight) + self.bias.log_prob(bias)
        else:
            self.log_prior, self.log_variational_posterior = 0, 0
        return F.linear(input, weight, bias)

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}"


class BayesianNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.l1 = BayesianLinear(6, 10)
        self.l2 = BayesianLinear(10, 3)

    def forward(self, x, sample=False, noise=None):
        x = x.view(-1, 6)
        x = F.relu(self.l1(x, sample, noise))
        return F.log_softmax(self.l2(x, sample, noise), dim=1)

    def log_prior(self):
        return self.l1.log_prior + self.l2.log_prior

    def log_variational_posterior(self):
        return self.l1.log_variational_posterior + self.l2.log_variational_posterior

    def sample_elbo(self, input, target, epsilons, num_batches=4):
        samples = len(epsilons)
        outputs = torch.zeros(samples, len(input), 3)
        log_priors = torch.zeros(samples)
        log_variational_posteriors = torch.zeros(samples)
        for i in range(samples):
            outputs[i] = self(input, sample=True, noise=list(epsilons[i]))
            log_priors[i] = self.log_prior()
            log_variational_posteriors[i] = self.log_variational_posterior()
        log_prior = log_priors.mean()
        log_variational_posterior = log_variational_posteriors.mean()
        negative_log_likelihood = F.nll_loss(outputs.mean(0), target, reduction="sum")
        loss = (log_variational_posterior - log_prior) / num_batches + negative_log_likelihood
        return loss, log_prior, log_variational_posterior, negative_log_likelihood


def build():
    return BayesianNetwork()


def data(rng):
    x = torch.tensor(rng.standard_normal((24, 2, 3)))
    y = torch.tensor(rng.integers(0, 3, 24))
    shapes = [(3,), (3, 10), (10,), (10, 6)]
    noise = tuple(torch.tensor(rng.standard_normal((30, 2, *shape))) for shape in shapes)
    return x, y, noise


def train(net, data, steps):
    x, y, noise = data
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    print(net)
    losses = []

    def train_step(data, target, epsilons):
        net.zero_grad()
        loss, log_prior, log_variational_posterior, nll = net.sample_elbo(data, target, epsilons)
        loss.backward()
        optimizer.step()
        return loss

    for i in range(steps):
        batch = slice(6 * (i % 4), 6 * (i % 4) + 6)
        epsilons = [[part[i, j] for part in noise] for j in range(2)]
        losses.append(train_step(x[batch], y[batch], epsilons).item())
    return losses


def evaluate(net, data):
    net.eval()
    with torch.no_grad():
        output = net(data[0], sample=False)
        pred = output.max(1, keepdim=True)[1]
        correct = pred.eq(data[1].view_as(pred)).sum().item()
    return [output, correct, net.l1.weight.sigma]


def sample(net, data):
    net.eval()
    return torch.stack([net(data[0], sample=True).argmax(1) for _ in range(3)])
