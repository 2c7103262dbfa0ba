"""Language models of words: an LSTM, a GRU or a transformer reads a text and goes on writing it.

Zaremba, Sutskever & Vinyals (2014), "Recurrent Neural Network Regularization"; Press & Wolf (2017)
tie the weights. On WikiText-2, 33,000 words, GluonNLP publishes a test perplexity of 101.6 for an
LSTM of two layers of 200. The text here is another, shorter one, whose perplexities are lower: the
documentation that comes with Python, or a file (--text); what is rarer than three is <unk>.

The text is cut into columns that are read side by side, --context words at a time; a column's
hidden state is carried on from one batch to the next, and always stays with the same shard.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import distgrad as dg
import distgrad.distributed as dist
from distgrad import Tensor, nn, optim
from distgrad.nn import functional as F

STATES = {"lstm": 2, "gru": 1, "transformer": 0}  # what is carried on: h and c, h, nothing


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=STATES, default="lstm")
    parser.add_argument("--text", metavar="FILE", help="UTF-8 text; without it Python's docs")
    parser.add_argument("--width", type=int, default=128, help="of embedding and hidden state")
    parser.add_argument("--context", type=int, default=35, help="words that are read at a time")
    parser.add_argument("--dropout", type=float, default=0.3)
    parser.add_argument("--sample", type=int, default=60, metavar="N", help="words to write")
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--batch-size", type=int, default=16, help="columns, of all ranks together")
    parser.add_argument("--accumulate", type=int, default=1, metavar="N", help="batches a step")
    parser.add_argument("--lr", type=float, help="at the beginning (10; transformer 2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shards", type=int, default=2, help="logical shards: a power of two")
    parser.add_argument("--capture", action="store_true", help="record a step once, then replay it")
    parser.add_argument("--checkpoint", metavar="FILE", help="file that training goes on from")
    parser.add_argument("--every", type=int, default=200, help="steps between reports")
    parser.add_argument(
        "--resume", action="store_true", help="go on from --checkpoint, if it exists"
    )
    parser.add_argument("--run", metavar="DIR", help="folder for all the training leaves")
    parser.add_argument("--plot", metavar="FILE", help="draw perplexity and words: .png or .pdf")
    args = parser.parse_args()
    if args.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error('--plot needs matplotlib: pip install -e ".[plot]"')
    if args.resume and not args.checkpoint:
        parser.error("--resume needs --checkpoint FILE")
    return args


class RNNModel(nn.Module):
    def __init__(self, kind: str, words: int, width: int, dropout: float) -> None:
        super().__init__()
        self.kind, self.drop = kind, nn.Dropout(dropout)
        self.encoder = nn.Embedding(words, width)
        rnn = nn.LSTM if kind == "lstm" else nn.GRU
        self.rnn = rnn(width, width, num_layers=2, dropout=dropout, batch_first=True)
        self.decoder = nn.Linear(width, words)
        self.decoder.weight = self.encoder.weight  # tied
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, words: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Words (n, t) and what was carried on (1 or 2, layers, n, width): logits, and the next."""
        embedded = self.drop(self.encoder(words))
        if self.kind == "lstm":
            output, (h, c) = self.rnn(embedded, (hidden[0], hidden[1]))
            hidden = dg.stack((h, c))
        else:
            output, h = self.rnn(embedded, hidden[0])
            hidden = h.unsqueeze(0)
        return self.decoder(self.drop(output)), hidden


