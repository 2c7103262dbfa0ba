"""``distgrad submit``: the jobs it writes, what it refuses, how it hands them over.

The schedulers' commands are programs that note what they are given and answer as the real ones do.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from distgrad import cli
from distgrad.cli.schedulers import SCHEDULERS

REPO = Path(__file__).parents[2]
SHELLS = pytest.mark.parametrize("key", [key for key in SCHEDULERS if key != "k8s"])
ANSWERS = {
    "sbatch": "70",
    "qsub": "70.head",
    "qsub -terse": "70",
    "bsub": "Job <70> is submitted to default queue <normal>.",
    "kubectl": "persistentvolumeclaim/train-checkpoints created\nmpijob.kubeflow.org/train created",
}
COMMAND = """\
#!/bin/sh
printf '%s\\n' "$0" "$@" >"$NOTES"
[ -t 0 ] || cat >>"$NOTES"
printf '%s\\n' '{answer}'
exit {status}
"""


class Site:
    """A login node: which commands there are, and a folder with a script to train."""

    def __init__(self, folder: Path, monkeypatch, capsys):
        self.folder, self.monkeypatch, self.capsys = folder, monkeypatch, capsys
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.home = folder / "home"
        self.home.mkdir()
        (self.home / "train.py").write_text("print('trained')\n")
        monkeypatch.chdir(self.home)
        monkeypatch.setenv("PATH", str(self.bin))
        monkeypatch.setenv("NOTES", str(folder / "notes"))

    def install(self, command: str, answer: str = "", status: int = 0):
        path = self.bin / command
        path.write_text(COMMAND.format(answer=answer, status=status).replace("cat", "/bin/cat"))
        path.chmod(0o755)

    def submit(self, *words: str) -> tuple[int, str, str]:
        try:
            status = cli.main(["submit", *words])
        except SystemExit as end:
            status = int(str(end.code))
        printed = self.capsys.readouterr()
        return status, printed.out, printed.err

    def written(self, *words: str) -> str:
        status, out, err = self.submit("--dry-run", *words)
        assert status == 0, err
        return out


@pytest.fixture
def site(tmp_path, monkeypatch, capsys):
    return Site(tmp_path, monkeypatch, capsys)


def directives(text: str) -> list[str]:
    return re.findall(r"^#(?:SBATCH|PBS|BSUB|\$) (.*)$", text, re.MULTILINE)


SIZE = ["-n", "6", "--nodes", "3", "--threads", "2", "--time", "2h"]
SITE = ["--queue", "quick", "--account", "lab", "--array", "2-5"]
WANTED = {
    "slurm": """--nodes=3|--ntasks-per-node=2|--cpus-per-task=2|--time=02:00:00|--partition=quick
--account=lab|--job-name=train|--requeue|--array=2-5""",
    "pbs": """-l select=3:ncpus=4:mpiprocs=2|-l walltime=02:00:00|-q quick|-A lab|-N train
-r y|-J 2-5""",
    "lsf": """-n 6|-R "span[ptile=2]"|-R "affinity[core(2)]"|-W 2:00|-q quick|-P lab|-r
-J "train[2-5]\"""",
    "sge": """-pe mpi 12|-l h_rt=02:00:00|-q quick|-P lab|-N train|-r y|-t 2-5""",
}


@SHELLS
def test_size_time_queue_and_account_are_the_schedulers_lines(site, key):
    size = [w for w in SIZE if key != "sge" or w not in {"--nodes", "3"}]
    text = site.written("--scheduler", key, *size, *SITE, "train.py")
    assert set(re.split(r"[|\n]", WANTED[key])) <= set(directives(text))
    assert "distgrad run --threads 2 " in text
    text = site.written("--scheduler", key, "-n", "2", "--option=-x y", "train.py")
    assert "-x y" in directives(text)
    assert "quick" not in text
    assert "2-5" not in text
    assert "--threads" not in text.split("distgrad submit")[-1]


