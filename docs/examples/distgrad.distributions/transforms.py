"""Examples of distgrad.distributions: transforms."""

import distgrad as dg
from distgrad import distributions as D

x = dg.tensor([0.5, 1.5])
square = dg.tensor([[0.0, 9.0], [2.0, 1.0]])

# Examples

D.AbsTransform()(dg.tensor([-1.0, 2.0]))

D.AffineTransform(1.0, 2.0)(x)

D.CatTransform([D.ExpTransform(), D.AffineTransform(1.0, 2.0)], lengths=[1, 1])(x)

D.ComposeTransform([D.AffineTransform(1.0, 2.0), D.ExpTransform()])(x)

D.CorrCholeskyTransform()(dg.tensor([0.3]))

D.CumulativeDistributionTransform(D.Normal(0.0, 1.0))(x)

D.ExpTransform().inv(dg.exp(x))

D.IndependentTransform(D.ExpTransform(), 1).log_abs_det_jacobian(x, dg.exp(x))

D.LowerCholeskyTransform()(square)

D.PositiveDefiniteTransform()(square)

D.PowerTransform(dg.tensor(2.0))(x)

D.ReshapeTransform((4,), (2, 2))(dg.arange(4.0))

D.SigmoidTransform()(x)

D.SoftmaxTransform()(x)

D.SoftplusTransform()(x)

D.StackTransform([D.ExpTransform(), D.AbsTransform()], dim=-1)(dg.tensor([[0.0, -1.0]]))

D.StickBreakingTransform()(x)

D.TanhTransform()(x)

# Transform: what all of them share
exp = D.ExpTransform()
isinstance(exp, D.Transform), exp.bijective, exp.sign

D.identity_transform(x)
