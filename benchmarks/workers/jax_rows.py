"""One training step of a row in JAX: forward, backward, clipping and AdamW in one jit.

Weights are made in PyTorch's order and layout (rows.weights) and turned into JAX's: matrices
(in, out), images and kernels with channels last.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from rows import LEARNING_RATE, NORM, ROWS, WEIGHT_DECAY, batch_of, weights


def versions() -> dict[str, str]:
    return {"jax": jax.__version__}


# -- layers: parameters by the shapes of PyTorch's, then the functions ----------------------------


def linear(take: Any, inputs: int, outputs: int, bias: bool = True) -> dict[str, Any]:
    w = {"w": take(outputs, inputs).T}
    return w | ({"b": np.zeros(outputs, np.float32)} if bias else {})


def dense(p: dict[str, Any], x: Any) -> Any:
    y = x @ p["w"]
    return y + p["b"] if "b" in p else y


def conv(take: Any, inputs: int, outputs: int, size: int = 3) -> Any:
    return take(outputs, inputs, size, size).transpose(2, 3, 1, 0)


def convolve(w: Any, x: Any, stride: int = 1) -> Any:
    pad = w.shape[0] // 2
    return lax.conv_general_dilated(
        x, w, (stride, stride), [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def norm(width: int) -> dict[str, Any]:
    return {"g": np.ones(width, np.float32), "b": np.zeros(width, np.float32)}


def batch_norm(p: dict[str, Any], x: Any, running: list[Any]) -> Any:
    """Normalise by the batch; what the running statistics move to is appended to ``running``."""
    mean = x.mean((0, 1, 2))
    var = jnp.square(x - mean).mean((0, 1, 2))
    n = x.size // x.shape[-1]
    running.append(jnp.stack([mean, var * (n / (n - 1))]))
    return (x - mean) * (lax.rsqrt(var + 1e-5) * p["g"]) + p["b"]


def layer_norm(g: Any, x: Any) -> Any:
    mean = x.mean(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(x.var(-1, keepdims=True) + 1e-5) * g


def pool(x: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def cross_entropy(logits: Any, labels: Any) -> Any:
    log_p = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_p, labels[:, None], axis=1).mean()


# -- models: make(take) gives parameters, loss(params, x, y) the loss and running statistics ------


def mlp(*widths: int) -> tuple[Any, Any]:
    def make(take: Any) -> Any:
        return [linear(take, a, b) for a, b in pairwise(widths)]

    def loss(params: Any, x: Any, y: Any) -> Any:
        for p in params[:-1]:
            x = jax.nn.relu(dense(p, x))
        return cross_entropy(dense(params[-1], x), y), []

    return make, loss


def gpt(layers: int, heads: int, width: int, context: int, exact: bool) -> tuple[Any, Any]:
    def block(take: Any) -> Any:
        ones = np.ones(width, np.float32)
        sizes = {"qkv": (1, 3), "project": (1, 1), "up": (1, 4), "down": (4, 1)}
        parts = {k: take(b * width, a * width).T for k, (a, b) in sizes.items()}
        return parts | {"norm1": ones, "norm2": ones}

    def make(take: Any) -> Any:
        tables = {"tokens": take(65, width), "positions": take(context, width)}
        blocks = [block(take) for _ in range(layers)]
        return tables | {"blocks": blocks, "norm": np.ones(width, np.float32)}

    def attend(x: Any, p: Any) -> Any:
        b, t, _ = x.shape
        q, k, v = jnp.split((x @ p["qkv"]).reshape(b, t, 3, heads, -1), 3, axis=2)
        y = jax.nn.dot_product_attention(q[:, :, 0], k[:, :, 0], v[:, :, 0], is_causal=True)
        return y.reshape(x.shape) @ p["project"]

    def loss(params: Any, tokens: Any, labels: Any) -> Any:
        x = params["tokens"][tokens] + params["positions"][: tokens.shape[1]]
        for p in params["blocks"]:
            x = x + attend(layer_norm(p["norm1"], x), p)
            up = jax.nn.gelu(layer_norm(p["norm2"], x) @ p["up"], approximate=not exact)
            x = x + up @ p["down"]
        logits = layer_norm(params["norm"], x) @ params["tokens"].T
        return cross_entropy(logits.reshape(-1, 65), labels.reshape(-1)), []

    return make, loss


def cnn() -> tuple[Any, Any]:
    layers = ((3, 32), (32, 32), (32, 64), (64, 64))

    def make(take: Any) -> Any:
        body = [{"w": conv(take, a, b), "norm": norm(b)} for a, b in layers]
        return {"body": body, "head": [linear(take, 4096, 256), linear(take, 256, 10)]}

    def loss(params: Any, x: Any, y: Any) -> Any:
        running: list[Any] = []
        for i, p in enumerate(params["body"]):
            x = jax.nn.relu(batch_norm(p["norm"], convolve(p["w"], x), running))
            x = pool(x) if i % 2 else x
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)  # the order of PyTorch's weights
        x = jax.nn.relu(dense(params["head"][0], x))
        return cross_entropy(dense(params["head"][1], x), y), running

    return make, loss


def resnet() -> tuple[Any, Any]:
    plan = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1)]
    plan += [(256, 512, 2), (512, 512, 1)]

    def block(take: Any, a: int, b: int, stride: int) -> Any:
        p = {"w1": conv(take, a, b), "n1": norm(b), "w2": conv(take, b, b), "n2": norm(b)}
        return p | ({"w3": conv(take, a, b, 1), "n3": norm(b)} if stride > 1 else {})

    def make(take: Any) -> Any:
        p = {"w": conv(take, 3, 64), "n": norm(64), "blocks": [block(take, *b) for b in plan]}
        return p | {"fc": linear(take, 512, 10)}

    def loss(params: Any, x: Any, y: Any) -> Any:
        running: list[Any] = []
        x = jax.nn.relu(batch_norm(params["n"], convolve(params["w"], x), running))
        for p, (_, _, stride) in zip(params["blocks"], plan, strict=True):
            out = jax.nn.relu(batch_norm(p["n1"], convolve(p["w1"], x, stride), running))
            out = batch_norm(p["n2"], convolve(p["w2"], out), running)
            if "w3" in p:
                x = batch_norm(p["n3"], convolve(p["w3"], x, stride), running)
            x = jax.nn.relu(out + x)
        return cross_entropy(dense(params["fc"], x.mean((1, 2))), y), running

    return make, loss


def lstm() -> tuple[Any, Any]:
    def layer(take: Any) -> Any:
        zeros = np.zeros(1024, np.float32)
        return {"i": take(1024, 256).T, "h": take(1024, 256).T, "bi": zeros, "bh": zeros}

    def make(take: Any) -> Any:
        return {"layers": [layer(take) for _ in range(2)], "fc": linear(take, 256, 10)}

    def cell(w: Any, state: Any, projected: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(projected + h @ w, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    def loss(params: Any, x: Any, y: Any) -> Any:
        x = x.swapaxes(0, 1)  # time first
        for p in params["layers"]:
            zeros = jnp.zeros((x.shape[1], 256), x.dtype)
            projected = x @ p["i"] + (p["bi"] + p["bh"])
            _, x = lax.scan(partial(cell, p["h"]), (zeros, zeros), projected)
        return cross_entropy(dense(params["fc"], x[-1]), y), []

    return make, loss


def burgers() -> tuple[Any, Any]:
    make, _ = mlp(2, 32, 32, 32, 32, 1)

    def loss(params: Any, t: Any, x: Any) -> Any:
        def u(t: Any, x: Any) -> Any:
            s = 2 * t - 1
            z = jnp.stack([jnp.concatenate([s, s]), jnp.concatenate([x, -x])], axis=1)
            for p in params[:-1]:
                z = jnp.tanh(dense(p, z))
            here, there = jnp.split(dense(params[-1], z)[:, 0], 2)
            return t * (1 - x * x) * (here - there) - jnp.sin(math.pi * x)

        one = jnp.ones_like(x)

        def along_x(x: Any) -> Any:
            return jax.jvp(lambda x: u(t, x), (x,), (one,))

        (value, u_x), (_, u_xx) = jax.jvp(along_x, (x,), (one,))
        _, u_t = jax.jvp(lambda t: u(t, x), (t,), (one,))
        residual = u_t + value * u_x - 0.01 / math.pi * u_xx
        return jnp.square(residual).mean(), []

    return make, loss


MODELS = {
    "small": mlp(64, 64, 10),
    "mlp": mlp(784, 1024, 1024, 1024, 10),
    "nano": gpt(4, 4, 128, 64, exact=False),
    "gpt": gpt(6, 6, 384, 256, exact=False),
    "cnn": cnn(),
    "resnet": resnet(),
    "lstm": lstm(),
    "pinn": burgers(),
    "nanogpt": gpt(4, 4, 128, 64, exact=True),
}


# -- the step ---------------------------------------------------------------------------------


def adamw(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
    """Clip by the global norm, then AdamW, in the order that XLA fuses.

    optax's took the MLP of 1,024 from 13.3 to 22.8 ms (a Zen 5, jax 0.10, optax 0.2.8).
    """
    step, means, squares = state
    step = step + 1
    total = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(grads)))
    scale = jnp.minimum(1.0, NORM / (total + 1e-6))
    down1, down2 = 1 - 0.9**step, 1 - 0.999**step

    def update(p: Any, m: Any, v: Any, g: Any) -> Any:
        g = g * scale
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        move = (m / down1) / (jnp.sqrt(v / down2) + 1e-8) + WEIGHT_DECAY * p
        return p - LEARNING_RATE * move, m, v

    found = jax.tree.map(update, params, means, squares, grads)
    outer, inner = jax.tree.structure(params), jax.tree.structure((0, 0, 0))
    params, means, squares = jax.tree.transpose(outer, inner, found)
    return params, (step, means, squares)


def build(name: str, form: str, *, threads: int = 1, batch: int | None = None) -> Callable[[], Any]:
    """Return the step, which returns the loss; threads are those of the process's cores."""
    make, loss = MODELS[name]
    params = jax.tree.map(jnp.array, make(weights()))
    x, y = batch_of(ROWS[name], batch=batch)
    if x.ndim == 4:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    x, y = jnp.array(x), jnp.array(y)
    state = jnp.float32(0), *(jax.tree.map(jnp.zeros_like, params) for _ in range(2))
    shapes = [s.shape[1:] for s in jax.eval_shape(loss, params, x, y)[1]]
    running = [jnp.stack([jnp.zeros(s), jnp.ones(s)]) for s in shapes]

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(params: Any, state: Any, running: Any, x: Any, y: Any) -> Any:
        (value, seen), grads = jax.value_and_grad(loss, has_aux=True)(params, x, y)
        params, state = adamw(params, state, grads)
        running = [0.9 * r + 0.1 * s for r, s in zip(running, seen, strict=True)]
        return params, state, running, value

    held = [params, state, running]

    def run() -> Any:
        *held[:], value = step(*held, x, y)
        return value

    return run