def run_written(site, text: str, key: str, **variables: str) -> list[str]:
    """Run a job's text with a ``distgrad`` that notes its words; return those of the program."""
    note = site.bin / "distgrad"
    note.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >{site.folder}/words\n")
    note.chmod(0o755)
    for command in ("blaunch", "qrsh", "scontrol"):
        site.install(command)
    hosts = site.folder / "hosts"
    hosts.write_text("a 2 q u\n" if key == "sge" else "a\na\n")
    environment = {
        "PATH": f"{site.bin}:/usr/bin:/bin",
        "NOTES": str(site.folder / "notes"),
        "TMPDIR": str(site.folder),
        **dict.fromkeys(("PBS_NODEFILE", "LSB_DJOB_HOSTFILE", "PE_HOSTFILE"), str(hosts)),
        **dict.fromkeys(("SLURM_NTASKS", "LSB_DJOB_NUMPROC", "NSLOTS"), "2"),
        **{"SLURM_JOB_ID": "70", "PBS_JOBID": "70.head", "LSB_JOBID": "70", "JOB_ID": "70"},
        "PBS_O_WORKDIR": str(site.home),
        **variables,
    }
    text = text.replace(str(Path(sys.executable).parent) + ":", f"{site.bin}:")
    subprocess.run(["bash", "-c", text], env=environment, cwd=site.home, check=True, timeout=30)
    words = (site.folder / "words").read_text().splitlines()
    return words[words.index("train.py") :]


TASKS = {"slurm": "SLURM_ARRAY_TASK_ID", "pbs": "PBS_ARRAY_INDEX", "lsf": "LSB_JOBINDEX"}
TASKS["sge"] = "SGE_TASK_ID"


@SHELLS
def test_the_program_gets_its_words_as_they_were_given_and_the_jobs_own_numbers(site, key):
    awkward = ["a  b", "it's", "$HOME", "*", "", "{other}", "--x={job}/{task}", "{checkpoint}"]
    text = site.written("--scheduler", key, "-n", "2", "--array", "1-3", "train.py", *awkward)
    words = run_written(site, text, key, **{TASKS[key]: "3"})
    head = ".head" if key == "pbs" else ""
    assert words[:7] == ["train.py", *awkward[:6]]
    assert words[7] == f"--x=70{head}/3"
    assert words[8].endswith(f"-70{head}/task-3")
    alone = site.written("--scheduler", key, "-n", "2", "train.py", "--x", "{task}")
    assert run_written(site, alone, key)[1:] == ["--x", "{task}"]
    assert "checkpoint=" not in alone


@SHELLS
def test_setup_comes_before_all_and_a_fast_network_is_left_to_mpi(site, key):
    setup = ["--setup", "module load 'my mpi'", "--setup", "ulimit -c 0"]
    text = site.written("--scheduler", key, "-n", "2", *setup, "--fast-network", "train.py")
    assert "\nmodule load 'my mpi'\nulimit -c 0\nPATH=" in text
    assert "OMPI_MCA_btl" not in text
    assert "OMPI_MCA_btl" in site.written("--scheduler", key, "-n", "2", "train.py")


@SHELLS
def test_bash_and_shellcheck_take_what_is_written(site, key):
    words = ["-n", "2", "--threads", "2", "--array", "1-2", "train.py", "{checkpoint}", "{task}"]
    text = site.written("--scheduler", key, *words)
    subprocess.run(["/bin/bash", "-n"], input=text, text=True, check=True)
    if checker := shutil.which("shellcheck", path="/usr/bin:/usr/local/bin"):
        subprocess.run([checker, "-"], input=text, text=True, check=True)


