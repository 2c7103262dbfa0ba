"""The rows of benchmarks/one_core.py: names, batches, data and matrix products; no framework.

``MORE`` are models of many kinds (more_images.py, …), measured beside PyTorch alone.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

LEARNING_RATE, WEIGHT_DECAY, NORM = 1e-3, 1e-2, 1.0
"""AdamW's (the rest is PyTorch's default) and the global norm that gradients are clipped to."""


class Linear(NamedTuple):
    """y = x W: forward, the weight's gradient and, unless x is data, the input's."""

    rows: int
    inputs: int
    outputs: int
    of_data: bool = False


class Attention(NamedTuple):
    """Scores and sums of ``heads`` (of all samples), with both their gradients; not halved."""

    heads: int
    length: int
    width: int


class Recurrence(NamedTuple):
    """h W at every time step, forward and backward, and one product for W's gradient."""

    steps: int
    batch: int
    width: int
    outputs: int


class Row(NamedTuple):
    """A workload: ``data(rng, batch)`` gives inputs and labels; ``products(batch)`` a step's."""

    title: str
    batch: int
    data: Callable[[Any, int], tuple[Any, Any]]
    products: Callable[[int], list[Any]] | None


def images(rng: Any, n: int) -> tuple[Any, Any]:
    return rng.normal(size=(n, 3, 32, 32)).astype(np.float32), rng.integers(0, 10, n)


def vectors(width: int) -> Callable[[Any, int], tuple[Any, Any]]:
    return lambda rng, n: (
        rng.normal(size=(n, width)).astype(np.float32),
        rng.integers(0, 10, n),
    )


def text(context: int) -> Callable[[Any, int], tuple[Any, Any]]:
    def data(rng: Any, n: int) -> tuple[Any, Any]:
        tokens = rng.integers(0, 65, (n, context + 1))
        return np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])

    return data


def sequences(rng: Any, n: int) -> tuple[Any, Any]:
    return rng.normal(size=(n, 128, 256)).astype(np.float32), rng.integers(0, 10, n)


def points(rng: Any, n: int) -> tuple[Any, Any]:
    return rng.random(n, np.float32), 2 * rng.random(n, np.float32) - 1


def _mlp(*widths: int) -> Callable[[int], list[Any]]:
    pairs = list(pairwise(widths))
    return lambda n: [Linear(n, a, b, of_data=not i) for i, (a, b) in enumerate(pairs)]


