"""Bayesian logistic regression: a variational fit, then Hamiltonian Monte Carlo; noise is data."""

import torch
import torch.distributions as dist
import torch.nn as nn
from torch.func import functional_call, grad_and_value, hessian, vmap
from torch.nn.utils import parameters_to_vector, vector_to_parameters


class Posterior(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.linear = nn.Linear(dim, 1)
        self.log_scale = nn.Parameter(torch.full((dim + 1,), -1.0))

    def forward(self, x):
        return self.linear(x).squeeze(-1)


def log_joint(theta, x, y):
    w, b = theta[..., :-1], theta[..., -1]
    logits = x @ w + b
    prior = dist.Independent(dist.Normal(torch.zeros_like(theta), torch.ones_like(theta)), 1)
    return prior.log_prob(theta) + dist.Bernoulli(logits=logits).log_prob(y).sum(-1)


def leapfrog(theta, momentum, grad_fn, step_size, num_steps):
    momentum = momentum + 0.5 * step_size * grad_fn(theta)
    for i in range(num_steps):
        theta = theta + step_size * momentum
        if i < num_steps - 1:
            momentum = momentum + step_size * grad_fn(theta)
    momentum = momentum + 0.5 * step_size * grad_fn(theta)
    return theta, -momentum


def hmc(theta, x, y, kicks, uniforms, step_size=0.1, num_steps=5):
    def grad_fn(q):
        q = q.detach().requires_grad_()
        (g,) = torch.autograd.grad(log_joint(q, x, y), q)
        return g

    def hamiltonian(q, p):
        return -log_joint(q, x, y) + 0.5 * torch.dot(p, p)

    samples, accepted = [], 0
    for p, u in zip(kicks, uniforms):
        proposal, p_new = leapfrog(theta, p, grad_fn, step_size, num_steps)
        log_accept = hamiltonian(theta, p) - hamiltonian(proposal, p_new)
        if torch.log(u) < torch.min(log_accept, torch.zeros(())):
            theta = proposal
            accepted += 1
        samples.append(theta.clone())
    return torch.stack(samples), accepted / len(kicks)


def build():
    return Posterior(3)


def data(rng):
    x = torch.from_numpy(rng.standard_normal((40, 3)))
    w = torch.tensor([1.5, -2.0, 0.5])
    y = (x.to(w) @ w > torch.as_tensor(rng.standard_normal(40)).to(w)).to(x.dtype)
    noise = torch.from_numpy(rng.standard_normal((30, 8, 4)))
    return x, y, noise, torch.from_numpy(rng.random(30))


def train(model, data, steps):
    x, y, noise, _ = data
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    losses = []

    def train_step(epsilon):
        optimizer.zero_grad(set_to_none=True)
        mean = parameters_to_vector(model.linear.parameters())
        q = dist.Independent(dist.Normal(mean, model.log_scale.exp()), 1)
        theta = mean + model.log_scale.exp() * epsilon
        log_p = torch.stack([log_joint(t, x, y) for t in theta.unbind()])
        elbo = (log_p - q.log_prob(theta)).mean()
        loss = elbo.neg()
        loss.backward()
        optimizer.step()
        return loss

    for i in range(steps):
        losses.append(train_step(noise[i]).item())
    return losses


def evaluate(model, data):
    x, y, noise, uniforms = data
    start = parameters_to_vector(model.linear.parameters()).detach()
    samples, rate = hmc(start, x, y, noise[:, 0], uniforms)
    print(f"acceptance {rate:.2f}")
    curvature = hessian(log_joint)(start, x, y)
    laplace = dist.MultivariateNormal(start, precision_matrix=-curvature)
    mode = nn.Linear(3, 1).to(x.dtype)
    vector_to_parameters(samples.mean(0), mode.parameters())
    params = {k: torch.stack([v, 2 * v]).detach() for k, v in mode.named_parameters()}
    both = vmap(lambda p: functional_call(mode, p, (x,)), randomness="error")(params)
    slopes, values = vmap(grad_and_value(log_joint), in_dims=(0, None, None))(samples[:5], x, y)
    quantiles = torch.quantile(samples, torch.tensor([0.05, 0.95], dtype=samples.dtype), dim=0)
    kl = dist.kl_divergence(
        dist.Normal(start, model.log_scale.exp()), dist.Normal(torch.tensor(0.0), torch.tensor(1.0))
    )
    result = [samples, rate, laplace.covariance_matrix, both, slopes, values, quantiles, kl]
    return result + [torch.cov(samples.T), torch.corrcoef(samples.T)]


def sample(model, data):
    mean = parameters_to_vector(model.linear.parameters())
    return dist.Normal(mean, model.log_scale.exp()).rsample((7,))
