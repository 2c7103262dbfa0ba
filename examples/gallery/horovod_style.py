"""Digits as Horovod's users write it: a script that knows its rank. hvd's lines stand as comments.

Each rank has a sampler and a batch size of its own, and the learning rate grows with the number of
ranks: unlike the other programs' the result depends on it, but all ranks have the same weights.
Horovod's example trains on MNIST, which does not come with distgrad. For the 8x8 digits that do
there is no published figure on these test images, which are of the same hands as those to train
with: one nearest neighbour has 99.2 % of them. For Fashion-MNIST its README lists 92.2 % for two
convolutions and 113,000 parameters.
"""

from __future__ import annotations

import argparse
import importlib.util
from contextlib import nullcontext
from pathlib import Path

import distgrad as torch
import distgrad.distributed as dist
from distgrad import Tensor, nn, optim
from distgrad.nn import functional as F
from distgrad.utils.data import DataLoader, DistributedSampler, TensorDataset


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=["digits", "fashion-mnist"], default="digits")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=32, help="of each rank, as Horovod's")
    parser.add_argument("--accumulate", type=int, default=1, metavar="N", help="batches a step")
    parser.add_argument("--lr", type=float, default=0.02, help="of one rank")
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--capture", action="store_true", help="record a step once, then replay it")
    parser.add_argument("--checkpoint", metavar="FILE", help="written by rank 0 after each epoch")
    parser.add_argument(
        "--resume", action="store_true", help="go on from --checkpoint, if it exists"
    )
    parser.add_argument("--run", metavar="DIR", help="folder for all the training leaves")
    parser.add_argument("--plot", metavar="FILE", help="draw the curves: .png, .pdf or .svg")
    args = parser.parse_args()
    if args.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error('--plot needs matplotlib: pip install -e ".[plot]"')
    if args.resume and not args.checkpoint:
        parser.error("--resume needs --checkpoint FILE")
    return args


class Net(nn.Module):
    def __init__(self, side: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1)
        self.fc1 = nn.Linear(32 * (side // 4) ** 2, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return F.log_softmax(self.fc2(x), dim=1)


def images(name: str) -> list[TensorDataset]:
    """Images with their labels, to train and to test with."""
    halves = torch.data.fashion_mnist() if name == "fashion-mnist" else torch.data.digits()
    return [TensorDataset(*half.arrays) for half in halves]


def metric_average(value: float) -> float:
    tensor = torch.tensor(value)
    dist.all_reduce(tensor, op=dist.ReduceOp.AVG)  # hvd.allreduce(tensor)
    return tensor.item()


def test(model: nn.Module, loader: DataLoader) -> tuple[float, float]:
    """The mean over the ranks of loss and accuracy; a few images are in two ranks' parts."""
    model.eval()
    loss, correct, seen = 0.0, 0, 0
    with torch.no_grad():
        for data, target in loader:
            output = model(data)
            loss += F.nll_loss(output, target, reduction="sum").item()
            correct += output.argmax(dim=1).eq(target).sum().item()
            seen += len(target)
    return metric_average(loss / seen), metric_average(correct / seen)


def train(args: argparse.Namespace) -> nn.Module:
    dist.init_process_group()  # hvd.init()
    rank, size = dist.get_rank(), dist.get_world_size()  # hvd.rank(), hvd.size()
    # hvd.local_rank() chooses a GPU: here there is none to choose.
    torch.manual_seed(args.seed)

    train_set, test_set = images(args.data)
    sampler = DistributedSampler(train_set, num_replicas=size, rank=rank, seed=args.seed)
    loader = DataLoader(train_set, batch_size=args.batch_size, sampler=sampler)
    test_sampler = DistributedSampler(test_set, num_replicas=size, rank=rank, shuffle=False)
    test_loader = DataLoader(test_set, batch_size=250, sampler=test_sampler)
    model = Net(side=train_set[0][0].shape[-1])
    optimizer = optim.SGD(model.parameters(), lr=args.lr * size, momentum=args.momentum)

    saved = None
    if rank == 0 and args.resume and Path(args.checkpoint).exists():
        saved = torch.load(args.checkpoint)
    objects = [saved]
    dist.broadcast_object_list(objects, src=0)  # hvd.broadcast_object, _optimizer_state
    first, curve = 0, []
    if (saved := objects[0]) is not None:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first, curve = saved["epoch"], saved["curve"]
    # hvd.broadcast_parameters and hvd.DistributedOptimizer
    ddp = torch.DistributedDataParallel(model)

    def forward_and_backward(data: Tensor, target: Tensor) -> None:
        (F.nll_loss(model(data), target) / args.accumulate).backward()

    learn = torch.capture(forward_and_backward) if args.capture else forward_and_backward
    with torch.observe.Run(args.run, model=model, configuration=args, resume=args.resume) as run:
        run.begins(first * len(loader), args.epochs * len(loader))
        for epoch in range(first + 1, args.epochs + 1):
            model.train()
            sampler.set_epoch(epoch)
            optimizer.zero_grad()
            for batch, (data, target) in enumerate(loader, 1):
                last = batch % args.accumulate == 0 or batch == len(loader)
                with nullcontext() if last else ddp.no_sync():  # backward_passes_per_step
                    learn(data, target)
                if last:
                    optimizer.step()
                    optimizer.zero_grad()
            loss, accuracy = test(model, test_loader)
            curve.append([epoch, loss, accuracy])
            run.log(epoch * len(loader), {"validation/loss": loss, "validation/accuracy": accuracy})
            if rank == 0:
                print(f"epoch {epoch}: test loss {loss:.4f}, accuracy {accuracy:.4f}", flush=True)
                if args.checkpoint:
                    saved = {
                        "model": model.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "epoch": epoch,
                        "curve": curve,
                    }
                    torch.save(saved, args.checkpoint)
    if rank == 0 and args.plot:
        draw(curve, args.plot)
    return model


def draw(curve: list[list[float]], file: str) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)

    epochs, losses, accuracies = zip(*curve, strict=True)
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, losses, ".-")
    left.set(xlabel="epoch", ylabel="loss [nats]", title="Test loss", yscale="log")
    right.plot(epochs, [100 * (1 - a) for a in accuracies], ".-")
    right.set(xlabel="epoch", ylabel="images wrong [%]", title="Test error", ylim=(0, None))
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    model = train(arguments())
    if dist.get_rank() == 0:
        print(f"sha256 {nn.state_sha256(model.state_dict())}")
