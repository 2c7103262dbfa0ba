"""A script as Horovod's users write it, on distgrad's names: broadcast, average, sampler per rank.

examples/gallery/horovod_style.py counts batches per rank, broadcasts weights and optimizer state
from rank 0, and averages metrics over the ranks. The same training in one process has the same
weights but for rounding.
"""

from __future__ import annotations

import re
import sys

import horovod_style
import numpy as np
import pytest
from training import alone, simulated

import distgrad as dg
from distgrad import distributed as dist
from distgrad import nn, optim
from distgrad.nn import functional as F
from distgrad.utils.data import TensorDataset

PER_STEP = 12


class Unequal(horovod_style.Net):
    """A network with which the ranks begin differently."""

    def __init__(self, side: int) -> None:
        super().__init__(side)
        for p in self.parameters():
            p.array[...] += dist.get_rank()


@pytest.fixture(autouse=True)
def _few_images(monkeypatch):
    """48 images to train and to test with, which 1 to 4 ranks share evenly."""
    train, test = dg.data.digits()
    few = [TensorDataset(*(a[:48] for a in half.arrays)) for half in (train, test)]
    monkeypatch.setattr(horovod_style, "images", lambda name: few)
    monkeypatch.setattr(horovod_style, "Net", Unequal)


def script(arguments: str) -> dict[str, np.ndarray]:
    """The weights that the program ends with, on this rank."""
    before = sys.argv
    sys.argv = ["horovod_style.py", *arguments.split()]
    try:
        args = horovod_style.arguments()
    finally:
        sys.argv = before
    state = horovod_style.train(args).state_dict()
    return {name: np.array(value) for name, value in state.items()}


def of_ranks(ranks: int, more: str = "") -> str:
    """Arguments with which a step has 12 images and one learning rate on any number of ranks."""
    return f"--epochs 3 --batch-size {PER_STEP // ranks} --lr {0.06 / ranks} {more}"


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_it_trains_as_one_process_with_the_batches_of_all_ranks_does(ranks, capsys):
    expected = alone(lambda: script(of_ranks(1)))
    printed = [capsys.readouterr().out]
    found = simulated(ranks, lambda: script(of_ranks(ranks)))
    printed += [capsys.readouterr().out]
    for name, weights in expected.items():
        np.testing.assert_allclose(found[0][name], weights, rtol=2e-4, atol=1e-6)
    ((_, alone_is), (_, together)) = (re.findall(r"loss (\S+),", text)[-2:] for text in printed)
    assert float(together) == pytest.approx(float(alone_is), abs=2e-4)


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_every_rank_ends_with_the_same_weights(ranks):
    found = simulated(ranks, lambda: nn.state_sha256(script(of_ranks(ranks))))
    assert found == [found[0]] * ranks


@pytest.mark.parametrize("ranks", [1, 3])
def test_it_goes_on_from_the_file_of_rank_0_with_the_bits_of_a_run_that_was_not_stopped(
    ranks, tmp_path, monkeypatch
):
    straight = simulated(ranks, lambda: nn.state_sha256(script(of_ranks(ranks))))
    file = f"--checkpoint {tmp_path / 'file'} --accumulate 1"
    halfway = of_ranks(ranks, file).replace("--epochs 3", "--epochs 2")
    stopped = simulated(ranks, lambda: nn.state_sha256(script(halfway)))
    load = dg.load

    def of_rank_0(path):
        assert dist.get_rank() == 0  # who alone has the file
        return load(path)

    monkeypatch.setattr(dg, "load", of_rank_0)
    resumed = simulated(ranks, lambda: nn.state_sha256(script(of_ranks(ranks, f"{file} --resume"))))
    assert resumed == straight != stopped


def test_accumulated_batches_are_a_larger_one():
    one = alone(lambda: script("--epochs 2 --batch-size 12 --lr 0.05"))
    two = alone(lambda: script("--epochs 2 --batch-size 6 --lr 0.05 --accumulate 2"))
    for name, weights in one.items():
        np.testing.assert_allclose(two[name], weights, rtol=2e-4, atol=1e-6)


def test_it_draws_its_curves(tmp_path):
    pytest.importorskip("matplotlib", reason="drawing needs distgrad[plot]")
    picture = tmp_path / "picture.png"
    simulated(2, lambda: script(of_ranks(2, f"--plot {picture}")))
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.mpi
def test_ranks_of_mpi_end_with_the_same_weights():
    size = alone(dist.get_world_size)
    digest = alone(lambda: nn.state_sha256(script(of_ranks(size))))
    everyones = [None] * size
    alone(lambda: dist.all_gather_object(everyones, digest))
    assert everyones == [digest] * size


@pytest.mark.parametrize("ranks", [1, 3])
def test_an_optimizers_state_is_broadcast_as_a_state_dict(ranks):
    """hvd.broadcast_optimizer_state(optimizer, root_rank=0), where a rank has loaded another's."""

    def body():
        rank = dist.get_rank()
        dg.manual_seed(0)
        model = nn.Linear(4, 3)
        optimizer = optim.Adam(model.parameters(), lr=0.01)
        x = np.arange(8, dtype=np.float32).reshape(2, 4) * (rank + 1)
        F.cross_entropy(model(x), np.array([0, 2])).backward()
        optimizer.step()
        state = optimizer.state_dict()
        for entry in state["state"].values():
            for value in entry.values():
                if isinstance(value, np.ndarray | dg.Tensor):
                    dist.broadcast(value, src=0)
        optimizer.load_state_dict(state)
        found = optimizer.state_dict()["state"]
        return [[float(np.sum(np.asarray(v))) for v in entry.values()] for entry in found.values()]

    results = simulated(ranks, body)
    assert results == [results[0]] * ranks
    assert len(results[0]) == 2
