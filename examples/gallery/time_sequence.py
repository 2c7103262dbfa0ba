"""Two LSTM cells learn sine waves of different phases, and then continue them by themselves.

PyTorch's example "time_sequence_prediction" sets this task: double precision, LBFGS on all waves
at once, 1000 steps into the future. It shows a picture and states no figure; here the error of
the future is reported as well, against the sine that goes on. Waves are shorter than there (10π
steps, not 40π), so that 100 steps show three of them.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np

import distgrad as dg
from distgrad import Tensor, nn, optim
from distgrad.nn import functional as F

BLIND = 5  # predictions that do not count: a wave's first values hardly tell where it goes


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=100, help="steps of a wave to learn from")
    parser.add_argument("--future", type=int, default=1000, help="steps to continue it")
    parser.add_argument("--hidden", type=int, default=51, help="size of the cells")
    parser.add_argument("--steps", type=int, default=16, help="of LBFGS, 20 iterations each")
    parser.add_argument("--batch-size", type=int, default=96, help="of all ranks together")
    parser.add_argument("--accumulate", type=int, default=1, metavar="N", help="batches a step")
    parser.add_argument("--lr", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shards", type=int, default=2, help="logical shards: a power of two")
    parser.add_argument("--capture", action="store_true", help="record a step once, then replay it")
    parser.add_argument("--checkpoint", metavar="FILE", help="file that training goes on from")
    parser.add_argument("--every", type=int, default=2, help="steps between reports")
    parser.add_argument(
        "--resume", action="store_true", help="go on from --checkpoint, if it exists"
    )
    parser.add_argument("--run", metavar="DIR", help="folder for all the training leaves")
    parser.add_argument("--plot", metavar="FILE", help="draw waves: .png, .pdf or .svg")
    args = parser.parse_args()
    if args.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error('--plot needs matplotlib: pip install -e ".[plot]"')
    if args.resume and not args.checkpoint:
        parser.error("--resume needs --checkpoint FILE")
    return args


class Sequence(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.lstm1 = nn.LSTMCell(1, hidden)
        self.lstm2 = nn.LSTMCell(hidden, hidden)
        self.linear = nn.Linear(hidden, 1)

    def forward(self, waves: Tensor, future: int = 0) -> Tensor:
        """The next value after each of (n, t); ``future`` more, from its own predictions."""
        h1 = c1 = h2 = c2 = waves.new_zeros(len(waves), self.hidden)
        outputs = []
        for t in range(waves.shape[1] + future):
            x = waves[:, t : t + 1] if t < waves.shape[1] else outputs[-1]
            h1, c1 = self.lstm1(x, (h1, c1))
            h2, c2 = self.lstm2(h1, (h2, c2))
            outputs.append(self.linear(h2))
        return dg.cat(outputs, dim=1)


def sines(n: int, length: int, seed: int) -> dg.data.TensorDataset:
    """n waves with a period of 10π steps that start anywhere: float64 (n, length)."""
    start = np.random.default_rng(seed).integers(-20, 20, (n, 1))
    return dg.data.TensorDataset(np.sin((start + np.arange(length)) / 5))


def forever(loader: dg.data.DataLoader) -> Iterator[dg.data.Batch]:
    while True:
        yield from loader


def test(
    world: dg.World, model: Sequence, test_waves: dg.data.TensorDataset, future: int
) -> tuple[float, float]:
    """Mean squared errors: of the next value in the known part, and of the future."""
    errors = dg.ShardSum(world, "known", "future")
    with dg.no_grad():
        for batch in dg.data.DataLoader(test_waves, global_batch_size=8):
            for (waves,) in batch.shards:
                x, target = dg.tensor(waves[:, : -future - 1]), dg.tensor(waves[:, 1:])
                squares = (model(x, future) - target).square() / len(test_waves)
                known, ahead = squares[:, BLIND:-future], squares[:, -future:]
                errors.add(known=known.mean(dim=1).sum(), future=ahead.mean(dim=1).sum())
    sums = errors.result()
    return sums["known"], sums["future"]


def main() -> None:
    args = arguments()
    world = dg.init(shards=args.shards)
    dg.manual_seed(args.seed)

    train_waves = sines(96, args.length, args.seed)
    test_waves = sines(4, args.length + args.future, args.seed + 1)
    loader = dg.data.DataLoader(train_waves, args.batch_size, shuffle=True, seed=args.seed)
    model = Sequence(args.hidden).double()
    # The usual tolerances would stop it where the loss changes by 1e-9: here it gets that small.
    optimizer = optim.LBFGS(
        model.parameters(),
        lr=args.lr,
        tolerance_grad=1e-10,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )
    ddp = dg.DistributedDataParallel(model)
    first = 0
    if args.resume and Path(args.checkpoint).exists():
        saved = dg.load(args.checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["loader"])
        first = saved["step"]

    def forward_and_backward(waves: np.ndarray) -> Tensor:
        x, target = dg.tensor(waves[:, :-1]), dg.tensor(waves[:, 1:])
        loss = F.mse_loss(model(x)[:, BLIND:], target[:, BLIND:]) / args.accumulate
        ddp.backward(loss)
        return loss

    learn = dg.capture(forward_and_backward) if args.capture else forward_and_backward
    stream = forever(loader)
    with dg.observe.Run(args.run, model=model, configuration=args, resume=args.resume) as run:
        run.begins(first, args.steps)
        for step in range(first + 1, args.steps + 1):
            batches = [next(stream) for _ in range(args.accumulate)]

            def closure(batches: list[dg.data.Batch] = batches) -> float:
                """The loss of all the batches, the same on every rank, and its gradients."""
                total = dg.ShardSum(world, "loss")
                optimizer.zero_grad()
                for i, batch in enumerate(batches, 1):
                    with nullcontext() if i == args.accumulate else ddp.no_sync():
                        for (waves,) in batch.shards:
                            loss = learn(waves)
                            total.add(loss=loss.item() * len(waves) / batch.total)
                return total.result()["loss"]

            loss = optimizer.step(closure)
            if step % args.every == 0 or step == args.steps:
                known, ahead = test(world, model, test_waves, args.future)
                run.log(step, {"loss": loss, "validation/loss": known, "validation/future": ahead})
                world.print(f"step {step}: loss {loss:.2e}, test {known:.2e}, future {ahead:.2e}")
                if args.checkpoint:
                    saved = {
                        "model": model.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "loader": loader.state_dict(),
                        "step": step,
                    }
                    dg.save(saved, args.checkpoint)

    world.print(f"sha256 {nn.state_sha256(model.state_dict())}")
    if args.plot and world.rank == 0:
        draw(model, test_waves, args.future, args.plot)


def draw(model: Sequence, waves: dg.data.TensorDataset, future: int, file: str) -> None:
    """Test waves: what was known, what the model makes of it, and how it really goes on."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)

    rows = waves.arrays[0][:3]
    length = rows.shape[1] - future
    with dg.no_grad():
        found = model(dg.tensor(rows[:, :length]), future).numpy()
    figure = Figure(figsize=(9, 5), layout="constrained")
    for axes, wave, predicted in zip(figure.subplots(3, 1, sharex=True), rows, found, strict=True):
        axes.plot(wave, color="lightgray", linewidth=4, label="true")
        axes.plot(wave[:length], color="tab:blue", label="known")
        ahead = range(length, len(wave) + 1)
        axes.plot(ahead, predicted[length - 1 :], "--", color="tab:red", label="predicted")
        axes.set(ylabel="value", ylim=(-1.4, 1.4))
    figure.axes[0].set_title("Test waves, continued by the model from its own predictions")
    figure.axes[0].legend(loc="upper right", ncols=3)
    figure.axes[-1].set_xlabel("time (steps)")
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
