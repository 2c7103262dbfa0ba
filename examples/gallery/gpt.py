"""A small GPT, character by character: how surprising text is to it, and what it writes itself.

Radford et al. (2019), "Language Models are Unsupervised Multitask Learners". The settings are those
nanoGPT has for a CPU; its README states a validation loss of 1.88 nats a character for them on Tiny
Shakespeare, and 1.4697 for ten million parameters and a context of 256 on a GPU. The text here is
the documentation that comes with Python, or a file (--text).
"""

from __future__ import annotations

import argparse
import importlib.util
import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import distgrad as dg
from distgrad import Tensor, nn, optim
from distgrad.nn import functional as F


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", metavar="FILE", help="UTF-8 text; without it Python's docs")
    parser.add_argument("--n-layer", type=int, default=4)
    parser.add_argument("--n-head", type=int, default=4)
    parser.add_argument("--n-embd", type=int, default=128)
    parser.add_argument("--block-size", type=int, default=64, help="characters it looks back")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--sample", type=int, default=500, metavar="N", help="characters to write")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--schedule-steps", type=int, help="of the learning rate; as --steps")
    parser.add_argument("--batch-size", type=int, default=12, help="of all ranks together")
    parser.add_argument("--accumulate", type=int, default=1, metavar="N", help="batches a step")
    parser.add_argument("--lr", type=float, default=1e-3, help="its highest value")
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("--shards", type=int, default=2, help="logical shards: a power of two")
    parser.add_argument("--capture", action="store_true", help="record a step once, then replay it")
    parser.add_argument("--checkpoint", metavar="FILE", help="file that training goes on from")
    parser.add_argument("--every", type=int, default=250, help="steps between reports")
    parser.add_argument(
        "--resume", action="store_true", help="go on from --checkpoint, if it exists"
    )
    parser.add_argument("--run", metavar="DIR", help="folder for all the training leaves")
    parser.add_argument("--plot", metavar="FILE", help="draw losses, and where it is surprised")
    args = parser.parse_args()
    if args.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error('--plot needs matplotlib: pip install -e ".[plot]"')
    if args.resume and not args.checkpoint:
        parser.error("--resume needs --checkpoint FILE")
    return args


@dataclass
class GPTConfig:
    vocab_size: int
    block_size: int = 64
    n_layer: int = 4
    n_head: int = 4
    n_embd: int = 128
    dropout: float = 0.0
    bias: bool = False


class CausalSelfAttention(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        assert config.n_embd % config.n_head == 0, "--n-embd is a multiple of --n-head"
        self.n_head, self.dropout = config.n_head, config.dropout
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(C, dim=2)
        q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # B heads T C/heads
        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        y = self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))
        return F.dropout(y, self.dropout, self.training)


class Block(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.mlp = nn.ModuleDict(
            {
                "c_fc": nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias),
                "gelu": nn.GELU(),
                "c_proj": nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias),
                "dropout": nn.Dropout(config.dropout),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        h = self.ln_2(x)
        for layer in self.mlp.values():
            h = layer(h)
        return x + h


class GPT(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.drop = nn.Dropout(config.dropout)
        self.h = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.wte.weight = self.lm_head.weight  # tied
        self.apply(self._init_weights)
        for name, p in self.named_parameters():
            if name.endswith("c_proj.weight"):  # each adds to the residual stream, 2 n_layer times
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * config.n_layer))

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, idx: Tensor) -> Tensor:
        x = self.drop(self.wte(idx) + self.wpe(dg.arange(idx.size(1))))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))  # B T vocabulary

    @dg.no_grad()
    def generate(
        self, idx: Tensor, max_new_tokens: int, temperature: float = 1.0, top_k: int | None = None
    ) -> Tensor:
        for _ in range(max_new_tokens):
            logits = self(idx[:, -self.config.block_size :])[:, -1, :] / temperature
            if top_k is not None:
                v, _ = dg.topk(logits, min(top_k, logits.size(-1)))
                logits[logits < v[:, [-1]]] = -float("inf")
            idx_next = dg.multinomial(F.softmax(logits, dim=-1), num_samples=1)
            idx = dg.cat((idx, idx_next), dim=1)
        return idx


