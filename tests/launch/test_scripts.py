"""The scripts of launch/ are valid, name files and options that exist, and wire the resume."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
LAUNCH = REPO / "launch"
SHELL_SCRIPTS = sorted(
    [
        *LAUNCH.glob("**/*.sh"),
        *LAUNCH.glob("*.sbatch"),
        REPO / "tests/run.sh",
        REPO / "tests/release.sh",
        REPO / ".ci/run",
    ]
)
TRAINERS = sorted(
    path
    for path in LAUNCH.iterdir()
    if path.suffix in {".sh", ".sbatch", ".yaml"} and path.name != "quickstart.sh"
)

# How each scheduler is asked for a time limit and for another start.
WIRING = {
    "local.sh": ["MPIEXEC_TIMEOUT="],
    "hostfile.sh": ["MPIEXEC_TIMEOUT="],
    "slurm.sbatch": [
        "#SBATCH --time=",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
        "#SBATCH --signal=B:USR1@120",
        "trap",
        "scontrol requeue",
    ],
    "pbs.sh": ["#PBS -l walltime=", "#PBS -r y", "timeout --foreground", "trap"],
    "lsf.sh": ["#BSUB -W ", "#BSUB -r\n", "#BSUB -Q 99", "timeout --foreground", "trap"],
    "gridengine.sh": ["#$ -l h_rt=", "#$ -r y", "timeout --foreground", "trap"],
    "kubernetes-mpijob.yaml": ["activeDeadlineSeconds:", "backoffLimit:", "restartPolicy:"],
}


def name(path: Path) -> str:
    return str(path.relative_to(REPO))


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=name)
def test_a_script_is_valid_for_the_shell_that_its_first_line_names(script):
    shell = "bash" if "bash" in script.read_text().splitlines()[0] else "sh"
    subprocess.run([shell, "-n", script], check=True)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing():
    subprocess.run(["shellcheck", "-x", *SHELL_SCRIPTS], cwd=REPO, check=True)


@pytest.mark.parametrize("script", TRAINERS, ids=name)
def test_each_script_has_a_time_limit_a_restart_and_a_resume(script):
    text = script.read_text()
    for asked in [*WIRING[script.name], "--checkpoint", "--every", "--resume", "--json"]:
        assert asked in text, f"{name(script)} lacks {asked}"


@pytest.fixture(scope="module")
def train_options():
    shown = subprocess.run(
        [sys.executable, REPO / "examples/train.py", "--help"],
        check=True,
        capture_output=True,
        text=True,
    )
    return set(re.findall(r"--[a-z][a-z-]*", shown.stdout))


@pytest.mark.parametrize("script", [*TRAINERS, LAUNCH / "README.md"], ids=name)
def test_only_options_of_the_training_script_follow_its_name(script, train_options):
    lines = script.read_text().replace("\\\n", " ").splitlines()
    calls = []
    if script.suffix == ".yaml":  # a list, one word a line
        calls = [script.read_text().split("- examples/train.py", 1)[1].split("resources:")[0]]
    elif script.suffix != ".md":
        calls = [line.split("examples/train.py", 1)[1] for line in lines if "train.py" in line]
    calls += [match[1] for line in lines if (match := re.search(r"launch/\S+(.*)", line))]
    used = {option for call in calls for option in re.findall(r"--[a-z][a-z-]*", call)}
    assert used <= train_options, f"{name(script)}: {used - train_options}"


@pytest.mark.parametrize("script", [*SHELL_SCRIPTS, *LAUNCH.glob("[!_]*.*")], ids=name)
def test_every_file_that_a_script_names_exists(script):
    named = re.findall(
        r"(?<![\w/.-])(?:launch|examples|tests|docs)/[\w./-]*\w\.\w+", script.read_text()
    )
    missing = sorted({path for path in named if not (REPO / path).exists()})
    assert not missing, f"{name(script)}: {missing}"
