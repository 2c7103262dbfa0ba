"""Examples of distgrad.nn.utils."""

import distgrad as dg
from distgrad import nn
from distgrad.nn import utils


def graded():
    w = nn.Parameter(dg.tensor([3.0, 4.0]))
    w.grad = dg.tensor([3.0, 4.0])
    return w


# Examples

# clip_grad_norm_, clip_grad_norm
w = graded()
utils.clip_grad_norm_([w], 1.0), w.grad, utils.clip_grad_norm([w], 0.5)

# clip_grad_value_
w = graded()
utils.clip_grad_value_([w], 3.5)
w.grad

# clip_grads_with_norm_, get_total_norm
w = graded()
norm = utils.get_total_norm([w.grad])
utils.clip_grads_with_norm_([w], 1.0, norm)
norm, w.grad

# convert_conv2d_weight_memory_format, convert_conv3d_weight_memory_format: numbers stay
flat = utils.convert_conv2d_weight_memory_format(nn.Conv2d(1, 2, 3), "channels_last")
deep = utils.convert_conv3d_weight_memory_format(nn.Conv3d(1, 2, 3), "channels_last_3d")
flat.weight.shape, deep.weight.shape

# fuse_conv_bn_eval, fuse_conv_bn_weights
conv, norm = nn.Conv2d(1, 2, 3).eval(), nn.BatchNorm2d(2).eval()
x = dg.randn(1, 1, 5, 5)
fused = utils.fuse_conv_bn_eval(conv, norm)
weight, bias = utils.fuse_conv_bn_weights(
    conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
)
dg.allclose(fused(x), norm(conv(x)), atol=1e-6), dg.equal(weight, fused.weight)

# fuse_linear_bn_eval, fuse_linear_bn_weights
linear, norm = nn.Linear(3, 2).eval(), nn.BatchNorm1d(2).eval()
x = dg.randn(4, 3)
fused = utils.fuse_linear_bn_eval(linear, norm)
weight, bias = utils.fuse_linear_bn_weights(
    linear.weight,
    linear.bias,
    norm.running_mean,
    norm.running_var,
    norm.eps,
    norm.weight,
    norm.bias,
)
dg.allclose(fused(x), norm(linear(x)), atol=1e-6), dg.equal(weight, fused.weight)

# parameters_to_vector, vector_to_parameters
model = nn.Linear(2, 1)
flat = utils.parameters_to_vector(model.parameters())
utils.vector_to_parameters(dg.ones_like(flat), model.parameters())
flat.shape, model.weight.data

# skip_init: no weights are drawn that are overwritten at once
utils.skip_init(nn.Linear, 2, 3).weight.shape

# spectral_norm, remove_spectral_norm
layer = utils.spectral_norm(nn.Linear(3, 2))
layer(dg.ones(1, 3))
sorted(dict(layer.named_parameters())), utils.remove_spectral_norm(layer).weight.shape

# weight_norm, remove_weight_norm
layer = utils.weight_norm(nn.Linear(3, 2))
sorted(dict(layer.named_parameters())), utils.remove_weight_norm(layer).weight.shape
