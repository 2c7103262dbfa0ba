"""Examples of distgrad's functions of vectors and matrices, and of signals and windows."""

import distgrad as dg

a = dg.tensor([[4.0, 1.0], [1.0, 3.0]])
b = dg.tensor([[1.0, 2.0], [3.0, 4.0]])
u = dg.tensor([1.0, 2.0, 3.0])
w = dg.tensor([0.0, 1.0, -1.0])
stack = dg.stack([a, b])
image = dg.arange(16.0).reshape(1, 1, 4, 4)

# Examples

dg.adaptive_avg_pool1d(dg.arange(6.0).reshape(1, 1, 6), 3)

dg.addbmm(a, stack, stack)

dg.addmm(a, b, b, beta=0.5)

dg.addmv(u[:2], b, u[:2])

dg.addr(dg.zeros(3, 3), u, w)

dg.adjoint(dg.tensor([[1j, 2.0], [0.0, 1.0]]))

dg.avg_pool1d(dg.arange(6.0).reshape(1, 1, 6), 2)

dg.baddbmm(stack, stack, stack, alpha=0.1)

dg.bartlett_window(5)

dg.bilinear(dg.ones(1, 2), dg.ones(1, 3), dg.ones(1, 2, 3))

dg.blackman_window(5)

dg.bmm(stack, stack)

dg.cdist(b, a)

dg.celu(w, alpha=0.5)

dg.chain_matmul(a, b, a)

dg.channel_shuffle(dg.arange(4.0).reshape(1, 4, 1, 1), 2).flatten()

dg.cholesky(a)

dg.cholesky_inverse(dg.cholesky(a))

dg.cholesky_solve(b, dg.cholesky(a))

dg.conv1d(dg.arange(5.0).reshape(1, 1, 5), dg.ones(1, 1, 3))

dg.conv2d(image, dg.ones(1, 1, 3, 3), padding=1).shape

dg.conv3d(dg.ones(1, 1, 3, 3, 3), dg.ones(1, 1, 2, 2, 2)).shape

dg.conv_transpose1d(u.reshape(1, 1, 3), dg.ones(1, 1, 2))

dg.conv_transpose2d(image, dg.ones(1, 1, 2, 2), stride=2).shape

dg.conv_transpose3d(dg.ones(1, 1, 2, 2, 2), dg.ones(1, 1, 2, 2, 2)).shape

dg.cosine_similarity(u, w, dim=0)

dg.cross(u, w, dim=0)

dg.det(a)

dg.diagonal(b)

dg.dot(u, w)

dg.einsum("ij,jk->ik", a, b)

dg.frobenius_norm(a)

dg.geqrf(b)

dg.ger(u, w)

dg.hamming_window(5)

dg.hann_window(5)

dg.hardshrink(u, lambd=1.5)

dg.inner(u, w)

dg.inverse(a)

# istft, stft: the signal comes back
signal = dg.sin(dg.arange(64.0))
spectrum = dg.stft(signal, n_fft=16, window=dg.hann_window(16), return_complex=True)
again = dg.istft(spectrum, n_fft=16, window=dg.hann_window(16), length=64)
spectrum.shape, dg.allclose(signal, again, atol=1e-5)

dg.kaiser_window(5)

dg.kron(dg.eye(2), u[:2])

dg.logdet(a)

dg.lu(a)

# lu_solve: a system by its factors
factors, pivots = dg.linalg.lu_factor(a)
dg.lu_solve(b, factors, pivots)

# lu_unpack
factors, pivots = dg.linalg.lu_factor(b)
p, lower, upper = dg.lu_unpack(factors, pivots)
p @ lower @ upper

dg.matmul(a, b)

dg.matrix_exp(dg.zeros(2, 2))

dg.matrix_power(b, 2)

dg.max_pool1d(dg.tensor([[[1.0, 5.0, 2.0, 3.0]]]), 2)

dg.max_pool2d(image, 2)

dg.max_pool3d(dg.arange(8.0).reshape(1, 1, 2, 2, 2), 2)

dg.mm(a, b)

dg.mv(b, u[:2])

dg.nuclear_norm(a)

# orgqr: Q of what geqrf gives
reflectors, tau = dg.geqrf(b)
q = dg.orgqr(reflectors, tau)
q.T @ q

# ormqr: multiplies by Q without making it
reflectors, tau = dg.geqrf(b)
dg.ormqr(reflectors, tau, dg.eye(2))

dg.outer(u, w)

dg.pairwise_distance(b, a)

# pca_lowrank
points = dg.tensor([[1.0, 2.0], [2.0, 4.1], [3.0, 5.9], [4.0, 8.0]])
dg.pca_lowrank(points, q=1)[1]

dg.pdist(b)

dg.pinverse(b)

dg.pixel_shuffle(dg.arange(4.0).reshape(1, 4, 1, 1), 2)

dg.pixel_unshuffle(dg.arange(4.0).reshape(1, 1, 2, 2), 2).shape

dg.prelu(w, dg.tensor([0.25]))

dg.qr(b)

dg.rrelu(w, training=False)

dg.slogdet(a)

dg.svd(a)

dg.svd_lowrank(b, q=1)[1]

dg.tensordot(a, b, dims=1)

dg.trace(a)

dg.triangular_solve(b, dg.triu(a))

dg.vander(u)

dg.vdot(u, w)
