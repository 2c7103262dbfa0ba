"""Output that the terminal cannot encode is replaced; it ends no run."""

from __future__ import annotations

import fcntl
import io
import os
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

import distgrad
from distgrad.console import columns_of, wrapped

ROOT = Path(distgrad.__file__).parents[1]
NARROW = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "LANG=C, old Python's way": {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    },
}

# Everything that distgrad itself writes: the bar, world.print, the summary, a problem, an error.
TRAINING = r"""
import numpy as np
import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F
world = dg.init(shards=2)
class Λ(nn.Linear): pass
model = nn.Sequential(Λ(4, 3), nn.ReLU(), nn.Linear(3, 2))
x = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
data = dg.data.ArrayDataset(x, np.arange(12) % 2)
loader = dg.data.DataLoader(data, global_batch_size=4, shuffle=True, seed=0)
trainer = dg.Trainer(model, optim.SGD(model.parameters(), lr=0.1), F.cross_entropy,
                     metrics={"précision →": dg.accuracy})
state = trainer.fit(loader, epochs=1, evaluate=dg.data.DataLoader(data, global_batch_size=4))
print(nn.summary(model, x[:1]))
world.print(f"→ {state.step} steps × 3 ≤ ∞, and a file name that is no UTF-8: \udcff")
print("the end")
raise ValueError("der Fehler → hier")
"""


def run(
    folder: Path, program: str, environ: dict[str, str], *command: str
) -> subprocess.CompletedProcess[str]:
    script = folder / "job.py"
    script.write_text(program, "utf-8")
    plain = {
        k: v for k, v in os.environ.items() if not k.startswith(("LC_", "PYTHONIO", "PYTHONU"))
    }
    return subprocess.run(
        [sys.executable, *(command or [str(script)])],
        env=plain | {"PYTHONPATH": str(ROOT)} | environ,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", NARROW)
def test_a_training_says_all_it_has_to_say_on_a_narrow_terminal(tmp_path, name):
    done = run(tmp_path, TRAINING, NARROW[name])
    assert done.stdout.endswith("the end\n"), done.stderr
    assert "? 3 steps" in done.stdout
    assert "UnicodeEncodeError" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("ValueError: der Fehler ")


def test_a_wide_terminal_gets_every_glyph(tmp_path):
    done = run(tmp_path, TRAINING, {"PYTHONIOENCODING": "utf-8"})
    assert "→ 3 steps × 3 ≤ ∞" in done.stdout
    assert done.stdout.endswith("the end\n"), done.stderr


def test_what_the_user_chose_for_the_stream_stays(tmp_path):
    program = "import sys; import distgrad as dg; dg.init(); print(sys.stdout.errors, '→')"
    done = run(tmp_path, program, {"PYTHONIOENCODING": "ascii:xmlcharrefreplace"})
    assert done.stdout == "xmlcharrefreplace &#8594;\n"


def test_the_command_line_names_a_script_that_the_terminal_cannot_show(tmp_path):
    missing = tmp_path / "größe→.py"
    done = run(tmp_path, "", NARROW["ascii"], "-m", "distgrad", "debug", "-n", "2", str(missing))
    assert done.returncode == 2
    assert "there is no script" in done.stderr
    missing.write_text("import distgrad as dg; dg.init().print('→ ran')", "utf-8")
    done = run(tmp_path, "", NARROW["ascii"], "-m", "distgrad", "debug", "-n", "2", str(missing))
    assert done.stdout == "? ran\n", done.stderr
    done = run(
        tmp_path,
        "",
        NARROW["ascii"],
        "-m",
        "distgrad",
        "run",
        "-n",
        "2",
        "--dry-run",
        str(missing),
    )
    assert done.returncode == 0, done.stderr


def test_the_version_is_told(tmp_path):
    done = run(tmp_path, "", {}, "-m", "distgrad", "--version")
    assert (done.returncode, done.stdout) == (0, f"distgrad {distgrad.__version__}\n")


LONG = "[rank 0/3] ranks 0, 1, 2 share 2 cores of a-host: start as many as there are cores"


def test_a_message_is_broken_between_words_and_what_begins_with_a_blank_is_left():
    left = ["  python train.py --resume " + "x" * 30, "[rank 0/3]   File " + "x" * 40]
    lines = wrapped("\n".join([LONG, *left, ""]), 40).split("\n")
    assert lines[-3:] == [*left, ""]
    assert lines[:3] == [
        "[rank 0/3] ranks 0, 1, 2 share 2 cores",
        "  of a-host: start as many as there are",
        "  cores",
    ]
    assert wrapped(LONG, None) == LONG


def test_only_a_terminal_has_columns():
    mine, its = os.openpty()
    with open(its, "w") as stream:
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 60, 0, 0))
        assert columns_of(stream) == 59
    assert columns_of(stream) is None  # closed
    assert columns_of(None) is columns_of(io.StringIO()) is None
    os.close(mine)
