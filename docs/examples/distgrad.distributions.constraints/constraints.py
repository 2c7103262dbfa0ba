"""Examples of distgrad.distributions.constraints: each is asked which values it allows."""

import distgrad as dg
from distgrad.distributions import Normal, constraints

x = dg.tensor([-1.0, 0.0, 0.5, 2.0])
matrix = dg.tensor([[2.0, 0.0], [1.0, 3.0]])

# Examples

# Constraint: what all of them are
isinstance(constraints.positive, constraints.Constraint), constraints.positive.is_discrete

constraints.boolean.check(x)

constraints.cat([constraints.positive, constraints.real], dim=0, lengths=[2, 2]).check(x)

constraints.corr_cholesky.check(dg.eye(2))

# dependent, dependent_property, is_dependent: known when the parameters are
constraints.is_dependent(constraints.dependent), constraints.dependent_property.__name__

constraints.greater_than(0.0).check(x)

constraints.greater_than_eq(0.0).check(x)

constraints.half_open_interval(0.0, 2.0).check(x)

constraints.independent(constraints.positive, 1).check(x)

constraints.integer_interval(0, 2).check(x)

constraints.interval(0.0, 1.0).check(x)

constraints.less_than(0.5).check(x)

constraints.lower_cholesky.check(matrix)

constraints.lower_triangular.check(matrix)

constraints.multinomial(3).check(dg.tensor([1.0, 2.0]))

constraints.nonnegative.check(x)

constraints.nonnegative_integer.check(x)

constraints.one_hot.check(dg.tensor([0.0, 1.0]))

constraints.positive.check(x)

constraints.positive_definite.check(dg.eye(2))

constraints.positive_integer.check(x)

constraints.positive_semidefinite.check(dg.zeros(2, 2))

# real: parameters say what they take
constraints.real.check(x), Normal.arg_constraints["scale"].check(x)

constraints.real_vector.check(x)

constraints.simplex.check(dg.tensor([0.25, 0.75]))

constraints.square.check(matrix)

constraints.stack([constraints.positive, constraints.real], dim=0).check(dg.tensor([-1.0, -1.0]))

constraints.symmetric.check(matrix)

constraints.unit_interval.check(x)
