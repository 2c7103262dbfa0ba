"""Every distribution against torch.distributions: values and gradients in float64."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np
import pytest
from distribution_cases import CASES
from oracle import torch

from distgrad import Tensor, distributions
from distgrad.autograd import grad
from distgrad.distributions.kl import _TABLE, kl_divergence

TD = torch.distributions
# PyTorch's own samples of a Wishart distribution, which are not looked at here.
pytestmark = pytest.mark.filterwarnings("ignore:Singular sample detected")
every_case = pytest.mark.parametrize("name", CASES)


def both(name: str) -> tuple[Any, list[Any], Any, list[Any], Any]:
    build, parameters, value = CASES[name]
    mine = [Tensor(np.array(p), requires_grad=True) for p in parameters]
    other = [torch.tensor(p, requires_grad=True) for p in parameters]
    return build(distributions, *mine), mine, build(TD, *other), other, value


# PyTorch's I₀ has 7 digits, its GeneralizedPareto compares a concentration with a float32 number.
DIGITS = {"VonMises": 1e-6}
FLOAT32 = {"GeneralizedPareto"}


def tolerance(name: str) -> float:
    if name in FLOAT32:
        pytest.skip("PyTorch's own fails in float64: see the test in float32")
    return DIGITS.get(name, 1e-9)


def compare(
    found: Any, wanted: Any, mine: Any = (), other: Any = (), what: str = "", rtol: float = 1e-9
) -> None:
    """Equal values; equal gradients of a fixed projection, where PyTorch has finite ones."""
    result = wanted.detach().numpy()
    np.testing.assert_allclose(found.data, result, rtol=rtol, atol=rtol, err_msg=what)
    assert found.shape == result.shape, what
    if not wanted.requires_grad or not mine:
        return
    direction = np.cos(np.arange(result.size)).reshape(result.shape)
    direction = np.where(np.isfinite(result), direction, 0)
    gs = torch.autograd.grad(wanted, other, torch.from_numpy(direction), allow_unused=True)
    hs = [None] * len(gs)
    if found.requires_grad:
        hs = grad(found, mine, gradient=direction, allow_unused=True)
    for i, x in enumerate(other):
        g = np.zeros(x.shape) if gs[i] is None else gs[i].numpy()
        h = np.zeros(x.shape) if hs[i] is None else hs[i].data
        if np.all(np.isfinite(g)):
            np.testing.assert_allclose(h, g, rtol=rtol, atol=rtol, err_msg=f"{what}, input {i}")


@every_case
def test_log_prob(name):
    p, mine, q, other, value = both(name)
    rtol = tolerance(name)
    compare(p.log_prob(Tensor(value)), q.log_prob(torch.tensor(value)), mine, other, rtol=rtol)


@every_case
def test_gradient_of_log_prob_to_the_value(name):
    p, _, q, _, value = both(name)
    if q.support.is_discrete:
        return
    x, y = Tensor(np.array(value), requires_grad=True), torch.tensor(value, requires_grad=True)
    rtol = tolerance(name)
    compare(p.log_prob(x), q.log_prob(y), [x], [y], rtol=rtol)


@every_case
@pytest.mark.parametrize("what", ["entropy", "mean", "mode", "variance", "stddev", "perplexity"])
def test_moments_and_entropy(name, what):
    p, mine, q, other, _ = both(name)
    try:
        wanted = getattr(q, what)
        wanted = wanted() if callable(wanted) else wanted
    except (NotImplementedError, AttributeError):
        pytest.skip("PyTorch has none")
    found = getattr(p, what)
    found = found() if callable(found) else found
    # PyTorch's log n! of a Multinomial is in float32.
    rtol = 1e-6 if "Multinomial" in name else DIGITS.get(name, 1e-9)
    compare(found, wanted, mine, other, what, rtol)


@every_case
@pytest.mark.parametrize("what", ["cdf", "icdf"])
def test_distribution_functions_and_quantiles(name, what):
    p, mine, q, other, value = both(name)
    tolerance(name)
    if what == "icdf":
        value = np.linspace(0.05, 0.95, np.size(value)).reshape(np.shape(value))
    try:
        wanted = getattr(q, what)(torch.tensor(value))
    except NotImplementedError:
        pytest.skip("PyTorch has none")
    if what == "cdf" and isinstance(q, TD.Gamma | TD.InverseGamma):
        wanted, mine = wanted.detach(), []  # PyTorch has no gradient to the concentration
    compare(getattr(p, what)(Tensor(value)), wanted, mine, other, what)


@every_case
def test_shapes_and_flags(name):
    p, _, q, _, _ = both(name)
    assert p.batch_shape == tuple(q.batch_shape)
    assert p.event_shape == tuple(q.event_shape)
    for flag in ("has_rsample", "has_enumerate_support"):
        assert getattr(p, flag) == getattr(q, flag), flag
    assert p.sample((2, 3)).shape == tuple(q.sample((2, 3)).shape)
    assert p.sample().shape == tuple(q.sample().shape)
    assert p.sample().dtype == np.dtype(str(q.sample().dtype).removeprefix("torch."))


@every_case
def test_expanded(name):
    p, _, q, _, value = both(name)
    shape = (4, *p.batch_shape)
    e, f = p.expand(shape), q.expand(torch.Size(shape))
    assert e.batch_shape == tuple(f.batch_shape)
    assert e.event_shape == tuple(f.event_shape)
    assert e.sample((2,)).shape == tuple(f.sample((2,)).shape)
    event = value[(0,) * (value.ndim - len(p.event_shape))]
    rtol = tolerance(name)
    compare(e.log_prob(Tensor(event)), f.log_prob(torch.tensor(event)), rtol=rtol)


@every_case
def test_enumerated_support(name):
    p, _, q, _, _ = both(name)
    if not q.has_enumerate_support:
        return
    for expand in (True, False):
        found, wanted = p.enumerate_support(expand), q.enumerate_support(expand)
        np.testing.assert_array_equal(found.data, wanted.numpy())


@every_case
def test_gradients_through_samples(name):
    # With the same sample: what autograd of the formula that made it gives.
    p, _mine, q, _other, _ = both(name)
    if not q.has_rsample:
        with pytest.raises(NotImplementedError):
            p.rsample()
        return
    assert p.rsample((2,)).requires_grad
    assert not p.sample((2,)).requires_grad


NAMES = [n for n in CASES if n.split(" ")[0] == n or n.endswith("logits")]
PAIRS = [
    (a, b)
    for a in [*NAMES, "MultivariateNormal by covariance", "Affine of Normal"]
    for b in [*NAMES, "Affine of Normal"]
    if not (a.endswith("logits") ^ b.endswith("logits"))
]


def test_kl_divergence_of_all_pairs():
    seen = set()
    for a, b in PAIRS:
        if a.startswith("ContinuousBernoulli") and b == "Uniform":
            continue  # PyTorch's is infinite where the ends are the same, too
        if a.startswith("Wishart"):
            continue  # PyTorch's own depends on whether its batch is broadcast
        p, mine, q, other, _ = both(a)
        r, mine2, s, other2, _ = both(b)
        try:
            wanted = TD.kl_divergence(q, s)
        except (NotImplementedError, RuntimeError, IndexError):
            continue
        if np.any(np.isnan(wanted.detach().numpy())):  # 0 log 0
            assert not np.any(np.isnan(kl_divergence(p, r).data))
            continue
        if not np.all(np.isfinite(wanted.detach().numpy())):
            # PyTorch's ∞ has p's shape alone.
            shape = np.broadcast_shapes(p.batch_shape, r.batch_shape)
            wanted, mine, mine2 = wanted.detach().broadcast_to(shape), [], []
        if a == b == "Weibull":  # PyTorch's takes the concentrations for equal constants
            mine, mine2 = [], []
        compare(kl_divergence(p, r), wanted, [*mine, *mine2], [*other, *other2], f"KL({a} || {b})")
        seen.add((type(p), type(r)))
    assert len(seen) > 50


def test_kl_of_a_pareto_and_a_uniform_with_the_ends_of_a_continuous_bernoulli():
    p = distributions.ContinuousBernoulli(Tensor(np.array(0.3)))
    even = distributions.Uniform(Tensor(np.array(0.0)), 1.0)
    compare(kl_divergence(p, even), torch.tensor(-p.entropy().item()))
    assert kl_divergence(p, distributions.Uniform(0.1, 1.0)).item() == np.inf


def test_generalized_pareto_in_float32():
    parameters = [(0.5, 1.5, k) for k in (-0.4, 0.0, 0.3, 0.8, 1.2)]
    columns = [np.array(c, np.float32) for c in zip(*parameters, strict=True)]
    mine = [Tensor(c, requires_grad=True) for c in columns]
    other = [torch.tensor(c, requires_grad=True) for c in columns]
    p, q = distributions.GeneralizedPareto(*mine), TD.GeneralizedPareto(*other)
    x = np.array([0.6, 1.0, 1.5, 2.0, 3.0], np.float32)
    for what in ("log_prob", "cdf", "log_cdf", "log_survival_function"):
        found, wanted = getattr(p, what)(Tensor(x)), getattr(q, what)(torch.tensor(x))
        compare(found, wanted, mine, other, what, 1e-5)
    u = np.linspace(0.05, 0.95, 5, dtype=np.float32)
    compare(p.icdf(Tensor(u)), q.icdf(torch.tensor(u)), mine, other, "icdf", 1e-5)
    np.testing.assert_array_equal(p.mean.array, q.mean.detach().numpy())
    with pytest.raises(ValueError, match="support"):
        p.log_prob(Tensor(np.float32(9.0)))  # beyond the end of the first


def test_kl_of_parameters_that_differ():
    rng = np.random.default_rng(3)
    for one in sorted({n for n in CASES if " " not in n}):
        build, parameters, _ = CASES[one]
        if one == "Wishart":  # PyTorch's own depends on whether its batch is broadcast
            continue
        if one in {"Uniform", "MultivariateNormal"}:
            moved = [np.array(x) * 1.1 for x in parameters]
        else:
            moved = [np.abs(x * (1 + 0.1 * rng.uniform(-1, 1, np.shape(x)))) for x in parameters]
        mine = [Tensor(np.array(x), requires_grad=True) for x in (*parameters, *moved)]
        other = [torch.tensor(x, requires_grad=True) for x in (*parameters, *moved)]
        k = len(parameters)
        try:
            wanted = TD.kl_divergence(build(TD, *other[:k]), build(TD, *other[k:]))
        except (NotImplementedError, RuntimeError, IndexError):
            continue
        p, q = build(distributions, *mine[:k]), build(distributions, *mine[k:])
        compare(kl_divergence(p, q), wanted, mine, other, one)


def test_every_kl_of_pytorch_between_distributions_of_ours_is_here():
    from torch.distributions.kl import _KL_REGISTRY  # noqa: PLC0415

    own = set(distributions.__all__)
    theirs = {(a.__name__, b.__name__) for a, b in _KL_REGISTRY}
    theirs = {pair for pair in theirs if set(pair) <= own}
    assert theirs <= {(a.__name__, b.__name__) for a, b in _TABLE}


def test_every_distribution_of_ours_is_compared():
    compared = {type(both(name)[0]) for name in CASES}
    base = distributions.Distribution
    kinds = [getattr(distributions, n) for n in distributions.__all__]
    kinds = {k for k in kinds if inspect.isclass(k) and issubclass(k, base) and k is not base}
    compared |= {distributions.TransformedDistribution, distributions.LogitRelaxedBernoulli}
    assert kinds <= compared


BAD = {
    "Normal": lambda D, t: D.Normal(t([0.0]), t([-1.0])),
    "Bernoulli": lambda D, t: D.Bernoulli(t([1.5])),
    "Categorical": lambda D, t: D.Categorical(t([[-0.5, 0.5]])),
    "Dirichlet": lambda D, t: D.Dirichlet(t([1.0, -2.0])),
    "Uniform": lambda D, t: D.Uniform(t([1.0]), t([0.0])),
    "both": lambda D, t: D.Bernoulli(t([0.5]), t([0.5])),
    "neither": lambda D, t: D.Categorical(),
    "value": lambda D, t: D.Exponential(t([1.0])).log_prob(t([-1.0])),
    "value that is no number of the support": lambda D, t: D.Bernoulli(t([0.5])).log_prob(t([0.3])),
    "event": lambda D, t: D.Dirichlet(t([1.0, 2.0])).log_prob(t([0.2, 0.3, 0.5])),
    "NaN": lambda D, t: D.Normal(t([float("nan")]), t([1.0])),
    "shapes": lambda D, t: D.Independent(D.Normal(t([0.0]), t([1.0])), 2),
    "matrix": lambda D, t: D.MultivariateNormal(t([0.0, 1.0]), t([[1.0, 2.0], [2.0, 1.0]])),
}


@pytest.mark.parametrize("name", BAD)
def test_what_pytorch_refuses_is_refused(name):
    make = BAD[name]
    with pytest.raises(ValueError):  # noqa: PT011 (PyTorch's)
        make(TD, lambda x: torch.tensor(x, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"\w{4}"):
        make(distributions, lambda x: Tensor(np.array(x)))


def test_transforms_undo_themselves_and_have_pytorchs_derivative():
    kinds: dict[str, Any] = {
        "Exp": lambda D: D.ExpTransform(),
        "Sigmoid": lambda D: D.SigmoidTransform(),
        "Tanh": lambda D: D.TanhTransform(),
        "Softplus": lambda D: D.SoftplusTransform(),
        "Affine": lambda D: D.AffineTransform(0.5, -3.0),
        "Compose": lambda D: D.ComposeTransform([D.AffineTransform(0.5, 2.0), D.TanhTransform()]),
        "Independent": lambda D: D.IndependentTransform(D.ExpTransform(), 1),
        "inverse": lambda D: D.SigmoidTransform().inv,
    }
    x = np.linspace(0.05, 0.95, 6).reshape(2, 3)
    for name, make in kinds.items():
        t, u = make(distributions), make(TD)
        y, z = t(Tensor(x)), u(torch.tensor(x))
        compare(y, z, what=name)
        compare(t.inv(y), torch.tensor(x), what=name)
        compare(
            t.log_abs_det_jacobian(Tensor(x), y),
            u.log_abs_det_jacobian(torch.tensor(x), z),
            what=name,
        )


VECTORS: dict[str, Any] = {
    "StickBreaking": (lambda T: T.StickBreakingTransform(), (2, 3)),
    "CorrCholesky": (lambda T: T.CorrCholeskyTransform(), (2, 6)),
    "LowerCholesky": (lambda T: T.LowerCholeskyTransform(), (2, 3, 3)),
    "PositiveDefinite": (lambda T: T.PositiveDefiniteTransform(), (2, 3, 3)),
    "Cat": (
        lambda T: T.CatTransform([T.ExpTransform(), T.AffineTransform(1.0, -2.0)], -1, [1, 2]),
        (2, 3),
    ),
    "Cat of vectors": (
        lambda T: T.CatTransform([T.StickBreakingTransform(), T.StickBreakingTransform()], 0),
        (2, 3),
    ),
    "Stack": (
        lambda T: T.StackTransform(
            [T.ExpTransform(), T.AffineTransform(1.0, -2.0), T.TanhTransform()], dim=1
        ),
        (2, 3),
    ),
    "CumulativeDistribution": (
        lambda T: T.CumulativeDistributionTransform(
            (distributions if T is distributions.transforms else TD).Normal(0.5, 2.0)
        ),
        (2, 3),
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_transforms_of_vectors_and_matrices(name):
    make, shape = VECTORS[name]
    t, u = make(distributions.transforms), make(TD.transforms)
    x = np.random.default_rng(4).normal(size=shape)
    one, two = Tensor(x.copy(), requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = t(one), u(two)
    compare(y, z, [one], [two], rtol=1e-7)
    compare(t.inv(y.detach()), u.inv(z.detach()), rtol=1e-7)
    assert np.all(t.codomain.check(y).array)
    assert bool(u.codomain.check(z).all())
    assert t.domain.event_dim == u.domain.event_dim
    assert t.forward_shape(shape) == tuple(u.forward_shape(torch.Size(shape)))
    assert t.inverse_shape(y.shape) == tuple(u.inverse_shape(z.shape))
    y, z = t(one), u(two)
    try:
        wanted = u.log_abs_det_jacobian(two, z)
    except NotImplementedError:
        with pytest.raises(NotImplementedError, match="has no log_abs_det_jacobian"):
            t.log_abs_det_jacobian(one, y)
        return
    compare(t.log_abs_det_jacobian(one, y), wanted, [one], [two], rtol=1e-7)


def test_the_names_of_pytorchs_modules_are_here_or_say_what_to_write():
    for theirs, ours in ((TD, distributions), (TD.transforms, distributions.transforms)):
        for name in theirs.__all__:
            if not hasattr(ours, name):
                with pytest.raises(AttributeError, match=": "):
                    getattr(ours, name)
    assert {n for n in TD.constraints.__all__ if not hasattr(distributions.constraints, n)} == {
        "MixtureSameFamilyConstraint"
    }


def test_the_warnings_of_pytorch_are_none_of_ours():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in CASES:
            both(name)
