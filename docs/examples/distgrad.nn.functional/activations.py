"""Examples of distgrad.nn.functional: activations, dropout, layers."""

import distgrad as dg
from distgrad.nn import functional as F

x = dg.tensor([[-1.0, 0.5, 2.0]])
line = dg.tensor([[[1.0, 4.0, 2.0, 3.0]]])  # n c l
image = dg.arange(16.0).reshape(1, 1, 4, 4)  # n c h w
cube = dg.arange(8.0).reshape(1, 1, 2, 2, 2)  # n c d h w
batch = dg.tensor([[1.0, 2.0], [3.0, 6.0]])

# Examples

F.adaptive_avg_pool2d(image, 2)

F.adaptive_avg_pool3d(cube, 1)

F.adaptive_max_pool1d(line, 2)

F.adaptive_max_pool1d_with_indices(line, 2)

F.adaptive_max_pool2d(image, 2)

F.adaptive_max_pool2d_with_indices(image, 2)

F.adaptive_max_pool3d(cube, 1)

F.adaptive_max_pool3d_with_indices(cube, 1)

F.affine_grid(dg.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]), [1, 1, 2, 2])

F.alpha_dropout(x, p=0.5, training=True)

F.avg_pool2d(image, 2)

F.avg_pool3d(cube, 2)

F.batch_norm(batch, dg.zeros(2), dg.ones(2), training=True)

F.batch_norm_training(batch, dg.ones(2), dg.zeros(2))

F.conv_tbc(dg.ones(4, 1, 2), dg.ones(3, 2, 5), dg.zeros(5)).shape

F.dropout(dg.ones(6), p=0.5)

F.dropout1d(dg.ones(1, 4, 2), p=0.5)

F.dropout2d(dg.ones(1, 4, 1, 2), p=0.5)

F.dropout3d(dg.ones(1, 4, 1, 1, 2), p=0.5)

F.elu(x)

F.embedding(dg.tensor([2, 0]), dg.tensor([[0.0, 0.1], [1.0, 1.1], [2.0, 2.1]]))

F.embedding_bag(dg.tensor([[0, 2]]), dg.tensor([[0.0, 0.1], [1.0, 1.1], [2.0, 2.1]]))

F.feature_alpha_dropout(dg.ones(1, 4, 2), p=0.5, training=True)

F.fold(dg.ones(1, 4, 4), output_size=(3, 3), kernel_size=2)

F.fractional_max_pool2d(image, 2, output_size=2)

F.fractional_max_pool2d_with_indices(image, 2, output_size=2)

F.fractional_max_pool3d(cube, 1, output_size=2).shape

F.fractional_max_pool3d_with_indices(cube, 1, output_size=2)[1].shape

F.gelu(x)

F.glu(dg.tensor([1.0, 2.0, 0.0, 9.0]))

# grid_sample: the image, read where the grid says
grid = F.affine_grid(dg.tensor([[[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]]), [1, 1, 2, 2])
F.grid_sample(image, grid)

F.group_norm(dg.arange(4.0).reshape(1, 4, 1), num_groups=2)

F.gumbel_softmax(x, hard=True)

F.hardshrink(x)

F.hardsigmoid(x)

F.hardswish(x)

F.hardtanh(x)

F.instance_norm(line)

F.interpolate(line, scale_factor=2.0, mode="nearest")

F.layer_norm(x, (3,))

F.leaky_relu(x, 0.1)

F.linear(x, dg.ones(2, 3), dg.tensor([0.0, 10.0]))

F.local_response_norm(image, size=2).shape

F.log_softmax(x, dim=1)

F.logsigmoid(x)

F.lp_pool1d(line, 2.0, 2)

F.lp_pool2d(image, 2.0, 2)

F.lp_pool3d(cube, 2.0, 2)

F.max_pool1d_with_indices(line, 2)

F.max_pool2d_with_indices(image, 2)

F.max_pool3d_with_indices(cube, 2)

F.max_unpool1d(*F.max_pool1d_with_indices(line, 2), 2)

F.max_unpool2d(*F.max_pool2d_with_indices(image, 2), 2)

F.max_unpool3d(*F.max_pool3d_with_indices(cube, 2), 2)

F.mish(x)

# multi_head_attention_forward: what nn.MultiheadAttention calls
t, e = 3, 4
q = dg.randn(t, 1, e)
out, weights = F.multi_head_attention_forward(
    q,
    q,
    q,
    e,
    2,
    dg.randn(3 * e, e),
    dg.zeros(3 * e),
    None,
    None,
    False,
    0.0,
    dg.eye(e),
    dg.zeros(e),
)
out.shape, weights.shape

F.normalize(x, dim=1)

F.one_hot(dg.tensor([0, 2]), num_classes=3)

F.pad(line, (1, 2), value=9.0)

F.pdist(batch)

F.prelu(x, dg.tensor([0.25]))

F.relu(x)

F.relu6(4 * x)

F.rms_norm(x, (3,))

# scaled_dot_product_attention
q, k, v = dg.randn(1, 2, 5, 8), dg.randn(1, 2, 5, 8), dg.randn(1, 2, 5, 8)  # b h t d
F.scaled_dot_product_attention(q, k, v, is_causal=True).shape

F.sigmoid(x)

F.silu(x)

F.softmax(x, dim=1)

F.softmin(x, dim=1)

F.softplus(x)

F.softshrink(x)

F.softsign(x)

F.tanh(x)

F.tanhshrink(x)

F.unfold(image, kernel_size=2).shape

F.upsample(line, scale_factor=2.0)

F.upsample_bilinear(image, scale_factor=2).shape

F.upsample_nearest(image, scale_factor=2).shape
