"""Examples of distgrad.distributions."""

import distgrad as dg
from distgrad import distributions as D

x = dg.tensor([0.5, 1.5])
p = dg.tensor([0.2, 0.5, 0.3])
eye = dg.eye(2)

# Examples

D.Bernoulli(0.3).sample((5,))

D.Beta(2.0, 3.0).mean

D.Binomial(10, 0.3).log_prob(dg.tensor(3.0))

D.Categorical(p).entropy()

D.Cauchy(0.0, 1.0).cdf(x)

D.Chi2(3.0).mean

D.ContinuousBernoulli(0.3).mean

D.Dirichlet(dg.tensor([1.0, 2.0, 3.0])).sample()

# Distribution: what all of them share
normal = D.Normal(dg.zeros(3), 1.0)
isinstance(normal, D.Distribution), normal.batch_shape, normal.event_shape

D.Exponential(2.0).icdf(dg.tensor(0.5))

D.FisherSnedecor(3.0, 5.0).mean

D.Gamma(2.0, 3.0).log_prob(x)

D.GeneralizedPareto(0.0, 1.0, 0.2).cdf(x)

D.Geometric(0.25).mean

D.Gumbel(0.0, 1.0).log_prob(x)

D.HalfCauchy(1.0).log_prob(x)

D.HalfNormal(1.0).log_prob(x)

# Independent: three numbers are one event
D.Independent(D.Normal(dg.zeros(3), 1.0), 1).log_prob(dg.zeros(3))

D.InverseGamma(3.0, 2.0).mean

D.Kumaraswamy(2.0, 3.0).mean

D.LKJCholesky(2, 1.0).sample()

D.Laplace(0.0, 1.0).log_prob(x)

D.LogNormal(0.0, 1.0).mean

D.LogisticNormal(dg.zeros(2), 1.0).sample()

D.LogitRelaxedBernoulli(dg.tensor(0.5), probs=dg.tensor(0.3)).rsample()

D.LowRankMultivariateNormal(dg.zeros(2), dg.ones(2, 1), dg.ones(2)).covariance_matrix

D.MixtureSameFamily(D.Categorical(p), D.Normal(dg.tensor([-1.0, 0.0, 1.0]), 0.1)).mean

D.Multinomial(6, p).sample()

D.MultivariateNormal(dg.zeros(2), eye).log_prob(x)

D.NegativeBinomial(3.0, 0.5).mean

# Normal: gradients flow through rsample to the parameters
mean = dg.tensor(1.0, requires_grad=True)
D.Normal(mean, 2.0).rsample((1000,)).mean().backward()
mean.grad

D.OneHotCategorical(p).sample()

D.OneHotCategoricalStraightThrough(p).rsample()

D.Pareto(1.0, 3.0).mean

D.Poisson(3.0).log_prob(dg.tensor([0.0, 3.0]))

D.RelaxedBernoulli(dg.tensor(0.5), probs=dg.tensor(0.3)).rsample()

D.RelaxedOneHotCategorical(dg.tensor(0.5), p).rsample()

D.StudentT(3.0).log_prob(x)

D.TransformedDistribution(D.Normal(0.0, 1.0), [D.ExpTransform()]).log_prob(x)

D.Uniform(-1.0, 3.0).stddev

D.VonMises(0.0, 2.0).log_prob(x)

D.Weibull(1.0, 2.0).mean

D.Wishart(dg.tensor(3.0), eye).mean

D.kl_divergence(D.Normal(0.0, 1.0), D.Normal(1.0, 2.0))


# register_kl: a divergence of one's own
class Point(D.Normal):
    pass


@D.register_kl(Point, Point)
def between_points(a, b):
    return (a.mean - b.mean) ** 2


D.kl_divergence(Point(0.0, 1.0), Point(3.0, 1.0))
