"""Residual networks of images: names, settings and initial weights are torchvision's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import DistgradError, ShapeError
from distgrad.nn import init
from distgrad.nn.activation import ReLU
from distgrad.nn.batchnorm import BatchNorm2d
from distgrad.nn.container import Sequential
from distgrad.nn.conv import Conv2d
from distgrad.nn.linear import Linear
from distgrad.nn.module import Module
from distgrad.nn.pool import AdaptiveAvgPool2d, MaxPool2d

Norm: TypeAlias = Callable[[int], Module]


def conv3x3(inputs: int, outputs: int, stride: int, groups: int, dilation: int) -> Conv2d:
    """Return a 3x3 convolution that keeps the image's size but for ``stride``."""
    settings: Any = {"padding": dilation, "groups": groups, "dilation": dilation, "bias": False}
    return Conv2d(inputs, outputs, 3, stride, **settings)


class BasicBlock(Module):
    """Two 3x3 convolutions beside a shortcut: (n, inplanes, h, w) to (n, planes, h/s, w/s)."""

    expansion = 1

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Norm | None = None,
    ) -> None:
        super().__init__()
        if groups != 1 or base_width != 64 or dilation > 1:
            raise ShapeError(
                f"BasicBlock is not made with groups={groups}, base_width={base_width}, "
                f"dilation={dilation}: Bottleneck (ResNet-50) is"
            )
        norm_layer = norm_layer or BatchNorm2d
        self.conv1 = conv3x3(inplanes, planes, stride, 1, 1)
        self.bn1 = norm_layer(planes)
        self.relu = ReLU(inplace=True)
        self.conv2 = conv3x3(planes, planes, 1, 1, 1)
        self.bn2 = norm_layer(planes)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions find to the input."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(out)
        return result


class Bottleneck(Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut: to (n, 4 planes, h/s, w/s).

    The stride is the 3x3's, as in torchvision ("ResNet v1.5"), not the first 1x1's, as in the
    paper.
    """

    expansion = 4

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Norm | None = None,
    ) -> None:
        super().__init__()
        norm_layer = norm_layer or BatchNorm2d
        width = planes * base_width // 64 * groups
        self.conv1 = Conv2d(inplanes, width, 1, bias=False)
        self.bn1 = norm_layer(width)
        self.conv2 = conv3x3(width, width, stride, groups, dilation)
        self.bn2 = norm_layer(width)
        self.conv3 = Conv2d(width, planes * self.expansion, 1, bias=False)
        self.bn3 = norm_layer(planes * self.expansion)
        self.relu = ReLU(inplace=True)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions find to the input."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(out)
        return result


class ResNet(Module):
    """A residual network (He et al. 2016): images (n, 3, h, w) to logits (n, num_classes).

    ``layers`` are the numbers of blocks at the four sizes. ``zero_init_residual`` starts each block
    as its shortcut (Goyal et al. 2017). Names, settings and initial weights are torchvision's:
    ``conv1.weight``, ``layer1.0.bn1.running_mean``, ``layer2.0.downsample.0.weight``, ``fc.bias``.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        layers: Sequence[int],
        num_classes: int = 1000,
        zero_init_residual: bool = False,
        groups: int = 1,
        width_per_group: int = 64,
        replace_stride_with_dilation: Sequence[bool] | None = None,
        norm_layer: Norm | None = None,
    ) -> None:
        super().__init__()
        dilated = list(replace_stride_with_dilation or [False] * 3)
        if len(dilated) != 3 or len(layers) != 4:
            raise ShapeError(
                f"ResNet takes four numbers of blocks, and replace_stride_with_dilation for the "
                f"last three; got {list(layers)} and {dilated}"
            )
        self._norm_layer: Norm = norm_layer or BatchNorm2d
        self.inplanes, self.dilation = 64, 1
        self.groups, self.base_width = groups, width_per_group
        self.conv1 = Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = self._norm_layer(64)
        self.relu = ReLU(inplace=True)
        self.maxpool = MaxPool2d(3, stride=2, padding=1)
        self.layer1 = self._make_layer(block, 64, layers[0])
        self.layer2 = self._make_layer(block, 128, layers[1], 2, dilated[0])
        self.layer3 = self._make_layer(block, 256, layers[2], 2, dilated[1])
        self.layer4 = self._make_layer(block, 512, layers[3], 2, dilated[2])
        self.avgpool = AdaptiveAvgPool2d((1, 1))
        self.fc = Linear(512 * block.expansion, num_classes)
        for m in self.modules():
            if isinstance(m, Conv2d):
                init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(m, BasicBlock | Bottleneck):
                last = m.bn2 if isinstance(m, BasicBlock) else m.bn3
                init.zeros_(last.get_parameter("weight"))

    def _make_layer(
        self,
        block: type[BasicBlock | Bottleneck],
        planes: int,
        blocks: int,
        stride: int = 1,
        dilate: bool = False,
    ) -> Sequential:
        before, norm = self.dilation, self._norm_layer
        if dilate:
            self.dilation, stride = self.dilation * stride, 1
        outputs = planes * block.expansion
        downsample = None
        if stride != 1 or self.inplanes != outputs:
            shortcut = Conv2d(self.inplanes, outputs, 1, stride=stride, bias=False)
            downsample = Sequential(shortcut, norm(outputs))
        groups, width = self.groups, self.base_width
        first = block(self.inplanes, planes, stride, downsample, groups, width, before, norm)
        self.inplanes = outputs
        rest = [
            block(outputs, planes, 1, None, groups, width, self.dilation, norm)
            for _ in range(1, blocks)
        ]
        return Sequential(first, *rest)

    def forward(self, x: TensorLike) -> Tensor:
        """Map images to logits."""
        y = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        y = self.layer4(self.layer3(self.layer2(self.layer1(y))))
        logits: Tensor = self.fc(self.avgpool(y).flatten(1))
        return logits


def resnet18(*, weights: None = None, progress: bool = True, **settings: Any) -> ResNet:
    """Return ResNet-18, 11.7 million parameters; ``settings`` are those of ``ResNet``.

    Errors: DistgradError for ``weights``: nothing is downloaded.
    """
    return _made("resnet18", weights, BasicBlock, [2, 2, 2, 2], settings)


def resnet34(*, weights: None = None, progress: bool = True, **settings: Any) -> ResNet:
    """Return ResNet-34, 21.8 million parameters: see ``resnet18``."""
    return _made("resnet34", weights, BasicBlock, [3, 4, 6, 3], settings)


def resnet50(*, weights: None = None, progress: bool = True, **settings: Any) -> ResNet:
    """Return ResNet-50, 25.6 million parameters: see ``resnet18``."""
    return _made("resnet50", weights, Bottleneck, [3, 4, 6, 3], settings)


def _made(
    name: str,
    weights: Any,
    block: type[BasicBlock | Bottleneck],
    layers: Sequence[int],
    settings: dict[str, Any],
) -> ResNet:
    if weights is not None:
        raise DistgradError(
            f"{name}: weights={weights!r} would be downloaded, and nothing is here: get a "
            f"file, then {name}().load_state_dict(dg.load('FILE.safetensors')) (docs/weights.md)"
        )
    return ResNet(block, layers, **settings)
