"""Train an image classifier: one process, `mpirun -n 4`, `distgrad run -n 4` or `distgrad debug`.

The same --shards gives the same bits on any number of ranks.
"""

from __future__ import annotations

import argparse
import json

import models

import distgrad as dg
from distgrad import nn, optim
from distgrad.comm import ALL_REDUCE
from distgrad.nn import functional as F

# (epochs, global batch size, peak learning rate) that reach the accuracies of the README.
DEFAULTS = {
    ("digits", "mlp"): (40, 32, 4e-3),
    ("digits", "cnn"): (15, 64, 2e-3),
    ("fashion-mnist", "mlp"): (12, 128, 1e-3),
    ("fashion-mnist", "cnn"): (8, 128, 2e-3),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=["digits", "fashion-mnist"], default="digits")
    parser.add_argument("--model", choices=["mlp", "cnn"], default="mlp")
    parser.add_argument("--epochs", type=int, help="passes over the data")
    parser.add_argument("--steps", type=int, help="stop after this many steps")
    parser.add_argument("--global-batch-size", type=int, help="samples of all ranks together")
    parser.add_argument("--lr", type=float, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shards", type=int, default=4, help="logical shards: a power of two")
    parser.add_argument("--clip-norm", type=float, default=1.0)
    parser.add_argument("--bucket-mb", type=float, help="size of a gradient bucket in MiB")
    parser.add_argument("--algorithm", choices=sorted(ALL_REDUCE))
    parser.add_argument("--zero", type=int, default=0, help="stage of sharded training: 0 to 3")
    parser.add_argument("--capture", action="store_true", help="record a step once, then replay it")
    parser.add_argument("--nonfinite", choices=["raise", "skip", "continue"], default="raise")
    parser.add_argument("--run", metavar="DIR", help="folder for all the training leaves")
    parser.add_argument("--checkpoint", metavar="DIR", help="folder for checkpoints alone")
    parser.add_argument("--every", type=int, default=100, metavar="N", help="steps between them")
    parser.add_argument("--resume", action="store_true", help="continue the newest checkpoint")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    args = parser.parse_args()
    epochs, batch, lr = DEFAULTS[args.data, args.model]
    args.epochs = epochs if args.epochs is None else args.epochs
    args.global_batch_size = args.global_batch_size or batch
    args.lr = args.lr or lr
    return args


def main() -> None:
    args = arguments()
    world = dg.init(shards=args.shards)
    dg.manual_seed(args.seed)

    load = dg.data.digits if args.data == "digits" else dg.data.fashion_mnist
    train, test = load()
    image = train[0][0].shape
    build = models.cnn if args.model == "cnn" else lambda im, c: models.mlp(im[1] * im[2], c)
    model: nn.Module = build(image, 10)
    loader = dg.data.DataLoader(train, args.global_batch_size, shuffle=True, seed=args.seed)
    test_loader = dg.data.DataLoader(test, 512)

    optimizer = optim.AdamW(model.parameters(), lr=args.lr)
    schedule = optim.WarmupCosineLR(optimizer, len(loader) // 2, args.epochs * len(loader), 0.01)
    trainer = dg.Trainer(
        model,
        optimizer,
        F.cross_entropy,
        schedule=schedule,
        clip_norm=args.clip_norm,
        metrics={"accuracy": dg.accuracy},
        nonfinite=args.nonfinite,
        run=args.run,
        checkpoint=args.checkpoint,
        every=args.every,
        algorithm=args.algorithm,
        zero=args.zero,
        capture=args.capture,
        **({"bucket_mb": args.bucket_mb} if args.bucket_mb else {}),
    )
    state = trainer.fit(
        loader,
        epochs=args.epochs,
        max_steps=args.steps,
        evaluate=test_loader,
        resume=args.resume,
    )
    accuracy = trainer.evaluate(test_loader)["accuracy"]

    sha256 = nn.state_sha256(model.state_dict())
    world.print(f"test accuracy {accuracy:.4f} on {len(test)} images, {world}")
    world.print(f"sha256 {sha256}")
    if args.json:
        result = {
            "steps": state.step,
            "loss": state.loss,
            "test_accuracy": accuracy,
            "samples_per_second": state.samples_per_second,
            "ranks": world.size,
            "shards": world.shards,
            "sha256": sha256,
        }
        world.print(json.dumps(result))


if __name__ == "__main__":
    main()
