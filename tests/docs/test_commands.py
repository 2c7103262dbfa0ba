"""The commands in the pages: verbs and options exist, scripts exist and know their options.

Each is run, here or by the test that RUN_BY names, or RUN_BY says why it is not.
"""

from __future__ import annotations

import re
import shlex

import pytest
from pages import PAGES, ROOT, blocks, commands, name_of, prose

from distgrad import cli

ELSEWHERE = {
    ".": "a virtual environment's activate, which quickstart.sh has made",
    "jupyter": "JupyterLab, of the extra course",
    "grep": "the shell's",
    "apptainer": "no builder of it comes from Debian or PyPI; tests/launch/test_images.py",
    "srun": "Slurm's; tests/launch/test_slurm.py",
}
"""Programs that are not ours, with the reason why nothing is checked here."""
TYPED = {"mine.py", "train.py"}
"""Scripts that are the reader's own."""


RUN_BY = {
    r"distgrad plan ": "here",
    r"sh launch/quickstart\.sh": "tests/launch/test_scripts.py",
    r"sh docs/build\.sh": "test_site.py builds the same site",
    r"sh tests/run\.sh": "it is what runs this",
    r"mpirun .* apptainer ": "as apptainer",
    r"pip install ": "it would change the environment; tests/run.sh installs these extras",
    r".*\bexamples/train\.py|.*\bmine\.py": "test_first_minutes.py, in fewer steps",
    r".*\bexamples/gallery/": "tests/examples, in fewer steps",
    r"python benchmarks/": "takes minutes; tests/test_benchmarks.py runs what they start",
    r".*distgrad doctor": "tests/cli/test_doctor.py and test_doctor_ranks.py",
    r".*distgrad bench": "takes a minute; tests/cli/test_bench.py, with smaller sizes",
    r"distgrad warm": "takes minutes on a new machine; tests/cli/test_warm.py",
    r"distgrad run .*--timeline": "tests/observe/test_timeline_jobs.py, with a script of its own",
    r"distgrad submit": "tests/cli/test_submit.py, tests/launch/test_slurm.py",
    r"distgrad (report|top) ": "tests/observe",
}
"""Who runs the commands that begin so, or why nobody does."""


def check(command: str) -> str:
    """Return what is wrong with a command line; "" if nothing is."""
    words = shlex.split(command)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]  # variables set for this command
    if words[0] == "mpirun":
        words = words[next(i for i, w in enumerate(words) if w in {"python", "distgrad"}) :]
    program, *arguments = words
    if program == "distgrad":
        return check_verb(arguments)
    if program in {"python", "sh"} and arguments and arguments[0] != "-m":
        return check_script(arguments[0], arguments[1:])
    if words[:2] == ["pip", "install"]:
        project = (ROOT / "pyproject.toml").read_text()
        extras = re.findall(r"\[([\w,]+)\]", command)
        wrong = [e for e in ",".join(extras).split(",") if e and f"\n{e} = [" not in project]
        return f"no extra {wrong}" if wrong else ""
    return "" if program in ELSEWHERE else f"{program}: say in ELSEWHERE why it is not checked"


def check_verb(arguments: list[str]) -> str:
    try:
        options, unknown = cli._parser().parse_known_args(arguments)
    except SystemExit:
        return "distgrad does not take it"
    if unknown:
        return f"distgrad {arguments[0]} has no {unknown}"
    script = getattr(options, "script", None)
    return check_script(script, options.args) if script else ""


def check_script(script: str, arguments: list[str]) -> str:
    if script in TYPED:
        return ""
    path = ROOT / script
    if not path.exists():
        return f"no {script}"
    # A script's options may be added by a module beside it (examples/gallery).
    beside = path.parent.glob("*.py") if path.suffix == ".py" else ()
    text = path.read_text() + "".join(p.read_text() for p in beside)
    wrong = [word for word in arguments if word.startswith("--") and f'"{word}"' not in text]
    return f"{script} has no {wrong}" if wrong and path.suffix == ".py" else ""


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=name_of)
def test_the_commands_of_a_page_are_taken(page):
    assert {c: wrong for c in commands(page) if (wrong := check(c))} == {}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_verbs_that_a_page_names_in_passing_are_taken(page):
    named = re.findall(r"`(distgrad [a-z]+(?: [^`]*)?)`", prose(page).replace("\n", " "))
    # Words in capitals and dots stand for what the reader puts there.
    named = [c for c in named if not re.search(r"…|\b[A-Z]{2,}\b|=\.\.\.", c)]
    wrong = {c: w for c in named if (w := check_named(c))}
    assert wrong == {}


def check_named(command: str) -> str:
    """As ``check``, but what is required may be left out, and scripts may be the reader's."""
    words = shlex.split(command)[1:]
    parser = cli._parser()
    verbs = next(a for a in parser._actions if a.dest == "==SUPPRESS==" and a.choices)
    if words[0].endswith(".py"):
        return ""  # a mistake that a page shows
    if words[0] not in verbs.choices:
        return f"no verb {words[0]}"
    known = verbs.choices[words[0]]._option_string_actions
    flags = [w.partition("=")[0] for w in words[1:] if w.startswith("-")]
    wrong = [flag for flag in flags if flag not in known]
    scripts = [i for i, w in enumerate(words) if w.endswith(".py")]
    return f"no {wrong}" if wrong and not scripts else ""


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("distgrad run -n 2 examples/train.py --zero 1", ""),
        ("distgrad run -n 2 examples/train.py --zzz", "has no ['--zzz']"),
        ("distgrad fly", "does not take it"),
        ("mpirun -n 2 python examples/none.py", "no examples/none.py"),
        ('pip install -e ".[fast,wings]"', "no extra ['wings']"),
        ("conjure it", "say in ELSEWHERE"),
    ],
)
def test_a_wrong_command_is_noticed(command, wrong):
    found = check(command)
    assert wrong in found
    assert bool(found) == bool(wrong)


def test_every_command_is_run_or_it_is_said_why_not():
    every = {command for page in PAGES for command in commands(page)}
    ours = [c for c in every if shlex.split(c)[0] not in ELSEWHERE]
    assert [c for c in ours if not any(re.match(how, c) for how in RUN_BY)] == []
    named = re.findall(r"tests/[\w/]+\.py", " ".join(RUN_BY.values()))
    assert [test for test in named if not (ROOT / test).exists()] == []


def test_distgrad_plan_prints_what_the_page_shows(capsys):
    (block,) = blocks(ROOT / "docs/planning.md", "console")
    command, _, shown = block.removeprefix("$ distgrad ").partition("\n")
    assert cli.main(command.split()) == 0
    assert capsys.readouterr().out.strip() == shown.strip()


def test_every_program_that_is_left_out_occurs():
    used = {shlex.split(c)[0] for page in PAGES for c in commands(page)}
    assert set(ELSEWHERE) - used == set()
