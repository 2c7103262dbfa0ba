"""``distgrad debug``: ranks inside one process, and the script as if it were started alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import distgrad

ROOT = Path(distgrad.__file__).parents[1]

# Every rank tells the others who it is: the ranks are real, and there are three.
GREETING = """\
import numpy as np
import distgrad as dg
world = dg.init()
numbers = np.array([10.0 ** world.rank])
world.comm.all_reduce(numbers)
print(f"{world} has {numbers[0]:.0f}")
"""


@pytest.fixture
def debug(tmp_path):
    def start(text, *arguments, options=("-n", "3"), cwd=None):
        script = tmp_path / "scripts" / "job.py"
        script.parent.mkdir(exist_ok=True)
        script.write_text(text)
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        environment.pop("OPENBLAS_CORETYPE", None)  # a slow one is told about on stderr
        return subprocess.run(
            [sys.executable, "-m", "distgrad", "debug", *options, str(script), *arguments],
            env=environment,
            cwd=cwd or tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return start


def lines(done):
    assert done.returncode == 0, done.stderr
    return sorted(done.stdout.splitlines())


@pytest.mark.parametrize("options", [("-n", "3"), ("-n", "3", "--schedule", "5")])
def test_the_script_runs_on_every_rank(debug, options):
    found = lines(debug(GREETING, options=options))
    assert found == [f"World(rank={r}, size=3, shards=3, simulated) has 111" for r in range(3)]


def test_one_rank_is_an_ordinary_world(debug):
    found = lines(debug(GREETING, options=("-n", "1")))
    assert found == ["World(rank=0, size=1, shards=1, simulated) has 1"]


def test_the_script_sees_its_own_arguments_name_and_file(debug):
    text = "import sys\nprint(sys.argv[1:], __name__, __file__ == sys.argv[0])"
    found = lines(debug(text, "--lr", "a b", "-n", "9", options=("-n", "2")))
    assert found == ["['--lr', 'a b', '-n', '9'] __main__ True"] * 2


def test_the_script_imports_what_lies_beside_it(debug, tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "beside_me.py").write_text("value = 42")
    done = debug("import beside_me; print(beside_me.value)", options=("-n", "2"), cwd="/")
    assert lines(done) == ["42", "42"]


def test_each_rank_has_its_own_globals(debug):
    text = GREETING + "count = globals().get('count', 0) + 1\nprint('count', count)"
    assert [line for line in lines(debug(text)) if "count" in line] == ["count 1"] * 3


def test_the_script_is_compiled_with_its_own_future_statements(debug):
    text = "def f(x: 1 + 1): ...\nprint(f.__annotations__)"
    assert lines(debug(text, options=("-n", "1"))) == ["{'x': 2}"]


def test_an_exception_is_told_once_with_its_rank_and_ends_the_job(debug):
    text = GREETING + "if world.rank == 1:\n    raise ValueError('of rank 1')\nworld.comm.barrier()"
    done = debug(text)
    assert done.returncode == 1
    assert done.stderr.count("Traceback (most recent call last)") == 1
    assert "[rank 1/3] ValueError: of rank 1" in done.stderr
    assert 'job.py", line 8' in done.stderr
    assert "raise ValueError('of rank 1')" in done.stderr
    assert all(line.startswith("[rank 1/3] ") for line in done.stderr.splitlines())


def test_a_deadlock_is_named_at_once(debug):
    text = GREETING + "if world.rank != 2:\n    world.comm.barrier()"
    done = debug(text)
    assert done.returncode == 1
    assert "rank 2 has left" in done.stderr


@pytest.mark.parametrize("status", [0, 3])
def test_the_scripts_exit_status_is_the_commands(debug, status):
    assert debug(f"import sys; sys.exit({status})").returncode == status


def test_an_error_in_the_scripts_syntax_shows_its_place(debug):
    done = debug("x = 1\ny = = 2\n")
    assert done.returncode == 1
    assert 'job.py", line 2' in done.stderr
    assert "SyntaxError" in done.stderr


def test_no_ranks_and_no_script_are_refused(debug):
    done = debug("", options=("-n", "0"))
    assert done.returncode == 2
    assert done.stderr == "distgrad: -n 0: a job needs at least one rank\n"
    done = debug("", options=("-n", "2", "nowhere.py"))
    assert done.returncode == 2
    assert "there is no script 'nowhere.py'" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["debug"], ["fly", "-n", "2", "x.py"]])
def test_an_incomplete_command_shows_its_usage(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "distgrad", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("usage: distgrad")


def test_a_module_runs_on_every_rank_as_python_runs_it(debug, tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/helper.py").write_text("WORD = 'helped'")
    text = "import sys\nfrom . import helper\nprint(helper.WORD, __name__, sys.argv[1:])\n"
    (tmp_path / "pack/train.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "distgrad", "debug", "-n", "3", "-m", "pack.train", "-n", "9"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert lines(done) == ["helped __main__ ['-n', '9']"] * 3
