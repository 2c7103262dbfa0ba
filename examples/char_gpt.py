"""Train a GPT on the characters of a text file, with nanoGPT's settings for a CPU, but --lr 2e-3.

nanoGPT's 1e-3 ends at a validation loss of 1.90 on Tiny Shakespeare, in PyTorch as here.
Without --text it reads the English documentation topics that come with Python; --tokenizer takes
byte pairs in the place of characters.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import models
import numpy as np

import distgrad as dg
from distgrad import Tensor, nn, optim
from distgrad.nn import functional as F


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--text", metavar="FILE", help="UTF-8 text to learn (default: Python's docs)"
    )
    parser.add_argument(
        "--tokenizer", metavar="SIZE|FILE", help="byte-pair tokens: so many, or a tokenizer.json's"
    )
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--context", type=int, default=64, help="tokens the model looks back")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--global-batch-size", type=int, default=12)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("--shards", type=int, default=4, help="logical shards: a power of two")
    parser.add_argument("--capture", action="store_true", help="record a step once, then replay it")
    parser.add_argument("--evaluate-every", type=int, default=500, metavar="N")
    parser.add_argument("--run", metavar="DIR", help="folder for all the training leaves")
    parser.add_argument("--checkpoint", metavar="DIR", help="folder for checkpoints alone")
    parser.add_argument("--every", type=int, default=250, metavar="N", help="steps between them")
    parser.add_argument("--resume", action="store_true", help="continue the newest checkpoint")
    parser.add_argument("--sample", type=int, default=200, metavar="N", help="tokens to write")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    return parser.parse_args()


def tokens_of(text: str, wanted: str | None) -> tuple[Any, int, Callable[[Any], str]]:
    """Return the tokens of a text, how many there are to choose from, and the way back."""
    if wanted is None:
        tokens, vocabulary = dg.data.character_tokens(text)
        return tokens, len(vocabulary), lambda some: "".join(vocabulary[t] for t in some)
    tokenizer = (
        dg.data.BytePairTokenizer.train(text, int(wanted))
        if wanted.isdecimal()
        else dg.data.BytePairTokenizer.load(wanted)
    )
    return tokenizer.encode(text), len(tokenizer), tokenizer.decode


def next_token_loss(logits: Tensor, targets: Any) -> Tensor:
    return F.cross_entropy(logits, targets.reshape(-1))  # b t v against b t


def write(model: Any, start: int, count: int) -> list[int]:
    """Continue the token ``start`` by ``count`` more, drawn from the model."""
    rng = np.random.default_rng(0)
    tokens = [start]
    model.eval()
    with dg.no_grad():
        for _ in range(count):
            logits = model(np.array([tokens[-model.context :]])).array[-1].astype(float)
            p = np.exp(logits - logits.max())
            tokens.append(int(rng.choice(len(p), p=p / p.sum())))
    return tokens


def main() -> None:
    args = arguments()
    world = dg.init(shards=args.shards)
    dg.manual_seed(args.seed)

    text = dg.data.text_file(args.text) if args.text else dg.data.python_docs()
    tokens, size, decode = tokens_of(text, args.tokenizer)
    train, windows = dg.data.split_text(tokens, args.context)
    validation = dg.data.Subset(windows, np.arange(0, len(windows), args.context))
    loader = dg.data.DataLoader(train, args.global_batch_size, shuffle=True, seed=args.seed)
    validation_loader = dg.data.DataLoader(validation, 128)

    model = models.GPT(size, args.context, args.layers, args.heads, args.width, args.dropout)
    groups = nn.zoo.decay_groups(model, 0.1)  # matrices decay, gains do not
    optimizer = optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.99))
    schedule = optim.WarmupCosineLR(optimizer, min(100, args.steps // 2), args.steps, 0.1)
    trainer = dg.Trainer(
        model,
        optimizer,
        next_token_loss,
        schedule=schedule,
        clip_norm=1.0,
        run=args.run,
        checkpoint=args.checkpoint,
        every=args.every,
        capture=args.capture,
    )
    state = trainer.fit(
        loader,
        max_steps=args.steps,
        evaluate=validation_loader,
        evaluate_every=args.evaluate_every,
        resume=args.resume,
    )
    loss = trainer.evaluate(validation_loader)["loss"]

    sha256 = nn.state_sha256(model.state_dict())
    if args.sample:
        world.print(decode(write(model, int(tokens[0]), args.sample)))
    world.print(f"validation loss {loss:.4f} on {len(validation)} windows, {world}")
    world.print(f"sha256 {sha256}")
    if args.json:
        result = {
            "steps": state.step,
            "loss": state.loss,
            "validation_loss": loss,
            "samples_per_second": state.samples_per_second,
            "ranks": world.size,
            "shards": world.shards,
            "sha256": sha256,
        }
        world.print(json.dumps(result))


if __name__ == "__main__":
    main()
