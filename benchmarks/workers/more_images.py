"""Models of images in PyTorch, as its users write them: rows of ``one_core.py --more``.

distgrad runs this file too, with its imports changed (distgrad_rows.py).
"""

import torch
from torch import nn
from torch.nn import functional as F


class ViTBlock(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        B, N, C = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(B, N, 3, self.heads, C // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attn = (q * (C // self.heads) ** -0.5) @ k.transpose(-2, -1)
        out = (attn.softmax(dim=-1) @ v).transpose(1, 2).reshape(B, N, C)
        x = x + self.proj(out)
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Dosovitskiy et al. 2020, in timm's way: tiny, patches of 4."""

    def __init__(self, dim=192, depth=6, heads=3):
        super().__init__()
        self.patch = nn.Conv2d(3, dim, kernel_size=4, stride=4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 65, dim))
        self.blocks = nn.Sequential(*[ViTBlock(dim, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


class Mixer(nn.Module):
    """Tolstikhin et al. 2021."""

    class Block(nn.Module):
        def __init__(self, tokens, dim):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
            self.token = nn.Sequential(
                nn.Linear(tokens, 2 * tokens), nn.GELU(), nn.Linear(2 * tokens, tokens)
            )
            self.channel = nn.Sequential(
                nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
            )

        def forward(self, x):
            x = x + self.token(self.norm1(x).transpose(1, 2)).transpose(1, 2)
            return x + self.channel(self.norm2(x))

    def __init__(self, dim=128, depth=6):
        super().__init__()
        self.patch = nn.Conv2d(3, dim, kernel_size=4, stride=4)
        self.blocks = nn.Sequential(*[self.Block(64, dim) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(x)).mean(dim=1))


class InvertedResidual(nn.Module):
    """Of MobileNetV2 (Sandler et al. 2018), as torchvision has it."""

    def __init__(self, inp, oup, stride, expand):
        super().__init__()
        hidden = inp * expand
        self.use_res_connect = stride == 1 and inp == oup
        self.conv = nn.Sequential(
            *[
                nn.Conv2d(inp, hidden, 1, bias=False),
                nn.BatchNorm2d(hidden),
                nn.ReLU6(inplace=True),
            ],
            *[
                nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
                nn.BatchNorm2d(hidden),
                nn.ReLU6(inplace=True),
            ],
            *[nn.Conv2d(hidden, oup, 1, bias=False), nn.BatchNorm2d(oup)],
        )

    def forward(self, x):
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


def mobilenet():
    stages = [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 2, 2), (6, 64, 2, 2)]
    layers = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU6(True)]
    width = 16
    for expand, c, n, s in stages:
        for i in range(n):
            layers.append(InvertedResidual(width, c, s if i == 0 else 1, expand))
            width = c
    layers += [nn.Conv2d(width, 256, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU6(True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10))


class SqueezeExcitation(nn.Module):
    def __init__(self, channels, squeeze):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeeze, 1)
        self.fc2 = nn.Conv2d(squeeze, channels, 1)

    def forward(self, x):
        scale = F.silu(self.fc1(self.avgpool(x)))
        return torch.sigmoid(self.fc2(scale)) * x


def efficientnet():
    """Blocks of EfficientNet (Tan & Le 2019)."""
    layers = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.SiLU()]
    for a, b, kernel, stride in [(16, 24, 3, 2), (24, 40, 5, 2), (40, 80, 3, 2), (80, 80, 5, 1)]:
        h = 4 * a
        layers += [nn.Conv2d(a, h, 1, bias=False), nn.BatchNorm2d(h), nn.SiLU()]
        layers += [nn.Conv2d(h, h, kernel, stride, kernel // 2, groups=h, bias=False)]
        layers += [nn.BatchNorm2d(h), nn.SiLU(), SqueezeExcitation(h, a // 4)]
        layers += [nn.Conv2d(h, b, 1, bias=False), nn.BatchNorm2d(b)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(80, 10))


class ResNeXtBlock(nn.Module):
    """Xie et al. 2017, with GroupNorm (Wu & He 2018)."""

    def __init__(self, width, groups):
        super().__init__()
        self.conv1, self.n1 = nn.Conv2d(width, width, 1, bias=False), nn.GroupNorm(8, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, groups=groups, bias=False)
        self.n2 = nn.GroupNorm(8, width)
        self.conv3, self.n3 = nn.Conv2d(width, width, 1, bias=False), nn.GroupNorm(8, width)

    def forward(self, x):
        out = F.relu(self.n1(self.conv1(x)))
        out = F.relu(self.n2(self.conv2(out)))
        return F.relu(x + self.n3(self.conv3(out)))


def resnext():
    stem = [nn.Conv2d(3, 64, 3, padding=1, stride=2, bias=False), nn.GroupNorm(8, 64), nn.ReLU()]
    body = [ResNeXtBlock(64, 8) for _ in range(3)]
    return nn.Sequential(*stem, *body, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(64 * 16, 10))


class DoubleConv(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.double_conv = nn.Sequential(
            *[nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True)],
            *[nn.Conv2d(b, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True)],
        )

    def forward(self, x):
        return self.double_conv(x)


class UNet(nn.Module):
    """Ronneberger et al. 2015, as milesial/Pytorch-UNet has it."""

    def __init__(self, w=16, bilinear=False):
        super().__init__()
        self.inc = DoubleConv(1, w)
        self.downs = nn.ModuleList([DoubleConv(w * 2**i, w * 2 ** (i + 1)) for i in range(3)])
        self.ups = nn.ModuleList()
        for i in reversed(range(3)):
            if bilinear:
                up = nn.Sequential(
                    nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
                    nn.Conv2d(w * 2 ** (i + 1), w * 2**i, 1),
                )
            else:
                up = nn.ConvTranspose2d(w * 2 ** (i + 1), w * 2**i, kernel_size=2, stride=2)
            self.ups.append(nn.ModuleList([up, DoubleConv(w * 2 ** (i + 1), w * 2**i)]))
        self.outc = nn.Conv2d(w, 1, kernel_size=1)

    def forward(self, x):
        skips = [self.inc(x)]
        for down in self.downs:
            skips.append(down(F.max_pool2d(skips[-1], 2)))
        x = skips.pop()
        for up, conv in self.ups:
            x = conv(torch.cat([skips.pop(), up(x)], dim=1))
        return self.outc(x)


def segmented(model, x, y):
    logits = model(x)
    p = torch.sigmoid(logits)
    dice = 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
    return F.binary_cross_entropy_with_logits(logits, y) + dice


class DCGAN(nn.Module):
    """Radford et al. 2015: both networks."""

    def __init__(self, z=64, w=32):
        super().__init__()
        self.generator = nn.Sequential(
            *[nn.ConvTranspose2d(z, 4 * w, 4, 1, 0, bias=False), nn.BatchNorm2d(4 * w), nn.ReLU()],
            *[nn.ConvTranspose2d(4 * w, 2 * w, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * w)],
            *[nn.ReLU(), nn.ConvTranspose2d(2 * w, w, 4, 2, 1, bias=False), nn.BatchNorm2d(w)],
            *[nn.ReLU(), nn.ConvTranspose2d(w, 3, 4, 2, 1, bias=False), nn.Tanh()],
        )
        self.discriminator = nn.Sequential(
            *[nn.Conv2d(3, w, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)],
            *[nn.Conv2d(w, 2 * w, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * w)],
            *[nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(2 * w, 4 * w, 4, 2, 1, bias=False)],
            *[nn.BatchNorm2d(4 * w), nn.LeakyReLU(0.2, inplace=True)],
            nn.Conv2d(4 * w, 1, 4, 1, 0, bias=False),
        )


def played(model, real, noise):
    fake = model.generator(noise)
    ones, zeros = torch.ones(real.shape[0]), torch.zeros(real.shape[0])
    of_real = F.binary_cross_entropy_with_logits(model.discriminator(real).view(-1), ones)
    of_fake = F.binary_cross_entropy_with_logits(model.discriminator(fake.detach()).view(-1), zeros)
    fooled = F.binary_cross_entropy_with_logits(model.discriminator(fake).view(-1), ones)
    return of_real + of_fake + fooled


class VAE(nn.Module):
    """PyTorch's example (Kingma & Welling 2013), wider."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 400)
        self.fc21, self.fc22 = nn.Linear(400, 20), nn.Linear(400, 20)
        self.fc3, self.fc4 = nn.Linear(20, 400), nn.Linear(400, 784)

    def forward(self, x, eps):
        h1 = F.relu(self.fc1(x))
        mu, logvar = self.fc21(h1), self.fc22(h1)
        z = mu + eps * torch.exp(0.5 * logvar)
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, logvar


def evidence(model, x, eps):
    recon_x, mu, logvar = model(x, eps)
    bce = F.binary_cross_entropy(recon_x, x, reduction="sum")
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return (bce + kld) / x.shape[0]


def style():
    """An image transformation network (Johnson et al. 2016) with InstanceNorm."""
    layers = [nn.ReflectionPad2d(4), nn.Conv2d(3, 16, 9), nn.InstanceNorm2d(16, affine=True)]
    layers += [nn.ReLU(), nn.ReflectionPad2d(1), nn.Conv2d(16, 32, 3, stride=2)]
    layers += [nn.InstanceNorm2d(32, affine=True), nn.ReLU()]
    layers += [nn.ReflectionPad2d(1), nn.Conv2d(32, 32, 3), nn.InstanceNorm2d(32, affine=True)]
    layers += [nn.ReLU(), nn.Upsample(scale_factor=2, mode="nearest"), nn.ReflectionPad2d(1)]
    layers += [nn.Conv2d(32, 16, 3), nn.InstanceNorm2d(16, affine=True), nn.ReLU()]
    return nn.Sequential(*layers, nn.ReflectionPad2d(4), nn.Conv2d(16, 3, 9))


def volumes():
    """A classifier of small volumes, in Conv3d."""
    layers = [nn.Conv3d(1, 16, 3, padding=1), nn.BatchNorm3d(16), nn.ReLU(), nn.MaxPool3d(2)]
    layers += [nn.Conv3d(16, 32, 3, padding=1), nn.BatchNorm3d(32), nn.ReLU(), nn.MaxPool3d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 64, 10))


def contrasted(model, x, y):
    """SimCLR's loss (Chen et al. 2020): x are the first views, y the second."""
    z = F.normalize(model(torch.cat([x, y])), dim=1)
    logits = z @ z.T / 0.5
    n = x.shape[0]
    logits = logits.masked_fill(torch.eye(2 * n, dtype=torch.bool), float("-inf"))
    return F.cross_entropy(logits, (torch.arange(2 * n) + n) % (2 * n))


def encoder():
    layers = [nn.Conv2d(3, 32, 3, stride=2, padding=1), nn.ReLU()]
    layers += [nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 64))


def classified(model, x, y):
    return F.cross_entropy(model(x), y)


MODELS = {
    "vit": (ViT, classified),
    "mixer": (Mixer, classified),
    "mobilenet": (mobilenet, classified),
    "efficientnet": (efficientnet, classified),
    "resnext": (resnext, classified),
    "unet": (UNet, segmented),
    "unet-bilinear": (lambda: UNet(bilinear=True), segmented),
    "dcgan": (DCGAN, played),
    "vae": (VAE, evidence),
    "style": (style, lambda model, x, y: F.mse_loss(model(x), y)),
    "volumes": (volumes, classified),
    "simclr": (encoder, contrasted),
}
