"""Probability distributions, as torch.distributions: sample, rsample, log_prob, entropy, KL.

Samples come from ``dg.random``: inside a shard they are the same on any number of ranks.
"""

from distgrad.distributions import constraints, transforms
from distgrad.distributions import kl_cross as _kl_cross  # noqa: F401 (fills the table)
from distgrad.distributions import kl_pairs as _kl_pairs  # noqa: F401 (fills the table)
from distgrad.distributions.categorical import (
    Categorical,
    Multinomial,
    OneHotCategorical,
    OneHotCategoricalStraightThrough,
)
from distgrad.distributions.counts import Bernoulli, Binomial, Geometric, NegativeBinomial, Poisson
from distgrad.distributions.distribution import Distribution
from distgrad.distributions.exponential import Exponential, Gumbel, Laplace, Uniform, Weibull
from distgrad.distributions.gamma import Beta, Chi2, Dirichlet, Gamma
from distgrad.distributions.independent import Independent
from distgrad.distributions.kl import kl_divergence, register_kl
from distgrad.distributions.mixture import MixtureSameFamily
from distgrad.distributions.multivariate_normal import MultivariateNormal
from distgrad.distributions.normal import (
    Cauchy,
    HalfCauchy,
    HalfNormal,
    LogNormal,
    Normal,
    StudentT,
)
from distgrad.distributions.relaxed import (
    LogitRelaxedBernoulli,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
)
from distgrad.distributions.transformed import TransformedDistribution
from distgrad.distributions.transforms import (
    AbsTransform,
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    IndependentTransform,
    PowerTransform,
    ReshapeTransform,
    SigmoidTransform,
    SoftmaxTransform,
    SoftplusTransform,
    TanhTransform,
    Transform,
)
from distgrad.missing import answers as _answers

__all__ = [
    "AbsTransform",
    "AffineTransform",
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "Cauchy",
    "Chi2",
    "ComposeTransform",
    "Dirichlet",
    "Distribution",
    "ExpTransform",
    "Exponential",
    "Gamma",
    "Geometric",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "Independent",
    "IndependentTransform",
    "Laplace",
    "LogNormal",
    "LogitRelaxedBernoulli",
    "MixtureSameFamily",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "OneHotCategorical",
    "OneHotCategoricalStraightThrough",
    "Poisson",
    "PowerTransform",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "ReshapeTransform",
    "SigmoidTransform",
    "SoftmaxTransform",
    "SoftplusTransform",
    "StudentT",
    "TanhTransform",
    "Transform",
    "TransformedDistribution",
    "Uniform",
    "Weibull",
    "constraints",
    "kl_divergence",
    "register_kl",
    "transforms",
]

__getattr__ = _answers("distgrad.distributions", globals())
