"""The examples' training, captured: the hash of the eager one, on one rank and on three."""

from __future__ import annotations

import re
import runpy
import sys

import pytest
from jobs import ROOT
from training import alone, simulated

from distgrad.capture.program import Program

EXAMPLES = ROOT / "examples"
BATCHES = "--shards 4 --batch-size"
WORDS = f"--width 8 --context 8 --sample 5 --text {ROOT / 'CONTRIBUTING.md'}"
# Settings of a few short steps. What trains with a loader of batches of all ranks gives one hash
# on any number of them.
SHORT = {
    "train.py": "--steps 9 --model cnn --global-batch-size 24",
    "char_gpt.py": "--steps 6 --layers 2 --heads 2 --width 16 --context 16 --dropout 0.1 "
    "--sample 0",
    "pinn.py": "--steps 6 --points 90 --layers 3 --width 8 --global-batch-size 30",
    "temporal_order.py": "--length 20 --hidden 8 --steps 9 --global-batch-size 12 --shards 4 "
    "--evaluate-every 9 --test 40",
    "gallery/dcgan.py": f"--steps 6 {BATCHES} 16 --width 4 --judge-steps 3",
    "gallery/gpt.py": f"--steps 6 {BATCHES} 6 --n-layer 2 --n-head 2 --n-embd 8 --block-size 16 "
    "--sample 8",
    "gallery/resnet.py": f"--steps 6 {BATCHES} 12 --width 2",
    "gallery/siamese.py": f"--steps 6 {BATCHES} 16",
    "gallery/super_resolution.py": f"--steps 6 {BATCHES} 8 --images 20",
    "gallery/time_sequence.py": f"--steps 2 {BATCHES} 48 --length 8 --future 3 --hidden 3",
    "gallery/unet.py": f"--steps 4 {BATCHES} 4 --images 8 --size 32",
    "gallery/vae.py": f"--steps 6 {BATCHES} 24",
    "gallery/vit.py": f"--steps 6 {BATCHES} 12 --dim 8 --depth 2",
    **{
        f"gallery/word_lm.py {model}": f"--model {model} --steps 6 {BATCHES} 4 {WORDS}"
        for model in ("lstm", "gru", "transformer")
    },
}
ONE_RANK = {
    "gallery/bayesian_network.py": "--steps 9 --hidden 5",
    # It counts batches per rank, so another number of ranks is another training.
    "gallery/horovod_style.py": "--epochs 1 --batch-size 128",
}
NOT_CAPTURED = {
    "models.py": "it is the models of others",
    "gallery/fluid.py": "which cells are looked up is read from values, in NumPy",
    "gallery/gaussian_process.py": "it computes with NumPy arrays in its loss, as autograd's users",
    "gallery/policy.py": "each batch of episodes has a length of its own: nothing comes back",
}


def run(name, settings):
    """Run the program; the first word of ``name`` is the file."""
    script = EXAMPLES / name.split(maxsplit=1)[0]
    before = sys.argv
    sys.argv = [script.name, *settings.split()]
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        sys.argv = before


@pytest.fixture
def replayed(monkeypatch):
    """Counts replays, so that programs that are recorded anew at every step do not pass."""
    count = []
    run = Program.run

    def counted(self, arrays):
        count.append(self)
        return run(self, arrays)

    monkeypatch.setattr(Program, "run", counted)
    return count


def printed_hash(capsys):
    (found,) = re.findall(r"^sha256 ([0-9a-f]{64})$", capsys.readouterr().out, re.MULTILINE)
    return found


def test_every_example_is_captured_or_has_a_reason():
    listed = {name.split(maxsplit=1)[0] for name in (*SHORT, *ONE_RANK, *NOT_CAPTURED)}
    assert listed == {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.py")}
    for name in listed:
        offered = "--capture" in (EXAMPLES / name).read_text()
        assert offered is (name not in NOT_CAPTURED), name


@pytest.mark.parametrize("name", [*SHORT, *ONE_RANK])
def test_its_hash_is_that_of_the_eager_step(name, capsys, replayed):
    settings = (SHORT | ONE_RANK)[name]
    alone(lambda: run(name, settings))
    eager = printed_hash(capsys)
    assert not replayed
    alone(lambda: run(name, f"{settings} --capture"))
    assert printed_hash(capsys) == eager
    assert replayed


@pytest.mark.parametrize("name", SHORT)
def test_its_hash_on_three_ranks_is_that_of_the_eager_step_on_one(name, capsys, replayed):
    alone(lambda: run(name, SHORT[name]))
    eager = printed_hash(capsys)
    simulated(3, lambda: run(name, f"{SHORT[name]} --capture"))
    assert printed_hash(capsys) == eager
    assert replayed