def get_lr(it: int, learning_rate: float, lr_decay_iters: int) -> float:
    """Warm-up, then a cosine down to a tenth."""
    warmup_iters, min_lr = min(100, lr_decay_iters // 10), learning_rate / 10
    if it < warmup_iters:
        return learning_rate * (it + 1) / (warmup_iters + 1)
    if it > lr_decay_iters:
        return min_lr
    decay_ratio = (it - warmup_iters) / (lr_decay_iters - warmup_iters)
    coeff = 0.5 * (1.0 + math.cos(math.pi * decay_ratio))
    return min_lr + coeff * (learning_rate - min_lr)


def forever(loader: dg.data.DataLoader) -> Iterator[dg.data.Batch]:
    while True:
        yield from loader


def loss_of(model: GPT, x: np.ndarray, y: np.ndarray, reduction: str = "mean") -> Tensor:
    logits = model(dg.tensor(x))
    return F.cross_entropy(logits.flatten(0, 1), dg.tensor(y).flatten(), reduction=reduction)


def estimate_loss(world: dg.World, model: GPT, windows: dg.data.TextDataset) -> float:
    """Nats per character, in 512 windows spread evenly over the text."""
    chosen = np.linspace(0, len(windows) - 1, 512).astype(int)
    total = dg.ShardSum(world, "nats", "characters")
    model.eval()
    with dg.no_grad():
        for batch in dg.data.DataLoader(dg.data.Subset(windows, chosen), 64):
            for x, y in batch.shards:
                total.add(nats=loss_of(model, x, y, "sum"), characters=y.size)
    model.train()
    found = total.result()
    return found["nats"] / found["characters"]


def main() -> None:
    args = arguments()
    world = dg.init(shards=args.shards)
    dg.manual_seed(args.seed)

    text = dg.data.text_file(args.text) if args.text else dg.data.python_docs()
    tokens, vocabulary = dg.data.character_tokens(text)
    train, val = dg.data.split_text(tokens, args.block_size)
    loader = dg.data.DataLoader(train, args.batch_size, shuffle=True, seed=args.seed)
    names = "block_size", "n_layer", "n_head", "n_embd", "dropout"
    config = GPTConfig(len(vocabulary), **{name: getattr(args, name) for name in names})
    model = GPT(config)
    optimizer = optim.AdamW(nn.zoo.decay_groups(model, 0.1), lr=args.lr, betas=(0.9, 0.99))
    ddp = dg.DistributedDataParallel(model)
    first, curve = 0, []
    if args.resume and Path(args.checkpoint).exists():
        saved = dg.load(args.checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["loader"])
        first, curve = saved["step"], saved["curve"]

    def forward_and_backward(x: np.ndarray, y: np.ndarray) -> None:
        ddp.backward(loss_of(model, x, y) / args.accumulate)

    learn = dg.capture(forward_and_backward) if args.capture else forward_and_backward
    batches = forever(loader)
    with dg.observe.Run(args.run, model=model, configuration=args, resume=args.resume) as run:
        run.begins(first, args.steps)
        for step in range(first + 1, args.steps + 1):
            for group in optimizer.param_groups:
                group["lr"] = get_lr(step - 1, args.lr, args.schedule_steps or args.steps)
            optimizer.zero_grad()
            for i in range(1, args.accumulate + 1):
                with nullcontext() if i == args.accumulate else ddp.no_sync():
                    for x, y in next(batches).shards:
                        learn(x, y)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step % args.every == 0 or step == args.steps:
                losses = [estimate_loss(world, model, split) for split in (train, val)]
                curve.append([step, *losses])
                run.log(step, {"loss": losses[0], "validation/loss": losses[1]})
                world.print(f"step {step}: train loss {losses[0]:.4f}, val loss {losses[1]:.4f}")
                if args.checkpoint:
                    saved = {
                        "model": model.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "loader": loader.state_dict(),
                        "step": step,
                        "curve": curve,
                    }
                    dg.save(saved, args.checkpoint)

    model.eval()
    dg.manual_seed(args.seed)
    start = dg.tensor([[vocabulary.index("\n")]])
    written = model.generate(start, args.sample, temperature=0.8, top_k=200)
    world.print("".join(vocabulary[i] for i in written[0].tolist()))
    world.print(f"sha256 {nn.state_sha256(model.state_dict())}")
    if args.plot and world.rank == 0:
        draw(model, val, vocabulary, curve, args.plot)


def draw(
    model: GPT, val: dg.data.TextDataset, vocabulary: str, curve: list[list[float]], file: str
) -> None:
    """The losses; and lines of the validation text, each character as dark as it surprised."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)

    width, rows = model.config.block_size, 10
    x, y = val.__getitems__(np.arange(rows) * width)
    with dg.no_grad():
        nats = loss_of(model, x, y, "none").view(rows, width).numpy()
    figure = Figure(figsize=(14, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 3])
    steps, train_loss, val_loss = zip(*curve, strict=True)
    left.plot(steps, train_loss, ".-", label="train")
    left.plot(steps, val_loss, ".-", label="validation")
    left.set(xlabel="step", ylabel="loss [nats per character]", title="Loss")
    left.legend()
    image = right.imshow(nats, cmap="Reds", vmin=0, vmax=8, aspect="auto")
    for (row, column), token in np.ndenumerate(y):
        shown = vocabulary[token].replace("\n", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}")
        right.text(column, row, shown.replace("$", r"\$"), ha="center", va="center", fontsize=8)
    right.set(xticks=[], yticks=[], title="Validation text: how surprising each character was")
    right.set_xlabel("place in the context: the first character of a line is guessed from one")
    figure.colorbar(image, ax=right, label="nats")
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
