"""Models of many kinds in PyTorch, as its users write them: the rows of ``one_core.py --more``.

distgrad runs this file too, with its imports changed (distgrad_rows.py).
"""

import torch
from torch import nn
from torch.nn import functional as F

# -- images -----------------------------------------------------------------------------------


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


# -- language and sequences ---------------------------------------------------------------------


class Bert(nn.Module):
    """An encoder of PyTorch's own layers, with padding."""

    def __init__(self, vocabulary=1000, dim=256, heads=4, depth=4, length=64):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, dim, padding_idx=0)
        self.positions = nn.Embedding(length, dim)
        layer = nn.TransformerEncoderLayer(
            dim, heads, 4 * dim, dropout=0.0, activation="gelu", batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(dim, vocabulary)

    def forward(self, tokens):
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        return self.head(self.encoder(x, src_key_padding_mask=tokens == 0))


def unmasked(model, tokens, labels):
    return F.cross_entropy(model(tokens).flatten(0, 1), labels.flatten(), ignore_index=-100)


class RMSNorm(nn.Module):
    def __init__(self, dim, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class LlamaBlock(nn.Module):
    """Touvron et al. 2023: rotary positions, grouped queries, SwiGLU."""

    def __init__(self, dim, heads, kv_heads):
        super().__init__()
        self.heads, self.kv_heads, self.width = heads, kv_heads, dim // heads
        self.norm1, self.norm2 = RMSNorm(dim), RMSNorm(dim)
        self.wq = nn.Linear(dim, dim, bias=False)
        self.wk = nn.Linear(dim, kv_heads * self.width, bias=False)
        self.wv = nn.Linear(dim, kv_heads * self.width, bias=False)
        self.wo = nn.Linear(dim, dim, bias=False)
        hidden = 8 * dim // 3 // 16 * 16
        self.w1 = nn.Linear(dim, hidden, bias=False)
        self.w2 = nn.Linear(hidden, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden, bias=False)

    def rotate(self, x, cos, sin):
        half = x.shape[-1] // 2
        return x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin

    def forward(self, x, cos, sin):
        b, t, c = x.shape
        y = self.norm1(x)
        q = self.wq(y).view(b, t, self.heads, self.width).transpose(1, 2)
        k = self.wk(y).view(b, t, self.kv_heads, self.width).transpose(1, 2)
        v = self.wv(y).view(b, t, self.kv_heads, self.width).transpose(1, 2)
        q, k = self.rotate(q, cos, sin), self.rotate(k, cos, sin)
        k = k.repeat_interleave(self.heads // self.kv_heads, dim=1)
        v = v.repeat_interleave(self.heads // self.kv_heads, dim=1)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.wo(a.transpose(1, 2).reshape(b, t, c))
        y = self.norm2(x)
        return x + self.w2(F.silu(self.w1(y)) * self.w3(y))


class Llama(nn.Module):
    def __init__(self, vocabulary=65, dim=256, depth=4, heads=8, kv_heads=2, length=64):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, dim)
        self.layers = nn.ModuleList([LlamaBlock(dim, heads, kv_heads) for _ in range(depth)])
        self.norm = RMSNorm(dim)
        self.output = nn.Linear(dim, vocabulary, bias=False)
        width = dim // heads
        freqs = 1.0 / 10000 ** (torch.arange(0, width, 2).float() / width)
        angles = torch.outer(torch.arange(length).float(), freqs)
        self.register_buffer("cos", torch.cat([angles, angles], dim=-1).cos(), persistent=False)
        self.register_buffer("sin", torch.cat([angles, angles], dim=-1).sin(), persistent=False)

    def forward(self, tokens):
        x = self.tokens(tokens)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        return self.output(self.norm(x)).flatten(0, 1)


def predicted(model, x, y):
    return F.cross_entropy(model(x), y.reshape(-1))


class Translator(nn.Module):
    """nn.Transformer, as PyTorch's tutorial uses it."""

    def __init__(self, vocabulary=500, dim=128):
        super().__init__()
        self.src, self.tgt = nn.Embedding(vocabulary, dim), nn.Embedding(vocabulary, dim)
        self.transformer = nn.Transformer(dim, 4, 2, 2, 256, dropout=0.0, batch_first=True)
        self.head = nn.Linear(dim, vocabulary)

    def forward(self, src, tgt):
        mask = nn.Transformer.generate_square_subsequent_mask(tgt.shape[1])
        out = self.transformer(self.src(src) * 11.3, self.tgt(tgt) * 11.3, tgt_mask=mask)
        return self.head(out)


def translated(model, src, tgt):
    return F.cross_entropy(model(src, tgt[:, :-1]).flatten(0, 1), tgt[:, 1:].flatten())


class Seq2Seq(nn.Module):
    """A GRU that reads and a GRU that writes, with additive attention (Bahdanau et al. 2014)."""

    def __init__(self, vocabulary=500, dim=128):
        super().__init__()
        self.src, self.tgt = nn.Embedding(vocabulary, dim), nn.Embedding(vocabulary, dim)
        self.encoder = nn.GRU(dim, dim, batch_first=True)
        self.Wa, self.Ua, self.Va = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, 1)
        self.cell = nn.GRUCell(2 * dim, dim)
        self.out = nn.Linear(dim, vocabulary)

    def forward(self, src, tgt):
        keys, hidden = self.encoder(self.src(src))
        hidden = hidden[0]
        embedded = self.tgt(tgt)
        found = []
        for i in range(tgt.shape[1]):
            scores = self.Va(torch.tanh(self.Wa(hidden).unsqueeze(1) + self.Ua(keys)))
            weights = F.softmax(scores.squeeze(2), dim=-1).unsqueeze(1)
            context = torch.bmm(weights, keys).squeeze(1)
            hidden = self.cell(torch.cat([embedded[:, i], context], dim=1), hidden)
            found.append(self.out(hidden))
        return torch.stack(found, dim=1)


def copied(model, src, tgt):
    return F.cross_entropy(model(src, tgt).flatten(0, 1), tgt.flatten())


class WordLM(nn.Module):
    """PyTorch's word language model: an LSTM, dropout, tied weights, 10,000 words."""

    def __init__(self, ntoken=10_000, dim=200):
        super().__init__()
        self.drop = nn.Dropout(0.2)
        self.encoder = nn.Embedding(ntoken, dim)
        self.rnn = nn.LSTM(dim, dim, 2, dropout=0.2)
        self.decoder = nn.Linear(dim, ntoken)
        self.decoder.weight = self.encoder.weight

    def forward(self, tokens):
        output, _ = self.rnn(self.drop(self.encoder(tokens)))
        return F.log_softmax(self.decoder(self.drop(output)).view(-1, 10_000), dim=1)


def likely(model, x, y):
    return F.nll_loss(model(x), y.reshape(-1))


class Speech(nn.Module):
    """Spectrograms to letters: convolutions, a bidirectional LSTM, CTC (Graves et al. 2006)."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 16, (3, 3), stride=(2, 2), padding=(1, 1))
        self.bn = nn.BatchNorm2d(16)
        self.lstm = nn.LSTM(16 * 20, 128, 1, bidirectional=True, batch_first=True)
        self.fc = nn.Linear(256, 29)

    def forward(self, x):
        x = F.hardtanh(self.bn(self.conv(x.unsqueeze(1))), 0, 20)
        x, _ = self.lstm(x.permute(0, 3, 1, 2).flatten(2))
        return F.log_softmax(self.fc(x), dim=-1)


def spelled(model, x, y):
    log_probs = model(x).transpose(0, 1)
    lengths = torch.full((x.shape[0],), log_probs.shape[0], dtype=torch.long)
    letters = torch.full((x.shape[0],), y.shape[1], dtype=torch.long)
    return F.ctc_loss(log_probs, y, lengths, letters)


class WaveNet(nn.Module):
    """van den Oord et al. 2016: dilated causal convolutions with gates."""

    def __init__(self, w=32, layers=8):
        super().__init__()
        self.start = nn.Conv1d(1, w, 1)
        self.filters, self.gates, self.residual, self.skip = (nn.ModuleList() for _ in range(4))
        for _ in range(layers):
            self.filters.append(nn.Conv1d(w, w, 2))
            self.gates.append(nn.Conv1d(w, w, 2))
            self.residual.append(nn.Conv1d(w, w, 1))
            self.skip.append(nn.Conv1d(w, w, 1))
        for i in range(layers):
            self.filters[i].dilation = self.gates[i].dilation = (2**i,)
        self.end = nn.Conv1d(w, 64, 1)

    def forward(self, x):
        x = self.start(x)
        total = 0
        layers = zip(self.filters, self.gates, self.residual, self.skip, strict=True)
        for i, (f, g, residual, skip) in enumerate(layers):
            padded = F.pad(x, (2**i, 0))
            z = torch.tanh(f(padded)) * torch.sigmoid(g(padded))
            total = total + skip(z)
            x = x + residual(z)
        return self.end(F.relu(total))


def classified(model, x, y):
    return F.cross_entropy(model(x), y)


def heartbeat():
    """A classifier of time series: Conv1d, BatchNorm1d, pooling."""
    layers = []
    for a, b in [(2, 32), (32, 64), (64, 64)]:
        layers += [nn.Conv1d(a, b, 7, padding=3), nn.BatchNorm1d(b), nn.ReLU(), nn.MaxPool1d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 10))


# -- tables, graphs, points -----------------------------------------------------------------------


class GraphNetwork(nn.Module):
    """Messages along edges, summed and averaged (Gilmer et al. 2017)."""

    def __init__(self, features=64, w=64):
        super().__init__()
        self.embed = nn.Linear(features, w)
        self.message = nn.ModuleList([nn.Linear(2 * w, w) for _ in range(2)])
        self.update = nn.ModuleList([nn.Linear(2 * w, w) for _ in range(2)])
        self.out = nn.Linear(w, 7)

    def forward(self, x, edges):
        source, target = edges[0], edges[1]
        h = F.relu(self.embed(x))
        ones = torch.ones(source.shape[0])
        degree = torch.zeros(x.shape[0]).index_add(0, target, ones).clamp(min=1).unsqueeze(1)
        for message, update in zip(self.message, self.update, strict=True):
            m = F.relu(message(torch.cat([h[source], h[target]], dim=1)))
            total = torch.zeros_like(h).index_add(0, target, m)
            h = h + F.relu(update(torch.cat([h, total / degree], dim=1)))
        return self.out(h)


class GraphAttention(nn.Module):
    """Veličković et al. 2018, by scatter operations."""

    def __init__(self, features=64, heads=4, w=16):
        super().__init__()
        self.heads, self.w = heads, w
        self.lin = nn.Linear(features, heads * w, bias=False)
        self.att_weight = nn.Parameter(torch.zeros(2, heads, w))
        self.out = nn.Linear(heads * w, 7)

    def forward(self, x, edges):
        source, target = edges[0], edges[1]
        h = self.lin(x).view(-1, self.heads, self.w)
        a_source, a_target = ((h * self.att_weight[i]).sum(-1) for i in range(2))
        e = F.leaky_relu(a_source[source] + a_target[target], 0.2)
        index = target.unsqueeze(1).expand(-1, self.heads)
        top = torch.zeros(x.shape[0], self.heads)
        top = top.scatter_reduce(0, index, e.detach(), reduce="amax", include_self=False)
        e = (e - top[target]).exp()
        total = torch.zeros(x.shape[0], self.heads).scatter_add(0, index, e)
        alpha = e / (total[target] + 1e-16)
        m = h[source] * alpha.unsqueeze(-1)
        out = torch.zeros_like(h).index_add(0, target, m)
        return self.out(F.elu(out.flatten(1)))


def of_nodes(model, x, edges):
    labels = torch.arange(x.shape[0]) % 7
    return F.cross_entropy(model(x, edges), labels)


class DLRM(nn.Module):
    """Naumov et al. 2019: bags of categories, interactions by dot products."""

    def __init__(self, tables=8, rows=5000, dim=32):
        super().__init__()
        self.embeddings = nn.ModuleList(
            [nn.EmbeddingBag(rows, dim, mode="sum") for _ in range(tables)]
        )
        self.bottom = nn.Sequential(nn.Linear(13, 128), nn.ReLU(), nn.Linear(128, dim), nn.ReLU())
        pairs = (tables + 1) * tables // 2
        self.top = nn.Sequential(nn.Linear(dim + pairs, 256), nn.ReLU(), nn.Linear(256, 1))

    def forward(self, dense, sparse):
        x = self.bottom(dense)
        found = [x] + [e(sparse[:, i]) for i, e in enumerate(self.embeddings)]
        T = torch.stack(found, dim=1)
        Z = torch.bmm(T, T.transpose(1, 2))
        li, lj = torch.tril_indices(T.shape[1], T.shape[1], offset=-1)
        return self.top(torch.cat([x, Z[:, li, lj]], dim=1)).squeeze(1)


def clicked(model, dense, sparse):
    return F.binary_cross_entropy_with_logits(model(dense, sparse), (dense[:, 0] > 0).float())


class NeRF(nn.Module):
    """Mildenhall et al. 2020: encoded positions, a skip, densities composed along rays."""

    def __init__(self, w=128, samples=32):
        super().__init__()
        self.samples = samples
        self.first = nn.ModuleList([nn.Linear(63 if i == 0 else w, w) for i in range(4)])
        self.second = nn.ModuleList([nn.Linear(63 + w if i == 0 else w, w) for i in range(2)])
        self.out = nn.Linear(w, 4)

    def encode(self, x):
        parts = [x]
        for i in range(10):
            parts += [torch.sin(2.0**i * x), torch.cos(2.0**i * x)]
        return torch.cat(parts, dim=-1)

    def forward(self, origins, directions):
        t = torch.linspace(0, 1, self.samples)
        points = origins[:, None] + directions[:, None] * t[:, None]
        encoded = self.encode(points.reshape(-1, 3))
        h = encoded
        for layer in self.first:
            h = F.relu(layer(h))
        h = torch.cat([encoded, h], dim=-1)
        for layer in self.second:
            h = F.relu(layer(h))
        out = self.out(h).view(-1, self.samples, 4)
        alpha = 1 - torch.exp(-F.relu(out[..., 3]) / self.samples)
        light = torch.cumprod(1 - alpha + 1e-10, dim=-1).roll(1, -1)
        light = torch.cat([torch.ones_like(light[:, :1]), light[:, 1:]], dim=-1)
        return ((alpha * light)[..., None] * torch.sigmoid(out[..., :3])).sum(1)


def rendered(model, origins, directions):
    return F.mse_loss(model(origins, directions), directions.abs())


class Flow(nn.Module):
    """RealNVP (Dinh et al. 2016)."""

    def __init__(self, dim=16, w=128, layers=6):
        super().__init__()
        self.nets = nn.ModuleList(
            [
                nn.Sequential(
                    *[nn.Linear(dim // 2, w), nn.LeakyReLU(0.01), nn.Linear(w, w)],
                    *[nn.LeakyReLU(0.01), nn.Linear(w, dim)],
                )
                for _ in range(layers)
            ]
        )

    def forward(self, x):
        log_det = x.new_zeros(x.shape[0])
        for net in self.nets:
            a, b = x.chunk(2, dim=1)
            s, t = net(a).chunk(2, dim=1)
            s = torch.tanh(s)
            x = torch.cat([b * torch.exp(s) + t, a], dim=1)
            log_det = log_det + s.sum(dim=1)
        return x, log_det


def fitted(model, x, _):
    z, log_det = model(x)
    prior = torch.distributions.Normal(0.0, 1.0)
    return -(prior.log_prob(z).sum(dim=1) + log_det).mean()


class NeuralODE(nn.Module):
    """Chen et al. 2018, by Runge and Kutta's fourth order: many small operations."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 2))

    def forward(self, y):
        h, found = 0.1, [y]
        for _ in range(10):
            k1 = self.net(y**3)
            k2 = self.net((y + h * k1 / 2) ** 3)
            k3 = self.net((y + h * k2 / 2) ** 3)
            k4 = self.net((y + h * k3) ** 3)
            y = y + h * (k1 + 2 * k2 + 2 * k3 + k4) / 6
            found.append(y)
        return torch.stack(found)


def followed(model, y, target):
    return torch.mean(torch.abs(model(y) - target))


class ActorCritic(nn.Module):
    """PPO's networks and loss (Schulman et al. 2017), as CleanRL has them: small."""

    def __init__(self, w=64):
        super().__init__()
        self.critic = nn.Sequential(
            *[nn.Linear(8, w), nn.Tanh(), nn.Linear(w, w), nn.Tanh(), nn.Linear(w, 1)]
        )
        self.actor = nn.Sequential(
            *[nn.Linear(8, w), nn.Tanh(), nn.Linear(w, w), nn.Tanh(), nn.Linear(w, 4)]
        )


def improved(model, x, actions):
    probs = torch.distributions.Categorical(logits=model.actor(x))
    ratio = (probs.log_prob(actions) + 1.386).exp()
    advantages = (x[:, 0] - x[:, 0].mean()) / (x[:, 0].std() + 1e-8)
    clipped = torch.clamp(ratio, 0.8, 1.2)
    policy = torch.max(-advantages * ratio, -advantages * clipped).mean()
    value = 0.5 * ((model.critic(x).view(-1) - x[:, 1]) ** 2).mean()
    return policy - 0.01 * probs.entropy().mean() + 0.5 * value


class SetTransformer(nn.Module):
    """Points through nn.MultiheadAttention and a pooled seed (Lee et al. 2019)."""

    def __init__(self, dim=64):
        super().__init__()
        self.embed = nn.Linear(3, dim)
        self.attention = nn.MultiheadAttention(dim, 4, batch_first=True)
        self.seed_weight = nn.Parameter(torch.zeros(1, 1, dim))
        self.pool = nn.MultiheadAttention(dim, 4, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.out = nn.Linear(dim, 10)

    def forward(self, x):
        x = self.embed(x)
        x = self.norm1(x + self.attention(x, x, x, need_weights=False)[0])
        seed = self.seed_weight.expand(x.shape[0], -1, -1)
        return self.out(self.norm2(self.pool(seed, x, x, need_weights=False)[0]).squeeze(1))


class Recommender(nn.Module):
    """Matrix factorisation with a small network (He et al. 2017)."""

    def __init__(self, users=5000, items=5000, dim=32):
        super().__init__()
        self.user, self.item = nn.Embedding(users, dim), nn.Embedding(items, dim)
        self.user_bias, self.item_bias = nn.Embedding(users, 1), nn.Embedding(items, 1)
        self.net = nn.Sequential(nn.Linear(2 * dim, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, users, items):
        u, i = self.user(users), self.item(items)
        together = (u * i).sum(1) + self.user_bias(users).squeeze(1)
        together = together + self.item_bias(items).squeeze(1)
        return together + self.net(torch.cat([u, i], dim=1)).squeeze(1)


def rated(model, users, items):
    return F.mse_loss(model(users, items), ((users + items) % 5).float())


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
    "bert": (Bert, unmasked),
    "llama": (Llama, predicted),
    "translator": (Translator, translated),
    "seq2seq": (
        Seq2Seq,
        lambda model, x, y: F.cross_entropy(model(x, y).flatten(0, 1), y.flatten()),
    ),
    "word-lm": (WordLM, likely),
    "speech": (Speech, spelled),
    "wavenet": (WaveNet, classified),
    "heartbeat": (heartbeat, classified),
    "graph": (GraphNetwork, of_nodes),
    "gat": (GraphAttention, of_nodes),
    "dlrm": (DLRM, clicked),
    "nerf": (NeRF, rendered),
    "flow": (Flow, fitted),
    "ode": (NeuralODE, followed),
    "ppo": (ActorCritic, improved),
    "points": (SetTransformer, classified),
    "recommender": (Recommender, rated),
}
