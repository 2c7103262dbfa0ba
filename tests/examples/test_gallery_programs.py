"""The gallery's training programs in short form: one hash on any ranks and after a resume."""

from __future__ import annotations

import re
import runpy
import sys

import pytest
from jobs import ROOT
from training import alone, simulated

import distgrad as dg

GALLERY = ROOT / "examples/gallery"
# Settings with which a step is a matter of milliseconds. Every program takes --steps, --every,
# --seed, --shards, --checkpoint FILE, --resume and --plot FILE, and ends by printing its sha256.
SHORT = {
    "dcgan": "--batch-size 16 --accumulate 2 --width 4 --judge-steps 3",
    "gpt": "--n-layer 2 --n-head 2 --n-embd 8 --block-size 16 --batch-size 6 --accumulate 2 "
    "--sample 8 --schedule-steps 4",
    "policy": "--batch-size 6 --accumulate 2",
    "resnet": "--batch-size 12 --accumulate 2 --width 2 --schedule-steps 4",
    "siamese": "--batch-size 16 --accumulate 2",
    "super_resolution": "--batch-size 8 --accumulate 2 --images 20",
    "time_sequence": "--length 8 --future 3 --hidden 3 --batch-size 48 --accumulate 2",
    "unet": "--images 6 --size 32 --batch-size 3 --accumulate 2",
    "vae": "--batch-size 24 --accumulate 2",
    "vit": "--batch-size 12 --accumulate 2 --dim 8 --depth 2 --schedule-steps 4",
    **{
        f"word_lm {model}": f"--model {model} --batch-size 4 --accumulate 2 --width 8 "
        f"--context 8 --sample 5 --text {ROOT / 'CONTRIBUTING.md'}"
        for model in ("lstm", "gru", "transformer")
    },
}
# It counts batches per rank, as Horovod's users do: tests/parallel/test_horovod_style.py runs it.
PER_RANK = {"horovod_style"}
# For users of autograd: NumPy functions and no ranks. tests/examples/test_gallery.py runs them.
WITHOUT_RANKS = {"bayesian_network", "fluid", "gaussian_process"}


def run(name: str, arguments: str) -> None:
    """The program's main in the current world; the first word of ``name`` is the file's."""
    before = sys.argv
    script = f"{name.split(maxsplit=1)[0]}.py"
    sys.argv = [script, *SHORT[name].split(), *arguments.split()]
    try:
        runpy.run_path(str(GALLERY / script), run_name="__main__")
    finally:
        sys.argv = before


def printed_hash(text: str) -> str:
    (found,) = re.findall(r"^sha256 ([0-9a-f]{64})$", text, re.MULTILINE)
    return found


def test_every_program_of_the_gallery_is_run() -> None:
    assert {path.stem for path in GALLERY.glob("*.py")} == {
        *(name.split(maxsplit=1)[0] for name in SHORT),
        *PER_RANK,
        *WITHOUT_RANKS,
    }


@pytest.mark.parametrize("name", SHORT)
def test_two_ranks_and_a_resume_end_with_the_hash_of_one_rank(
    name, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr("distgrad.observe.run.run.can_draw", lambda: False)  # it takes seconds
    file, one, two = tmp_path / "checkpoint", tmp_path / "one", tmp_path / "two"
    alone(lambda: run(name, f"--steps 4 --every 2 --run {one}"))
    straight = printed_hash(capsys.readouterr().out)
    simulated(2, lambda: run(name, f"--steps 2 --every 2 --checkpoint {file} --run {two}"))
    halfway = printed_hash(capsys.readouterr().out)
    alone(lambda: run(name, f"--steps 4 --every 2 --checkpoint {file} --resume --run {two}"))
    assert printed_hash(capsys.readouterr().out) == straight != halfway
    # The run folders have the same history, to the bit.
    whole, resumed = dg.observe.read_run(one), dg.observe.read_run(two)
    assert [part.ranks for part in resumed.parts] == [2, 1]
    assert [part.hash for part in resumed.parts] == [halfway, straight]
    assert whole.names == resumed.names
    for measured in whole.names:
        steps, values = whole.series(measured)
        assert resumed.series(measured)[0].tolist() == steps.tolist()
        assert resumed.series(measured)[1].tolist() == values.tolist()
        assert {2, 4} <= {*steps}


@pytest.mark.parametrize("model", ["lstm", "gru"])
def test_hidden_states_stay_with_their_columns_from_ranks_to_ranks(model, tmp_path, capsys) -> None:
    name, shared = f"word_lm {model}", "--shards 4 --batch-size 6 --every 2"
    resumed = f"{shared} --checkpoint {tmp_path / 'checkpoint'} --resume"
    alone(lambda: run(name, f"{shared} --steps 6"))
    straight = printed_hash(capsys.readouterr().out)
    simulated(3, lambda: run(name, f"{resumed} --steps 2"))
    # These begin with everyone's hidden states, of which they save those that are their own.
    simulated(2, lambda: run(name, f"{resumed} --steps 4"))
    capsys.readouterr()
    simulated(3, lambda: run(name, f"{resumed} --steps 6"))
    assert printed_hash(capsys.readouterr().out) == straight


@pytest.mark.parametrize("name", SHORT)
def test_it_draws_what_it_learnt(name, tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="drawing needs distgrad[plot]")
    picture = tmp_path / "picture.png"
    alone(lambda: run(name, f"--steps 1 --every 1 --plot {picture}"))
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", SHORT)
def test_a_resume_without_a_checkpoint_says_what_to_write(name, capsys) -> None:
    with pytest.raises(SystemExit):
        run(name, "--resume")
    assert "--resume needs --checkpoint FILE" in capsys.readouterr().err


@pytest.mark.mpi
@pytest.mark.parametrize("name", SHORT)
def test_ranks_of_mpi_print_the_hash_of_simulated_ones(name, capsys) -> None:
    rank, size = alone(lambda: (dg.init().rank, dg.init().size))
    if size != 2:
        pytest.skip("programs of two shards; the algorithms are tested on 3 and 4 ranks elsewhere")
    alone(lambda: run(name, "--steps 2 --every 2"))
    printed = capsys.readouterr().out
    simulated(2, lambda: run(name, "--steps 2 --every 2"))
    expected = printed_hash(capsys.readouterr().out)
    assert rank or printed_hash(printed) == expected  # rank 0 prints