class TransformerModel(nn.Module):
    def __init__(self, words: int, width: int, dropout: float, longest: int) -> None:
        super().__init__()
        self.width = width
        self.encoder = nn.Embedding(words, width)
        angle = np.arange(longest)[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
        places = np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(longest, -1)
        self.register_buffer("places", dg.tensor(places, dtype=dg.float32)[:, :width])
        self.drop = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, num_layers=2)
        self.decoder = nn.Linear(width, words)
        self.decoder.weight = self.encoder.weight  # tied
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, words: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Words (n, t) to logits; ``hidden`` is empty, and passed through."""
        t = words.shape[1]
        x = self.drop(self.encoder(words) * math.sqrt(self.width) + self.places[:t])
        mask = nn.Transformer.generate_square_subsequent_mask(t)
        return self.decoder(self.layers(x, mask=mask, is_causal=True)), hidden


class Columns(dg.data.Dataset):
    """A text in columns; sample i is column i % n: its next words, those after each, and where.

    Read in order, a batch of n samples is all columns, and each shard has the same ones always.
    """

    def __init__(self, tokens: np.ndarray, n: int, context: int) -> None:
        self.n, self.context = n, context
        self.chunks = (len(tokens) - 1) // (n * context)
        if not self.chunks:
            raise ValueError(
                f"{len(tokens)} words are too few for {n} columns of {context}: give a longer "
                f"--text, or a smaller --batch-size or --context"
            )
        length = self.chunks * context
        self.columns = [tokens[c * length : (c + 1) * length + 1] for c in range(n)]

    def __len__(self) -> int:
        return self.chunks * self.n

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray, int, int]:
        chunk, column = divmod(i, self.n)
        words = self.columns[column][chunk * self.context : (chunk + 1) * self.context + 1]
        return words[:-1], words[1:], column, chunk


def read_words(args: argparse.Namespace) -> tuple[list[str], list[np.ndarray]]:
    """The vocabulary; eight tenths of the text, a tenth and another, from all over it."""
    text = dg.data.text_file(args.text) if args.text else dg.data.python_docs()
    found = re.findall(r"\w+|[^\w\s]|\n", text)
    known = [word for word, count in Counter(found).most_common() if count >= 3]
    number = {word: i for i, word in enumerate(["<unk>", *known])}
    tokens = np.array([number.get(word, 0) for word in found])
    pieces = np.array_split(tokens, 50)
    tenths = [np.concatenate(pieces[i::10]) for i in range(10)]
    return list(number), [np.concatenate(tenths[:8]), tenths[8], tenths[9]]


def forever(loader: dg.data.DataLoader) -> Iterator[dg.data.Batch]:
    while True:
        yield from loader


Read = Callable[[np.ndarray, np.ndarray, Tensor], tuple[Tensor, Tensor]]


def loss_of(
    model: nn.Module, words: Any, following: Any, before: Tensor, reduction: str = "mean"
) -> tuple[Tensor, Tensor]:
    """The loss of the words ``following``, and what is carried on."""
    logits, after = model(dg.tensor(words), before)
    loss = F.cross_entropy(logits.flatten(0, 1), dg.tensor(following).ravel(), reduction=reduction)
    return loss, after.detach()


def read_on(read: Read, hidden: Tensor, shard: tuple[Any, ...]) -> Tensor:
    """The loss of a shard's next words; ``hidden`` of its columns is carried on."""
    words, following, column, chunk = shard
    if chunk[0] == 0:
        hidden[:, :, column] = 0
    loss, hidden[:, :, column] = read(words, following, hidden[:, :, column])
    return loss


def perplexity(world: dg.World, model: nn.Module, text: Columns, hidden: Tensor) -> float:
    total = dg.ShardSum(world, "nats", "words")
    summed = partial(loss_of, model, reduction="sum")
    model.eval()
    with dg.no_grad():
        for batch in dg.data.DataLoader(text, text.n):
            for shard in batch.shards:
                nats = read_on(summed, hidden, shard)
                total.add(nats=nats, words=shard[0].size)
    model.train()
    found = total.result()
    return math.exp(found["nats"] / found["words"])


def everyones(hidden: Tensor, own: list[int]) -> Tensor:
    """The hidden states of all columns, of which ``own`` are this rank's; on every rank."""
    found = dg.zeros_like(hidden)
    found[:, :, own] = hidden[:, :, own]
    dist.all_reduce(found)
    return found


