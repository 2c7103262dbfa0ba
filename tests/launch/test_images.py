"""The recipes of the containers: what a linter says, Apptainer's grammar, and the same content.

No builder of Apptainer's comes from Debian or PyPI; of its recipe the grammar is checked here, and
what another parser (spython) makes of it where that is installed.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
DOCKERFILE, DEFINITION = REPO / "launch/Dockerfile", REPO / "launch/distgrad.def"

# Apptainer's user guide, "Definition files": what may stand in a header, and which sections are.
HEADER = {"Bootstrap", "From", "Stage", "Include", "Registry", "Namespace", "Fingerprints"}
SCRIPTS = {"pre", "setup", "post", "environment", "runscript", "startscript", "test"}
SECTIONS = SCRIPTS | {"files", "labels", "help", "arguments"}


def sections() -> dict[str, list[str]]:
    """The lines of the definition by section, those before the first under "header"."""
    found: dict[str, list[str]] = {"header": []}
    name = "header"
    for line in DEFINITION.read_text().splitlines():
        if line.startswith("%"):
            name = line[1:].strip()
            assert name not in found, f"%{name} twice"
            found[name] = []
        elif line.strip() and not line.lstrip().startswith("#"):
            found[name].append(line)
    return found


def installed(recipe: str) -> list[str]:
    (line,) = re.findall(r"pip install (.*)", recipe)
    *options, what = shlex.split(line)
    return [*options, what.rpartition("[")[2].rstrip("]")]


def test_the_definition_has_sections_that_apptainer_knows_and_each_is_there_for_something():
    found = sections()
    header = dict(line.split(": ", 1) for line in found.pop("header"))
    assert {"Bootstrap", "From"} <= set(header) <= HEADER
    assert {"files", "post", "runscript", "test"} <= set(found) <= SECTIONS
    assert all(found.values())
    assert all(line.startswith("    ") for lines in found.values() for line in lines)


def test_its_scripts_are_valid_for_sh():
    for name, lines in sections().items():
        if name in SCRIPTS:
            subprocess.run(["sh", "-n"], input="\n".join(lines), text=True, check=True)


def test_both_images_have_the_same_base_the_same_files_and_the_same_extras():
    docker, found = DOCKERFILE.read_text(), sections()
    (base,) = re.findall(r"^FROM (\S+)$", docker, re.MULTILINE)
    assert found["header"] == ["Bootstrap: docker", f"From: {base}"]
    lines = re.findall(r"^COPY (.*)$", docker, re.MULTILINE)
    copied = [source for line in lines for source in line.split()[:-1]]
    taken, placed = zip(*(line.split() for line in found["files"]), strict=True)
    assert sorted(taken) == sorted(copied)
    assert [Path("/opt/distgrad") / source for source in taken] == [*map(Path, placed)]
    assert {*taken} <= {"distgrad", *(path.name for path in REPO.iterdir())}
    assert (
        installed(docker) == installed("\n".join(found["post"])) == ["--no-cache-dir", "mpi,fast"]
    )


def test_the_test_of_the_definition_is_a_command_that_runs():
    (line,) = sections()["test"]
    words = shlex.split(line.replace("/opt/distgrad/", ""))
    command = [sys.executable, "-m", *words[:2], "--dry-run", *words[2:]]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "examples/train.py --epochs 1" in done.stdout


@pytest.mark.skipif(
    importlib.util.find_spec("spython") is None,
    reason="spython, which reads Apptainer's recipes, is not installed (the extra lint)",
)
def test_another_parser_reads_in_it_what_is_meant():
    from spython.main.parse.parsers import get_parser  # noqa: PLC0415

    (recipe,) = get_parser("Singularity")(str(DEFINITION)).parse().values()
    found = sections()
    assert recipe.fromHeader == found["header"][1].split()[1]
    assert {*recipe.files} == {line.strip() for line in found["files"]}
    assert recipe.cmd == found["runscript"][0].strip()
    assert recipe.install[0] == found["post"][0].strip()


@pytest.mark.skipif(
    shutil.which("hadolint") is None, reason="hadolint is not installed (the extra lint)"
)
def test_hadolint_finds_nothing_in_the_dockerfile():
    subprocess.run(["hadolint", "--no-color", DOCKERFILE], check=True)
