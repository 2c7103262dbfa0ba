"""Examples of distgrad.linalg."""

import distgrad as dg
from distgrad import linalg

a = dg.tensor([[4.0, 1.0], [1.0, 3.0]])
b = dg.tensor([[1.0, 2.0], [3.0, 4.0]])
tall = dg.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])

# Examples

linalg.cholesky(a)

linalg.cholesky_ex(a)

linalg.cond(b)

linalg.cross(dg.tensor([1.0, 0.0, 0.0]), dg.tensor([0.0, 1.0, 0.0]))

linalg.det(b)

linalg.diagonal(b)

linalg.eig(b)

linalg.eigh(a)

linalg.eigvals(b)

linalg.eigvalsh(a)

linalg.householder_product(*dg.geqrf(b))

linalg.inv(b)

linalg.inv_ex(b)

linalg.lstsq(tall, dg.tensor([[1.0], [3.0], [5.0]])).solution

linalg.lu(b)

linalg.lu_factor(b)

linalg.lu_factor_ex(b)

linalg.lu_solve(*linalg.lu_factor(b), a)

linalg.matmul(a, b)

linalg.matrix_exp(dg.zeros(2, 2))

linalg.matrix_norm(b, ord="nuc")

linalg.matrix_power(b, -1)

linalg.matrix_rank(tall)

linalg.multi_dot([a, b, a])

linalg.norm(b)

linalg.pinv(tall)

linalg.qr(tall)

linalg.slogdet(b)

linalg.solve(a, dg.tensor([1.0, 2.0]))

linalg.solve_ex(a, dg.tensor([1.0, 2.0]))

linalg.solve_triangular(dg.triu(a), b, upper=True)

linalg.svd(tall, full_matrices=False)

linalg.svdvals(tall)

linalg.tensorinv(dg.eye(4).reshape(4, 2, 2), ind=1).shape

linalg.tensorsolve(dg.eye(4).reshape(2, 2, 4), b)

linalg.vander(dg.tensor([1.0, 2.0, 3.0]))

linalg.vecdot(a, b)

linalg.vector_norm(b, ord=1, dim=1)