def _gpt(layers: int, heads: int, width: int, context: int) -> Callable[[int], list[Any]]:
    def products(n: int) -> list[Any]:
        widths = [(1, 3), (1, 1), (1, 4), (4, 1)]
        block = [Linear(n * context, a * width, b * width) for a, b in widths]
        block.append(Attention(n * heads, context, width // heads))
        return block * layers + [Linear(n * context, width, 65)]

    return products


def _convolution(n: int, side: int, a: int, b: int, kernel: int = 3) -> Linear:
    """As a product of all patches with the kernels, the size of its work in any algorithm."""
    return Linear(n * side * side, a * kernel * kernel, b, of_data=a == 3)


def _cnn(n: int) -> list[Any]:
    layers = [(32, 3, 32), (32, 32, 32), (16, 32, 64), (16, 64, 64)]
    convolutions = [_convolution(n, *layer) for layer in layers]
    return [*convolutions, Linear(n, 4096, 256), Linear(n, 256, 10)]


def _resnet(n: int) -> list[Any]:
    found = [_convolution(n, 32, 3, 64), *[_convolution(n, 32, 64, 64)] * 4]
    for side, width in ((16, 128), (8, 256), (4, 512)):
        found.append(_convolution(n, side, width // 2, width))
        found += [_convolution(n, side, width, width)] * 3
        found.append(_convolution(n, side, width // 2, width, kernel=1))
    return [*found, Linear(n, 512, 10)]


def _lstm(n: int) -> list[Any]:
    inputs = [Linear(128 * n, 256, 1024, of_data=not layer) for layer in range(2)]
    return [*inputs, *[Recurrence(128, n, 256, 1024)] * 2, Linear(n, 256, 10)]


ROWS = {
    "small": Row("MLP 64-64-10, batch 32", 32, vectors(64), _mlp(64, 64, 10)),
    "mlp": Row("MLP 784-1024×3-10, batch 128", 128, vectors(784), _mlp(784, 1024, 1024, 1024, 10)),
    "nano": Row("GPT 4L 4H 128, context 64, batch 12", 12, text(64), _gpt(4, 4, 128, 64)),
    "gpt": Row("GPT 6L 6H 384, context 256, batch 4", 4, text(256), _gpt(6, 6, 384, 256)),
    "cnn": Row("CNN (2×32, 2×64, batch-norm), 3×32×32, batch 64", 64, images, _cnn),
    "resnet": Row("ResNet-18, 3×32×32, batch 32", 32, images, _resnet),
    "lstm": Row("LSTM 2×256, sequence 128, batch 32", 32, sequences, _lstm),
    "pinn": Row("Burgers PINN, 1,024 points", 1024, points, None),
    "nanogpt": Row("nanoGPT 4L 4H 128, exact GELU, batch 12", 12, text(64), _gpt(4, 4, 128, 64)),
}


def normal(*shape: int) -> Callable[[Any, int], Any]:
    return lambda rng, n: rng.normal(size=(n, *shape)).astype(np.float32)


def whole(most: int, *shape: int) -> Callable[[Any, int], Any]:
    return lambda rng, n: rng.integers(0, most, (n, *shape))


def edges(rng: Any, n: int) -> Any:
    return rng.integers(0, n, (2, 4 * n))


NODES = 2707
"""Of a graph, which stays on one rank: a prime."""


def _more(title: str, batch: int, x: Callable[..., Any], y: Callable[..., Any]) -> Row:
    return Row(f"{title}, batch {batch}", batch, lambda rng, n: (x(rng, n), y(rng, n)), None)


def _masks(rng: Any, n: int) -> Any:
    return (rng.normal(size=(n, 1, 64, 64)) > 0).astype(np.float32)


def _letters(rng: Any, n: int) -> Any:
    return rng.integers(1, 29, (n, 20))


def _padded(rng: Any, n: int) -> tuple[Any, Any]:
    """Sentences, half of them shorter, and labels of a seventh of the words."""
    tokens = rng.integers(1, 1000, (n, 64))
    tokens[::2, 50:] = 0
    return tokens, np.where((rng.random((n, 64)) < 0.15) & (tokens > 0), tokens, -100)


IMAGES, VIEWS = normal(3, 32, 32), normal(1, 64, 64)
MORE = {
    "vit": _more("Vision transformer, patches of 4, 192", 16, IMAGES, whole(10)),
    "mixer": _more("MLP-Mixer, 128", 16, IMAGES, whole(10)),
    "mobilenet": _more("MobileNetV2 blocks", 16, IMAGES, whole(10)),
    "efficientnet": _more("EfficientNet blocks", 16, IMAGES, whole(10)),
    "resnext": _more("ResNeXt blocks, group-norm", 16, IMAGES, whole(10)),
    "unet": _more("U-Net, 64×64", 4, VIEWS, _masks),
    "unet-bilinear": _more("U-Net, bilinear upsampling", 4, VIEWS, _masks),
    "dcgan": _more("DCGAN, both networks", 16, IMAGES, normal(64, 1, 1)),
    "vae": _more("VAE 784-400-20", 128, lambda rng, n: abs(normal(784)(rng, n)) % 1, normal(20)),
    "style": _more("Style network, instance-norm", 4, normal(3, 64, 64), normal(3, 64, 64)),
    "volumes": _more("3-D CNN, 16³", 8, normal(1, 16, 16, 16), whole(10)),
    "simclr": _more("SimCLR, small encoder", 32, IMAGES, IMAGES),
    "bert": Row("BERT 4L 4H 256, padding, batch 16", 16, _padded, None),
    "llama": _more("Llama 4L 8H 256, context 64", 8, whole(65, 64), whole(65, 64)),
    "translator": _more("nn.Transformer 2+2L 128", 16, whole(500, 30), whole(500, 31)),
    "seq2seq": _more("GRUs with attention, 20 words", 32, whole(500, 20), whole(500, 20)),
    "word-lm": _more("LSTM of 10,000 words", 35, whole(10_000, 20), whole(10_000, 20)),
    "speech": _more("Convolution, BiLSTM, CTC", 8, normal(40, 200), _letters),
    "wavenet": _more("WaveNet, 8 layers, 1,024 steps", 4, normal(1, 1024), whole(64, 1024)),
    "heartbeat": _more("1-D CNN, 256 steps", 32, normal(2, 256), whole(10)),
    "graph": _more("Graph network, four edges a node", NODES, normal(64), edges),
    "gat": _more("Graph attention, four edges a node", NODES, normal(64), edges),
    "dlrm": _more("DLRM, 8 tables", 256, normal(13), whole(5000, 8, 3)),
    "nerf": _more("NeRF, 32 samples a ray", 128, normal(3), normal(3)),
    "flow": _more("RealNVP, 6 layers", 512, normal(16), normal()),
    "ode": _more("Neural ODE, Runge-Kutta", 20, normal(2), normal(2)),
    "ppo": _more("PPO, 64-64", 512, normal(8), whole(4)),
    "points": _more("Set transformer, 64 points", 16, normal(64, 3), whole(10)),
    "recommender": _more("Matrix factorisation", 1024, whole(5000), whole(5000)),
}
ALL = ROWS | MORE


def batch_of(row: Row, rank: int = 0, ranks: int = 1, batch: int | None = None) -> tuple[Any, Any]:
    """Return a rank's part of the row's global batch."""
    n = batch or row.batch
    x, y = row.data(np.random.default_rng(0), n)
    part = slice(rank * n // ranks, (rank + 1) * n // ranks)
    return x[part], y[part]


def weights() -> Callable[..., Any]:
    """Return ``take(*shape)``: the next parameter's values, the same under every framework."""
    rng = np.random.default_rng(1)

    def take(*shape: int) -> Any:
        fan_in = int(np.prod(shape[1:]))
        return (rng.normal(size=shape) / np.sqrt(fan_in)).astype(np.float32)

    return take


def fill(model: Any, write: Callable[[Any, Any], None]) -> None:
    """Give a PyTorch-like model these values: vectors are 0 if they are biases, else 1."""
    take = weights()
    for name, p in model.named_parameters():
        shape = tuple(p.shape)
        bias = "bias" in name.rsplit(".", 1)[-1]
        write(p, take(*shape) if len(shape) > 1 else np.full(shape, not bias, np.float32))
