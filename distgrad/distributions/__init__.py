"""Probability distributions, as torch.distributions: sample, rsample, log_prob, entropy, KL.

Samples come from ``dg.random``: inside a shard they are the same on any number of ranks.
"""

from distgrad.arguments import check_constructors as _check_constructors
from distgrad.distributions import constraints, transforms
from distgrad.distributions import kl_bounded as _kl_bounded  # noqa: F401 (fills the table)
from distgrad.distributions import kl_cross as _kl_cross  # noqa: F401 (fills the table)
from distgrad.distributions import kl_matrices as _kl_matrices  # noqa: F401 (fills the table)
from distgrad.distributions import kl_pairs as _kl_pairs  # noqa: F401 (fills the table)
from distgrad.distributions.categorical import (
    Categorical,
    Multinomial,
    OneHotCategorical,
    OneHotCategoricalStraightThrough,
)
from distgrad.distributions.continuous_bernoulli import ContinuousBernoulli
from distgrad.distributions.counts import Bernoulli, Binomial, Geometric, NegativeBinomial, Poisson
from distgrad.distributions.distribution import Distribution
from distgrad.distributions.exponential import Exponential, Gumbel, Laplace, Uniform, Weibull
from distgrad.distributions.fisher_snedecor import FisherSnedecor
from distgrad.distributions.gamma import Beta, Chi2, Dirichlet, Gamma
from distgrad.distributions.generalized_pareto import GeneralizedPareto
from distgrad.distributions.independent import Independent
from distgrad.distributions.inverse_gamma import InverseGamma
from distgrad.distributions.kl import kl_divergence, register_kl
from distgrad.distributions.kumaraswamy import Kumaraswamy
from distgrad.distributions.lkj_cholesky import LKJCholesky
from distgrad.distributions.logistic_normal import LogisticNormal
from distgrad.distributions.lowrank_multivariate_normal import LowRankMultivariateNormal
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
from distgrad.distributions.pareto import Pareto
from distgrad.distributions.relaxed import (
    LogitRelaxedBernoulli,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
)
from distgrad.distributions.transformed import TransformedDistribution
from distgrad.distributions.transforms import (
    AbsTransform,
    AffineTransform,
    CatTransform,
    ComposeTransform,
    CorrCholeskyTransform,
    CumulativeDistributionTransform,
    ExpTransform,
    IndependentTransform,
    LowerCholeskyTransform,
    PositiveDefiniteTransform,
    PowerTransform,
    ReshapeTransform,
    SigmoidTransform,
    SoftmaxTransform,
    SoftplusTransform,
    StackTransform,
    StickBreakingTransform,
    TanhTransform,
    Transform,
    identity_transform,
)
from distgrad.distributions.von_mises import VonMises
from distgrad.distributions.wishart import Wishart
from distgrad.missing import answers as _answers

__all__ = [
    "AbsTransform",
    "AffineTransform",
    "Bernoulli",
    "Beta",
    "Binomial",
    "CatTransform",
    "Categorical",
    "Cauchy",
    "Chi2",
    "ComposeTransform",
    "ContinuousBernoulli",
    "CorrCholeskyTransform",
    "CumulativeDistributionTransform",
    "Dirichlet",
    "Distribution",
    "ExpTransform",
    "Exponential",
    "FisherSnedecor",
    "Gamma",
    "GeneralizedPareto",
    "Geometric",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "Independent",
    "IndependentTransform",
    "InverseGamma",
    "Kumaraswamy",
    "LKJCholesky",
    "Laplace",
    "LogNormal",
    "LogisticNormal",
    "LogitRelaxedBernoulli",
    "LowRankMultivariateNormal",
    "LowerCholeskyTransform",
    "MixtureSameFamily",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "OneHotCategorical",
    "OneHotCategoricalStraightThrough",
    "Pareto",
    "Poisson",
    "PositiveDefiniteTransform",
    "PowerTransform",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "ReshapeTransform",
    "SigmoidTransform",
    "SoftmaxTransform",
    "SoftplusTransform",
    "StackTransform",
    "StickBreakingTransform",
    "StudentT",
    "TanhTransform",
    "Transform",
    "TransformedDistribution",
    "Uniform",
    "VonMises",
    "Weibull",
    "Wishart",
    "constraints",
    "identity_transform",
    "kl_divergence",
    "register_kl",
    "transforms",
]

_check_constructors(globals(), __all__, afterwards=True)

__getattr__ = _answers("distgrad.distributions", globals())
