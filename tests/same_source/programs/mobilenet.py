"""Inverted residuals, depthwise convolutions, squeeze-excitation, hard-swish, dense blocks."""

from collections import OrderedDict

import torch
import torch.nn as nn
import torch.nn.functional as F


def _make_divisible(v, divisor, min_value=None):
    if min_value is None:
        min_value = divisor
    new_v = max(min_value, int(v + divisor / 2) // divisor * divisor)
    if new_v < 0.9 * v:
        new_v += divisor
    return new_v


class ConvBNActivation(nn.Sequential):
    def __init__(self, in_planes, out_planes, kernel_size=3, stride=1, groups=1, act=nn.ReLU6):
        padding = (kernel_size - 1) // 2
        super().__init__(
            nn.Conv2d(
                in_planes, out_planes, kernel_size, stride, padding, groups=groups, bias=False
            ),
            nn.BatchNorm2d(out_planes, eps=0.001, momentum=0.01),
            act(inplace=True),
        )


class SqueezeExcitation(nn.Module):
    def __init__(self, input_channels, squeeze_factor=4):
        super().__init__()
        squeeze_channels = _make_divisible(input_channels // squeeze_factor, 2)
        self.fc1 = nn.Conv2d(input_channels, squeeze_channels, 1)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(squeeze_channels, input_channels, 1)

    def forward(self, input):
        scale = F.adaptive_avg_pool2d(input, 1)
        scale = self.fc2(self.relu(self.fc1(scale)))
        return F.hardsigmoid(scale, inplace=True) * input


class InvertedResidual(nn.Module):
    def __init__(self, inp, oup, stride, expand_ratio, use_se):
        super().__init__()
        hidden_dim = int(round(inp * expand_ratio))
        self.use_res_connect = stride == 1 and inp == oup
        layers = []
        if expand_ratio != 1:
            layers.append(ConvBNActivation(inp, hidden_dim, kernel_size=1, act=nn.Hardswish))
        layers.append(ConvBNActivation(hidden_dim, hidden_dim, stride=stride, groups=hidden_dim))
        if use_se:
            layers.append(SqueezeExcitation(hidden_dim))
        layers.extend([nn.Conv2d(hidden_dim, oup, 1, bias=False), nn.BatchNorm2d(oup)])
        self.conv = nn.Sequential(*layers)

    def forward(self, x):
        if self.use_res_connect:
            return x + self.conv(x)
        else:
            return self.conv(x)


class DenseBlock(nn.ModuleDict):
    def __init__(self, num_layers, num_input_features, growth_rate):
        super().__init__()
        for i in range(num_layers):
            width = num_input_features + i * growth_rate
            layer = nn.Sequential(
                nn.BatchNorm2d(width),
                nn.PReLU(width),
                nn.Conv2d(width, growth_rate, kernel_size=3, padding="same", bias=False),
            )
            self.add_module("denselayer%d" % (i + 1), layer)

    def forward(self, init_features):
        features = [init_features]
        for _name, layer in self.items():
            new_features = layer(torch.cat(features, 1))
            features.append(new_features)
        return torch.cat(features, 1)


class MobileNet(nn.Module):
    def __init__(self, num_classes=4):
        super().__init__()
        self.features = nn.Sequential(
            OrderedDict(
                [
                    ("stem", ConvBNActivation(3, 4, stride=2)),
                    ("block1", InvertedResidual(4, 4, 1, 1, use_se=False)),
                    ("block2", InvertedResidual(4, 6, 2, 3, use_se=True)),
                    ("block3", InvertedResidual(6, 6, 1, 2, use_se=True)),
                    ("dense", DenseBlock(2, 6, 3)),
                    ("norm", nn.GroupNorm(3, 12)),
                    ("pool", nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)),
                ]
            )
        )
        self.classifier = nn.Sequential(nn.Dropout(p=0.0, inplace=True), nn.Linear(12, num_classes))
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out")
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
            elif isinstance(m, (nn.BatchNorm2d, nn.GroupNorm)):
                nn.init.ones_(m.weight)
                nn.init.zeros_(m.bias)
            elif isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, 0, 0.01)
                nn.init.zeros_(m.bias)

    def forward(self, x):
        x = self.features(x)
        x = x.mean([2, 3])
        return self.classifier(x)


def build():
    return MobileNet()


def data(rng):
    labels = rng.integers(0, 4, 18)
    images = rng.random((18, 3, 20, 20)) + labels[:, None, None, None] * rng.random((3, 1, 20))
    return torch.tensor(images).float(), torch.tensor(labels)


def train(model, data, steps):
    images, labels = data
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 1.0, 0.5]), reduction="sum")
    params = [
        {"params": [p for n, p in model.named_parameters() if "bias" in n], "weight_decay": 0},
        {"params": [p for n, p in model.named_parameters() if "bias" not in n]},
    ]
    optimizer = torch.optim.RMSprop(params, lr=3e-4, momentum=0.9, weight_decay=1e-5, eps=0.1)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[10, 20], gamma=0.3)
    losses = []
    for step in range(steps):
        model.train(mode=step % 10 != 9)
        batch = slice(step % 3 * 6, step % 3 * 6 + 6)
        loss = criterion(model(images[batch]), labels[batch]) / 6
        for param in model.parameters():
            param.grad = None
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


def evaluate(model, data):
    model.eval()
    with torch.no_grad():
        out = model(data[0])
    values, indices = out.sort(dim=1, descending=True)
    return {
        "values": values,
        "indices": indices,
        "tracked": model.features.stem[1].num_batches_tracked,
    }
