"""Sharded training from end to end: the Trainer under every stage, resumed under any other.

What every test compares with is the same training with zero=0 on one rank, unbroken.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from training import alone, build, simulated

import distgrad as dg
from distgrad import nn, optim

STEPS = 6
SMALL = 0.02  # MiB: several buckets, some of them smaller than a page


def fit(
    name: str = "mlp",
    steps: int = STEPS,
    *,
    zero: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    batch: int = 30,
    evaluate: bool = False,
    **settings: Any,
) -> tuple[str, float]:
    """Train and return the SHA-256 of the model and its loss on other samples."""
    dg.init(shards=4)
    dg.manual_seed(3)
    model, data, loss_fn = build(name)
    optimizer = optim.AdamW(model.parameters(), lr=3e-3)
    trainer = dg.Trainer(
        model,
        optimizer,
        loss_fn,
        schedule=optim.WarmupCosineLR(optimizer, 2, STEPS),
        clip_norm=1.0,
        checkpoint=None if folder is None else str(folder),
        progress=False,
        bucket_mb=SMALL,
        zero=zero,
        **settings,
    )
    trainer.fit(
        dg.data.DataLoader(data, batch, shuffle=True, seed=11),
        max_steps=steps,
        resume=resume,
        evaluate=dg.data.DataLoader(data, 70) if evaluate else None,
        evaluate_every=2,
    )
    loss = trainer.evaluate(dg.data.DataLoader(data, 70))["loss"]
    return nn.state_sha256(model.state_dict()), loss


@cache
def unbroken(name: str = "mlp", **settings: Any) -> tuple[str, float]:
    """The same with zero=0 on one rank."""
    [found] = simulated(1, lambda: fit(name, **settings))
    return found


# Every stage is followed by every other, on as many ranks, more and fewer, in one node and several.
RESUMED = [
    # stage, ranks, their nodes; then the same of the run that goes on
    (0, 1, None, 1, 3, None),
    (0, 2, None, 2, 4, [2, 2]),
    (0, 3, [2, 1], 3, 2, [1, 1]),
    (1, 3, None, 0, 2, None),
    (1, 4, [2, 1, 1], 2, 1, None),
    (1, 2, [1, 1], 3, 3, [1, 1, 1]),
    (2, 3, [1, 1, 1], 0, 4, None),
    (2, 2, None, 1, 3, [2, 1]),
    (2, 4, None, 3, 4, [2, 2]),
    (3, 3, [1, 1, 1], 0, 1, None),
    (3, 4, [1, 1, 1, 1], 1, 2, [1, 1]),
    (3, 3, [2, 1], 2, 3, [1, 1, 1]),
    (3, 2, [1, 1], 3, 3, None),
    (1, 3, [1, 1, 1], 1, 1, None),
    (2, 1, None, 2, 3, [2, 1]),
]


@pytest.mark.parametrize(("a", "n", "nodes", "b", "m", "others"), RESUMED)
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_a_checkpoint_of_any_stage_and_ranks_goes_on_under_any_other(
    name: str,
    a: int,
    n: int,
    nodes: Sequence[int] | None,
    b: int,
    m: int,
    others: Sequence[int] | None,
    tmp_path: Path,
) -> None:
    first = simulated(n, lambda: fit(name, 3, zero=a, folder=tmp_path), nodes=nodes)
    assert len(set(first)) == 1
    assert first[0] != unbroken(name)
    then = simulated(
        m, lambda: fit(name, zero=b, folder=tmp_path, resume=True), schedule=m, nodes=others
    )
    assert then == [unbroken(name)] * m


@pytest.mark.mpi
def test_under_mpi_each_stage_goes_on_from_the_one_before(tmp_path_factory: Any) -> None:
    def body() -> list[tuple[str, float]]:
        world = dg.init(shards=4)
        folder = Path(
            world.comm.broadcast_bytes(str(tmp_path_factory.mktemp("run")).encode()).decode()
        )
        return [
            fit("cnn", 2 * (k + 1), zero=zero, folder=folder, resume=k > 0)
            for k, zero in enumerate([3, 1, 2])
        ]

    *_, last = alone(body)
    assert last == unbroken("cnn")
