"""Examples of distgrad.nn: pooling, padding, shapes."""

import distgrad as dg
from distgrad import nn

line = dg.tensor([[[1.0, 4.0, 2.0, 3.0]]])  # n c l
image = dg.arange(16.0).reshape(1, 1, 4, 4)  # n c h w
cube = dg.arange(8.0).reshape(1, 1, 2, 2, 2)  # n c d h w

# Examples

nn.AdaptiveAvgPool1d(2)(line)

nn.AdaptiveAvgPool2d(2)(image)

nn.AdaptiveAvgPool3d(1)(cube)

nn.AdaptiveMaxPool1d(2)(line)

nn.AdaptiveMaxPool2d(2)(image)

nn.AdaptiveMaxPool3d(1)(cube)

nn.AvgPool1d(2)(line)

nn.AvgPool2d(2)(image)

nn.AvgPool3d(2)(cube)

nn.ChannelShuffle(2)(dg.arange(4.0).reshape(1, 4, 1, 1)).flatten()

nn.CircularPad1d(1)(line)

nn.CircularPad2d(1)(image).shape

nn.CircularPad3d(1)(cube).shape

nn.ConstantPad1d(1, 9.0)(line)

nn.ConstantPad2d(1, 9.0)(image).shape

nn.ConstantPad3d(1, 9.0)(cube).shape

nn.Flatten()(image).shape

nn.Fold(output_size=(3, 3), kernel_size=2)(dg.ones(1, 4, 4))

nn.FractionalMaxPool2d(2, output_size=2)(image)

nn.FractionalMaxPool3d(1, output_size=2)(cube).shape

nn.LPPool1d(2, 2)(line)

nn.LPPool2d(2, 2)(image)

nn.LPPool3d(2, 2)(cube)

nn.MaxPool1d(2)(line)

nn.MaxPool2d(2)(image)

nn.MaxPool3d(2)(cube)

nn.MaxUnpool1d(2)(*nn.MaxPool1d(2, return_indices=True)(line))

nn.MaxUnpool2d(2)(*nn.MaxPool2d(2, return_indices=True)(image))

nn.MaxUnpool3d(2)(*nn.MaxPool3d(2, return_indices=True)(cube))

nn.PixelShuffle(2)(dg.arange(4.0).reshape(1, 4, 1, 1))

nn.PixelUnshuffle(2)(image).shape

nn.ReflectionPad1d(1)(line)

nn.ReflectionPad2d(1)(image).shape

nn.ReflectionPad3d(1)(cube).shape

nn.ReplicationPad1d(1)(line)

nn.ReplicationPad2d(1)(image).shape

nn.ReplicationPad3d(1)(cube).shape

nn.Unflatten(2, (2, 2))(line)

nn.Unfold(2)(image).shape

nn.Upsample(scale_factor=2)(line)

nn.UpsamplingBilinear2d(scale_factor=2)(image).shape

nn.UpsamplingNearest2d(scale_factor=2)(image).shape

nn.ZeroPad1d(1)(line)

nn.ZeroPad2d(1)(image).shape

nn.ZeroPad3d(1)(cube).shape
