"""Random numbers inside a captured step: the eager step's, drawn anew by every replay."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from distribution_cases import CASES

import distgrad as dg
from distgrad import distributions, nn
from distgrad.distributions.kl import _TABLE

CALLS = 5  # the first, second and fourth are recorded, the others replayed


def bits(values):
    return [(v.dtype.str, v.shape, v.array.tobytes()) for v in values]


def compared(step, leaves, *arguments):
    """Run ``step`` eagerly and captured from one seed, on values that change from call to call."""
    found = []
    for run in (step, dg.capture(step)):
        dg.manual_seed(3)
        results = []
        for call in range(CALLS):
            for p, start in leaves:
                p.grad = None
                p.data[...] = start * (1 + call / 1000)
            returned = run(*arguments)
            gradients = [p.grad for p, _ in leaves if p.grad is not None]
            results.append(bits([*returned, *gradients]))
        found.append(results)
    assert found[0] == found[1]
    return found[0]


def projected(results):
    """Return a number that depends on all results, unevenly."""
    total = 0
    for r in results:
        weights = dg.arange(1, r.numel() + 1).reshape(r.shape).to(r.dtype) / r.numel()
        total = total + (r * weights).sum()
    return total


def backward(results):
    loss = projected([r for r in results if r.requires_grad])
    if isinstance(loss, dg.Tensor):
        loss.backward()


def scaled(values):
    """Return a leaf for parameters that stay valid when they grow a little; whole ones are kept."""
    whole = np.all(values == np.floor(values))
    return np.asarray(values) if whole else nn.Parameter(dg.tensor(np.asarray(values, np.float64)))


def said(p, x):
    """Return what a distribution says, each of it where it says so: a list of Tensors."""
    found = [p.log_prob(x)]
    for ask in (
        p.entropy,
        lambda: p.mean,
        lambda: p.variance,
        lambda: p.mode,
        lambda: p.cdf(x),
    ):
        try:
            found.append(ask())
        except NotImplementedError:
            continue
    return found


@pytest.mark.parametrize("name", CASES)
def test_samples_and_what_is_said_of_them(name):
    build, parameters, _ = CASES[name]
    given = [scaled(p) for p in parameters]
    leaves = [(p, p.data.copy()) for p in given if isinstance(p, nn.Parameter)]
    if name.startswith(("LowRank", "MultivariateNormal", "Wishart")):
        leaves = [(p, v) for p, v in leaves if v.ndim < 2]  # a matrix stays one of its kind

    def step(*constants):
        constants = iter(constants)
        chosen = [p if isinstance(p, nn.Parameter) else dg.tensor(next(constants)) for p in given]
        p = build(distributions, *chosen)
        x = p.sample((2,))
        results = [x, *said(p, x)]
        if p.has_rsample:
            results.append(p.rsample((3,)))
        backward(results)
        return results

    calls = compared(step, leaves, *[p for p in given if not isinstance(p, nn.Parameter)])
    assert len({repr(call[0]) for call in calls}) > 1 or name.startswith(("Bernoulli", "One"))


def test_kl_divergence_of_every_pair_that_has_a_formula():
    seen = set()
    for a, b in itertools.product(CASES, CASES):
        kinds = tuple(type(built(name, CASES[name][1])) for name in (a, b))
        formulas = [k for k in _TABLE if all(map(issubclass, kinds, k))]
        if kinds in seen or not formulas or "Kumaraswamy" in a:  # equal values decide there
            continue
        leaves = [nn.Parameter(dg.tensor(np.asarray(p, np.float64))) for p in CASES[a][1]]

        def step(*others, a=a, b=b, leaves=leaves):
            found = distributions.kl_divergence(built(a, leaves), built(b, others))
            backward([found])
            return [found]

        others = [np.asarray(p, np.float64) for p in CASES[b][1]]
        try:
            step(*others)
        except (NotImplementedError, dg.ShapeError, ValueError):
            continue  # other numbers of axes, or counts
        seen.add(kinds)
        compared(step, [(p, p.data.copy()) for p in leaves if p.ndim < 2], *others)
    assert len(seen) > 60


def built(name, parameters):
    """Return the distribution of a case."""
    return CASES[name][0](distributions, *[dg.as_tensor(p) for p in parameters])