def test_the_scripts_of_launch_are_what_it_writes():
    done = subprocess.run(
        [sys.executable, REPO / "launch/make.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )
    assert done.returncode == 0, f"run `python launch/make.py`\n{done.stdout}{done.stderr}"


def test_the_image_has_kubernetes_script_and_its_words_are_strings_of_yaml(site):
    words = ["-n", "6", "--nodes", "3", "--image", "r/d", "--memory", "8G", "--name", "My_job"]
    text = site.written("--scheduler", "k8s", *words, "there.py", "{checkpoint}", "8", "true", "é")
    assert "  slotsPerWorker: 2\n" in text
    assert "      replicas: 3\n" in text
    assert "memory: 8Gi\n" in text
    assert text.count("image: r/d\n") == 2
    assert 'there.py\n                - /checkpoints/my-job\n                - "8"\n' in text
    assert '                - "true"\n                - "\\u00e9"\n' in text


# -- who is asked ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("installed", "name", "given", "state"),
    [
        (["sbatch", "qsub"], "Slurm", ["train.sbatch"], "squeue --jobs=70"),
        (["qsub"], "PBS", ["train.pbs"], "qstat 70"),
        (["qsub", "qconf"], "Grid Engine", ["-terse", "train.sge"], "qstat -j 70"),
        (["bsub"], "LSF", ["#!/bin/bash"], "bjobs 70"),
    ],
)
def test_the_scheduler_that_is_here_gets_the_job(site, installed, name, given, state):
    for command in installed:
        site.install(command, ANSWERS.get(command, ""))
    status, out, err = site.submit("-n", "2", "train.py")
    assert status == 0, err
    assert f"distgrad submit: {name}, as " in err
    noted = (site.folder / "notes").read_text().splitlines()
    assert set(given) <= set(noted)
    assert f"{name} job 70 (train): " in out
    assert state in out
    (file,) = (path for path in site.home.iterdir() if path.name != "train.py")
    assert "Written by distgrad" in file.read_text()
    assert str(file) in out


def test_a_job_of_kubernetes_is_followed_by_its_name(site):
    site.install("kubectl", ANSWERS["kubectl"])
    words = ["--scheduler", "k8s", "-n", "2", "--image", "r/d", "train.py"]
    status, out, _ = site.submit(*words)
    assert status == 0
    assert "kubectl logs --follow job/train-launcher" in out
    site.install("kubectl", "mpijob.kubeflow.org/train unchanged")
    status, _, err = site.submit(*words)
    assert status == 2
    assert "there is a job 'train' already" in err
    assert "kubectl delete mpijob train" in err


def test_an_arrays_output_is_a_file_for_each_task(site):
    site.install("sbatch", "70")
    _, out, _ = site.submit("-n", "2", "--array", "1-3", "train.py")
    assert f"{site.home}/slurm-train-70_*.log" in out
    assert "tasks 1-3" in out


def test_what_the_scheduler_says_against_a_job_is_shown(site):
    site.install("sbatch", "invalid partition specified: fast", status=1)
    status, out, err = site.submit("-n", "2", "--queue", "fast", "train.py")
    assert status == 2
    assert not out
    assert "sbatch did not take the job (status 1)" in err
    assert "invalid partition specified: fast" in err


def test_an_answer_without_a_number_is_shown(site):
    site.install("sbatch", "so be it")
    status, _, err = site.submit("-n", "2", "train.py")
    assert status == 2
    assert "so be it" in err


def test_a_file_that_is_not_its_own_is_left_alone_and_its_own_is_written_again(site):
    site.install("sbatch", "70")
    mine = site.home / "train.sbatch"
    mine.write_text("thesis")
    status, _, err = site.submit("-n", "2", "train.py")
    assert status == 2
    assert "'train.sbatch' is there" in err
    assert mine.read_text() == "thesis"
    assert site.submit("-n", "2", "--file", "a.job", "train.py")[0] == 0
    assert site.submit("-n", "4", "--file", "a.job", "train.py")[0] == 0
    assert "--ntasks-per-node=4" in (site.home / "a.job").read_text()
    status, _, err = site.submit("-n", "2", "--file", "none/a.job", "train.py")
    assert "cannot write the job to 'none/a.job'" in err


# -- what cannot be ----------------------------------------------------------------------------

MISTAKES = [
    (["-n", "2", "none.py"], "there is no script 'none.py'"),
    (["-n", "2", "."], "'.' is a folder; name the script in it"),
    (["-n", "0", "train.py"], "-n 0: a job needs at least one rank"),
    (["train.py"], "the following arguments are required: -n"),
    (["-n", "2"], "name a script"),
    (["-n", "4", "--nodes", "3", "train.py"], "-n has to be a multiple of --nodes"),
    (["-n", "4", "--threads", "0", "train.py"], "--threads 0: a rank needs at least one thread"),
    (["-n", "2", "--time", "1:30", "train.py"], "is it 1:30:00 or 0:1:30?"),
    (["-n", "2", "--time", "4", "train.py"], "at least 5 minutes"),
    (["-n", "2", "--time", "soon", "train.py"], "'soon' is no time"),
    (["-n", "2", "--array", "3", "train.py"], "'3' is no range of tasks: 1-4"),
    (["-n", "2", "--array", "0-3", "train.py"], "'0-3' is no range of tasks"),
    (["-n", "2", "--memory", "4", "train.py"], "'4' is no size of memory: 512M, 4G, 1T"),
    (["-n", "2", "--name", "7 days", "train.py"], "'7 days' is no name that all schedulers take"),
    (["-n", "2", "--queue", "a\nb", "train.py"], "has to be one word"),
    (["-n", "2", "--image", "r/d", "train.py"], "--image is Kubernetes's; Slurm has none"),
    (["--scheduler", "sge", "-n", "2", "--nodes", "2", "train.py"], "--parallel-environment"),
    (["--scheduler", "lsf", "-n", "2", "--memory", "4G", "train.py"], "LSF takes no --memory"),
    (["--scheduler", "k8s", "-n", "2", "train.py"], "Kubernetes needs --image"),
    (["--scheduler", "k8s", "-n", "2", "--array", "1-2", "t.py"], "Kubernetes takes no --array"),
    (["--scheduler", "pbs", "-n", "2", "train.py"], "qsub is not installed here"),
]


@pytest.mark.parametrize(("words", "said"), MISTAKES, ids=lambda value: str(value)[:40])
def test_what_cannot_be_is_refused_with_the_reason(site, words, said):
    site.install("sbatch", "70")
    status, out, err = site.submit(*words)
    assert status == 2
    assert said in err
    assert not out
    assert not (site.folder / "notes").exists()


def test_without_a_scheduler_it_says_which_it_looked_for(site):
    status, _, err = site.submit("-n", "2", "train.py")
    assert status == 2
    assert "none of sbatch, bsub, qconf, qsub, kubectl is installed here" in err
    assert "--dry-run --scheduler slurm|pbs|lsf|sge|k8s" in err


@pytest.mark.parametrize(
    ("text", "time"), [("90", "01:30:00"), ("2h", "02:00:00"), ("1-02:00:05", "26:00:05")]
)
def test_times_are_read_as_people_write_them(site, text, time):
    written = site.written("--scheduler", "slurm", "-n", "2", "--time", text, "train.py")
    assert f"--time={time}" in directives(written)


@pytest.mark.parametrize("dashes", [[], ["--"]])
def test_modules_and_two_dashes_are_taken(site, dashes):
    (site.home / "mine.py").touch()
    text = site.written("--scheduler", "slurm", "-n", "2", "-m", "mine", "--x", "1")
    assert '"$SLURM_NTASKS" -m mine \\\n    --x 1 &' in text
    text = site.written("--scheduler", "slurm", "-n", "2", *dashes, "train.py", "--time", "9")
    assert '"$SLURM_NTASKS" train.py \\\n    --time 9 &' in text
    assert "--time=01:00:00" in directives(text)


def test_the_command_at_the_top_writes_the_same_job_again(site):
    text = site.written("--scheduler", "slurm", "-n", "2", "train.py", "a\nb", "it's")
    head = "\n".join(line[4:] for line in re.findall(r"^#   .*$", text, re.MULTILINE))
    words = shlex.split(head)
    assert words[:2] == ["distgrad", "submit"]
    status, out, _ = site.submit(*words[2:])
    assert status == 0
    assert out == text
