"""Examples of distgrad.ops: those that are composed from other ops."""

import numpy as np

import distgrad as dg
from distgrad import ops

a = np.arange(6.0).reshape(2, 3)
v = np.array([3.0, 1.0, 2.0])
x = dg.tensor([3.0, 1.0, 2.0], requires_grad=True)

# Examples

ops.append(x, [9.0])

ops.array_split(v, 2)

ops.atleast_1d(5.0)

ops.atleast_2d(v)

ops.atleast_3d(v).shape

ops.average(x, weights=[1.0, 1.0, 2.0])

ops.betaln(x, 2.0)

ops.broadcast_arrays(v, np.ones((2, 1)))

ops.chunk(v, 2)

ops.clip(x, 1.5, 2.5)

ops.column_stack([x, v])

ops.compress([True, False, True], x)

ops.concatenate([x, v])

ops.copy(x)

ops.cummax(v, 0)

ops.cummin(v, 0)

ops.delete(x, 1)

ops.diff(x)

ops.dsplit(np.arange(8.0).reshape(1, 2, 4), 2)

ops.dstack([v, v]).shape

ops.einsum("ij,j->i", a, x)

ops.extract(v > 1.5, x)

ops.flatten(a)

ops.fliplr(a)

ops.flipud(a)

ops.gather(a, 1, np.array([[0], [2]]))

ops.hsplit(a, 3)

ops.hstack([x, v])

ops.index_add(x, 0, np.array([0, 0]), np.array([10.0, 20.0]))

ops.index_put(x, (np.array([1]),), 9.0)

ops.index_reduce(x, 0, np.array([0, 0]), np.array([2.0, 5.0]), "prod")

ops.index_select(a, 1, np.array([2, 0]))

ops.kthvalue(v, 2)

ops.masked_fill(x, v > 2, 0.0)

ops.masked_select(x, v > 1)

ops.matrix_power(np.array([[1.0, 1.0], [0.0, 1.0]]), 3)

ops.matrix_transpose(a)

ops.matvec(a, x)

ops.median(x, axis=0)

ops.meshgrid([1.0, 2.0], v, indexing="ij")

ops.moveaxis(np.zeros((2, 3, 4)), 0, -1).shape

ops.multi_dot([a, a.T, a])

ops.mvlgamma(3 + v, 2)

ops.nan_to_num(np.array([np.nan, np.inf]), posinf=9.0)

ops.nanmean(np.array([1.0, np.nan, 3.0]))

ops.nansum(np.array([1.0, np.nan, 3.0]))

ops.narrow(a, 1, 0, 2)

ops.pad(x, (1, 2))

ops.partition(v, 1)

ops.percentile(x, 50)

ops.ptp(x)

ops.quantile(x, 0.25)

ops.ravel(a)

ops.repeat(x, 2)

ops.rot90(a)

ops.scatter(np.zeros((2, 3)), 1, np.array([[0], [2]]), np.array([[5.0], [6.0]]))

ops.scatter_add(np.zeros(3), 0, np.array([0, 0, 2]), x)

ops.scatter_reduce(np.ones(3), 0, np.array([0, 0, 2]), np.array([2.0, 5.0, 3.0]), "amax")

ops.sort(x, axis=0)

ops.split(v, indices_or_sections=3, axis=0)

ops.stack([x, v])

ops.take_along_axis(a, np.array([[2], [0]]), axis=1)

ops.tile(x, 2)

ops.topk(x, 2)

ops.unbind(a)

ops.unflatten(np.arange(6.0), 0, (2, 3))

ops.unstack(a)

ops.vecdot(a, a)

ops.vecmat([1.0, 2.0], a)

ops.vsplit(a, 2)

ops.vstack([x, v])

ops.where(v > 1.5, x, 0.0)
