"""Examples of distgrad's functions that make, join, cut, turn and index tensors."""

import numpy as np

import distgrad as dg

a = dg.arange(6).reshape(2, 3)
b = dg.ones(2, 3)
v = dg.tensor([10, 20, 30])

# Examples

dg.arange(0, 10, 3)

dg.argwhere(a > 3)

dg.as_tensor(np.array([1.0, 2.0]))

dg.asarray([1, 2, 3])

dg.atleast_1d(dg.tensor(7))

dg.atleast_2d(v)

dg.atleast_3d(v).shape

dg.block_diag(dg.ones(1, 2), dg.full((2, 1), 5.0))

dg.broadcast_shapes((3, 1), (1, 4))

dg.broadcast_tensors(v, dg.tensor([[1], [2]]))

dg.broadcast_to(v, (2, 3))

dg.cartesian_prod(dg.tensor([1, 2]), dg.tensor([3, 4]))

dg.cat([a, a], dim=1)

dg.chunk(dg.arange(7), 3)

dg.clone(v)

dg.column_stack([v, v + 1])

dg.combinations(v, r=2)

dg.concat([a, a])

dg.concatenate([a, a], axis=0)

dg.detach(dg.tensor([1.0], requires_grad=True) * 2)

dg.detach_copy(v)

dg.diag(dg.tensor([1, 2, 3]))

dg.diag_embed(dg.tensor([[1, 2], [3, 4]]))

dg.diagflat(dg.tensor([1, 2]), offset=1)

dg.diagonal_scatter(dg.zeros(3, 3), dg.tensor([1.0, 2.0, 3.0]))

dg.dsplit(dg.arange(8).reshape(1, 2, 4), 2)

dg.dstack([v, v]).shape

dg.empty(2, 3).shape

dg.empty_like(a).dtype

dg.expand_as(v, a)

dg.eye(3)

dg.fill(v, 7)

dg.flatten(dg.zeros(2, 3, 4), start_dim=1).shape

dg.flip(a, dims=(1,))

dg.fliplr(a)

dg.flipud(a)

dg.from_dlpack(np.arange(3))

dg.from_numpy(np.arange(3.0))

dg.frombuffer(bytearray(b"\x01\x02\x03"), dtype=dg.uint8)

dg.full((2, 2), 7)

dg.full_like(b, 3)

# gather: row i takes the columns that row i of the index names
dg.gather(a, 1, dg.tensor([[0, 2], [1, 1]]))

dg.hsplit(a, 3)

dg.hstack([a, a])

dg.index_add(b, 0, dg.tensor([0, 0, 1]), dg.ones(3, 3))

dg.index_copy(b, 1, dg.tensor([2]), dg.tensor([[8.0], [9.0]]))

dg.index_fill(b, 1, dg.tensor([0]), 5.0)

dg.index_put(b, (dg.tensor([0, 1]), dg.tensor([1, 2])), dg.tensor(4.0))

dg.index_reduce(b, 0, dg.tensor([0, 0]), 3 * dg.ones(2, 3), "prod")

dg.index_select(a, 1, dg.tensor([2, 0]))

dg.linspace(0.0, 1.0, 5)

dg.logspace(0.0, 2.0, 3)

dg.masked_fill(b, a > 3, -1.0)

dg.masked_scatter(b, a > 3, dg.tensor([7.0, 8.0]))

dg.masked_select(a, a > 3)

dg.meshgrid(dg.tensor([1, 2]), v, indexing="ij")

dg.moveaxis(dg.zeros(2, 3, 4), 0, -1).shape

dg.movedim(dg.zeros(2, 3, 4), 0, -1).shape

dg.narrow(a, 1, 0, 2)

dg.narrow_copy(a, 1, 0, 2)

dg.nonzero(a > 3)

dg.nonzero_static(a, size=3)

dg.numel(a)

dg.ones(2, 2)

dg.ones_like(a)

dg.permute(dg.zeros(2, 3, 4), (2, 0, 1)).shape

dg.put(v, dg.tensor([0, 2]), dg.tensor([1, 3]))

dg.range(0, 3)

dg.ravel(a)

dg.repeat_interleave(v, 2)

dg.reshape(a, (3, 2))

dg.reshape_as(a, dg.zeros(3, 2))

dg.roll(v, 1)

dg.rot90(a)

dg.row_stack([v, v])

dg.scalar_tensor(3.0)

dg.scatter(dg.zeros(2, 3), 1, dg.tensor([[0], [2]]), dg.tensor([[5.0], [6.0]]))

dg.scatter_add(dg.zeros(2, 3), 1, dg.tensor([[0, 0], [2, 2]]), dg.ones(2, 2))

dg.scatter_reduce(dg.ones(3), 0, dg.tensor([0, 0, 2]), dg.tensor([2.0, 5.0, 3.0]), "amax")

dg.select(a, 1, 2)

dg.select_scatter(a, dg.tensor([7, 8]), 1, 0)

dg.slice_scatter(dg.zeros(5), dg.ones(2), start=1, end=3)

dg.split(dg.arange(5), 2)

dg.split_with_sizes(dg.arange(5), [1, 4])

dg.squeeze(dg.zeros(1, 3, 1), dim=0).shape

dg.stack([v, v])

dg.sum_to_size(a, (1, 3))

dg.swapaxes(a, 0, 1)

dg.swapdims(a, 0, 1)

dg.t(a)

dg.take(a, dg.tensor([0, 5]))

dg.take_along_dim(a, dg.tensor([[2], [0]]), dim=1)

dg.tensor([[1, 2], [3, 4]], dtype=dg.float64)

dg.tensor_split(dg.arange(7), 3)

dg.tile(v, (2,))

dg.transpose(a, 0, 1)

dg.tril(dg.ones(3, 3))

dg.tril_indices(2, 3)

dg.triu(dg.ones(3, 3), diagonal=1)

dg.triu_indices(2, 3)

dg.unbind(a)

dg.unflatten(dg.arange(6), 0, (2, 3))

dg.unfold(dg.arange(5), 0, size=2, step=1)

dg.unravel_index(dg.tensor([4, 5]), (2, 3))

dg.unsafe_chunk(dg.arange(4), 2)

dg.unsafe_split(dg.arange(4), 2)

dg.unsafe_split_with_sizes(dg.arange(4), [1, 3])

dg.unsqueeze(v, 0)

dg.view_as(a, dg.zeros(3, 2))

dg.view_as_complex(dg.tensor([[1.0, 2.0], [3.0, 4.0]]))

dg.view_as_real(dg.tensor([1 + 2j]))

dg.vsplit(a, 2)

dg.vstack([v, v])

dg.zeros(2, 3)

dg.zeros_like(a)