def main() -> None:
    args = arguments()
    world = dg.init(shards=args.shards)
    dg.manual_seed(args.seed)

    vocabulary, parts = read_words(args)
    train, valid, test = (Columns(part, args.batch_size, args.context) for part in parts)
    loader = dg.data.DataLoader(train, args.batch_size)
    if args.model == "transformer":
        model = TransformerModel(len(vocabulary), args.width, args.dropout, args.context)
    else:
        model = RNNModel(args.model, len(vocabulary), args.width, args.dropout)
    optimizer = optim.SGD(model.parameters(), lr=args.lr or (10, 2)[args.model == "transformer"])
    ddp = dg.DistributedDataParallel(model)
    hidden = dg.zeros(STATES[args.model], 2, args.batch_size, args.width)
    first, curve = 0, []
    if args.resume and Path(args.checkpoint).exists():
        saved = dg.load(args.checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["loader"])
        hidden, first, curve = saved["hidden"], saved["step"], saved["curve"]

    def forward_and_backward(
        words: np.ndarray, following: np.ndarray, before: Tensor
    ) -> tuple[Tensor, Tensor]:
        loss, after = loss_of(model, words, following, before)
        ddp.backward(loss / args.accumulate)
        return loss, after

    learn = dg.capture(forward_and_backward) if args.capture else forward_and_backward
    batches = forever(loader)
    with dg.observe.Run(args.run, model=model, configuration=args, resume=args.resume) as run:
        run.begins(first, args.steps)
        for step in range(first + 1, args.steps + 1):
            optimizer.zero_grad()
            own: list[int] = []  # columns of this rank
            for i in range(1, args.accumulate + 1):
                with nullcontext() if i == args.accumulate else ddp.no_sync():
                    for shard in next(batches).shards:
                        read_on(learn, hidden, shard)
                        own += shard[2].tolist()
            nn.utils.clip_grad_norm_(model.parameters(), 0.25)
            optimizer.step()
            if step % args.every == 0 or step == args.steps:
                found = perplexity(world, model, valid, dg.zeros_like(hidden))
                if curve and found > min(p for _, p in curve):
                    optimizer.param_groups[0]["lr"] /= 4
                curve.append([step, found])
                run.log(step, {"validation/perplexity": found})
                world.print(f"step {step}: validation perplexity {found:.1f}")
                if args.checkpoint:
                    saved = {
                        "model": model.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "loader": loader.state_dict(),
                        "hidden": everyones(hidden, own),
                        "step": step,
                        "curve": curve,
                    }
                    dg.save(saved, args.checkpoint)

    found = perplexity(world, model, test, dg.zeros_like(hidden))
    world.print(write(model, vocabulary, args))
    world.print(f"test perplexity {found:.1f}, of {len(vocabulary)} words")
    world.print(f"sha256 {nn.state_sha256(model.state_dict())}")
    if args.plot and world.rank == 0:
        draw(model, vocabulary, curve, args.plot)


def write(model: nn.Module, vocabulary: list[str], args: argparse.Namespace) -> str:
    """Words drawn one after the other, none of them <unk>."""
    window = 1 if STATES[args.model] else args.context  # the rest is in the hidden state
    hidden = dg.zeros(STATES[args.model], 2, 1, args.width)
    tokens = [next((i for i, word in enumerate(vocabulary) if word.isalpha()), 0)]
    dg.manual_seed(args.seed)
    model.eval()
    with dg.no_grad():
        for _ in range(args.sample):
            logits, hidden = model(dg.tensor([tokens[-window:]]), hidden)
            p = F.softmax(logits[0, -1, 1:] / 0.9, dim=0)
            tokens.append(1 + dg.multinomial(p, 1).item())
    return " ".join(vocabulary[token] for token in tokens)


def draw(model: nn.Module, vocabulary: list[str], curve: list[list[float]], file: str) -> None:
    """The validation perplexity, and the two main directions of common words' embeddings."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)

    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[2, 3])
    left.plot(*zip(*curve, strict=True), ".-")
    left.set(xlabel="step", ylabel="perplexity", title="Validation", yscale="log")
    common = [i for i, word in enumerate(vocabulary[:400]) if word.isalpha()][:90]
    embedded = model.encoder.weight.detach()[common]
    u, s, _ = dg.linalg.svd(embedded - embedded.mean(dim=0), full_matrices=False)
    for i, (x, y) in zip(common, (u * s)[:, :2].tolist(), strict=True):
        right.plot(x, y, ".", color="lightgray")
        right.annotate(vocabulary[i], (x, y), fontsize=8)
    right.set(xlabel="first principal direction", ylabel="second", title="Common words")
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
