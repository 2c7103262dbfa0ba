"""A Gaussian mixture fitted by gradient descent with logsumexp; and by torch.distributions."""

import math

import torch
import torch.distributions as D


def run(rng):
    x = torch.tensor(rng.standard_normal((60, 2)) + 3 * rng.integers(0, 2, (60, 1)))
    weights = torch.zeros(3, requires_grad=True)
    means = torch.tensor(rng.standard_normal((3, 2)), requires_grad=True)
    log_stds = torch.zeros(3, 2, requires_grad=True)
    optimizer = torch.optim.Adam([weights, means, log_stds], lr=0.05)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        diff = (x[:, None, :] - means[None]) / log_stds.exp()
        log_prob = -0.5 * (diff**2).sum(-1) - log_stds.sum(-1) - math.log(2 * math.pi)
        loss = -torch.logsumexp(torch.log_softmax(weights, 0) + log_prob, dim=1).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    mix = D.Categorical(logits=weights)
    comp = D.Independent(D.Normal(means, log_stds.exp()), 1)
    gmm = D.MixtureSameFamily(mix, comp)
    loss = -gmm.log_prob(x).mean()
    optimizer.zero_grad()
    loss.backward()
    kl = D.kl_divergence(D.Normal(means, log_stds.exp()), D.Normal(0.0, 1.0)).sum()
    bern = D.Bernoulli(logits=weights)
    beta = D.Beta(torch.tensor([0.5, 2.0]), torch.tensor([1.5, 1.0]))
    mvn = D.MultivariateNormal(torch.zeros(2), covariance_matrix=torch.eye(2) * 0.5 + 0.2)
    shapes = [D.Normal(means, 1.0).rsample((4,)).shape, gmm.sample((5,)).shape, mvn.sample().shape]
    return {
        "losses": losses,
        "grads": [loss, weights.grad, means.grad, log_stds.grad],
        "kl": kl,
        "shapes": [tuple(s) for s in shapes],
        "log_probs": [
            bern.log_prob(torch.tensor([0.0, 1.0, 1.0])),
            beta.log_prob(torch.tensor([0.3, 0.6])),
            mvn.log_prob(x[:4]),
            D.Uniform(-1.0, 4.0).log_prob(torch.tensor(0.5)),
            D.Gamma(2.0, 3.0).log_prob(torch.tensor(0.7)),
            D.Dirichlet(torch.tensor([1.0, 2.0, 3.0])).log_prob(torch.tensor([0.2, 0.3, 0.5])),
            D.Exponential(torch.tensor(2.0)).log_prob(torch.tensor(0.4)),
        ],
        "moments": [bern.mean, beta.variance, mix.probs, comp.entropy(), bern.entropy()],
    }
