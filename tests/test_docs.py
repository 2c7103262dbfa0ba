"""The pages under docs/: generated ones are up to date, code in them runs."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import distgrad as dg
from distgrad.comm import ALL_REDUCE
from distgrad.perrank import isolated

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.3.0",
    reason="docs/ops.md lists functions of newer NumPys than this one",
)
def test_ops_md_is_what_the_registry_says():
    done = subprocess.run(
        [sys.executable, DOCS / "make_ops.py", "--check"], capture_output=True, check=False
    )
    assert done.returncode == 0, "run `python docs/make_ops.py`\n" + done.stderr.decode()


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_the_code_of_autodiff_runs(capsys):
    names: dict[str, object] = {}
    for block in blocks("autodiff.md"):
        exec(compile(block, "autodiff.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "gradient norm" in printed
    assert "that multiply" in printed


def test_the_code_of_the_captured_step_runs(capsys):
    names: dict[str, object] = {}
    for block in blocks("captured-step.md"):
        # The decorated functions' lines are found as those of a file would be.
        exec(compile(block, "captured-step.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "op   linear: 32×64 float32" in printed
    assert "in wrong" in printed
    assert "inside a captured step, whose replays would go on with" in printed


def test_the_code_of_adding_an_op_runs_and_its_errors_are_the_real_ones(capsys):
    text = (DOCS / "adding-an-op.md").read_text()
    names: dict[str, object] = {}
    before = set(dg.autograd.REGISTRY)
    try:
        for block in blocks("adding-an-op.md"):
            exec(compile(block, "adding-an-op.md", "exec"), names)
        assert "Tensor(" in capsys.readouterr().out
        with pytest.raises(dg.ShapeError) as caught:
            names["squared_distances"](dg.Tensor(np.ones((3, 4))), dg.Tensor(np.ones((5, 6))))
        assert str(caught.value) in text
    finally:
        for added in set(dg.autograd.REGISTRY) - before:
            del dg.autograd.REGISTRY[added]
    with pytest.raises(dg.GradError, match=r"np\.polydiv is not an operation"):
        np.polydiv(dg.Tensor(np.ones(3)), np.ones(2))


def test_the_code_of_adding_an_algorithm_runs():
    names: dict[str, object] = {}
    before = set(ALL_REDUCE)
    try:
        for block in blocks("adding-an-algorithm.md"):
            exec(compile(block, "adding-an-algorithm.md", "exec"), names)
        assert set(ALL_REDUCE) - before == {"star"}
    finally:
        for added in set(ALL_REDUCE) - before:
            del ALL_REDUCE[added]


def test_the_loop_of_sharp_bits_runs():
    class Autoencoder(dg.nn.Module):
        def __init__(self):
            super().__init__()
            self.code, self.back = dg.nn.Linear(6, 4), dg.nn.Linear(2, 6)

        def encode(self, x):
            return self.code(x).chunk(2, dim=1)

        def decode(self, z):
            return self.back(z).sigmoid()

    (block,) = blocks("sharp-bits.md")
    model = Autoencoder()
    data = dg.data.ArrayDataset(np.random.default_rng(0).uniform(size=(8, 6)).astype(np.float32))
    names = {"dg": dg, "np": np, "F": dg.nn.functional, "model": model}
    names["loader"] = dg.data.DataLoader(data, 4)
    names["optimizer"] = dg.optim.SGD(model.parameters(), lr=0.1)
    exec(compile(block, "sharp-bits.md", "exec"), names)


LOOKED_AT = {"adding-an-algorithm.md", "adding-an-op.md", "autodiff.md", "captured-step.md"}
LOOKED_AT |= {"first-ten-minutes.md", "run-folder.md", "sharp-bits.md"}
"""Pages with tests of their own: above, and tests/docs/test_first_minutes.py."""
CODE = sorted(p.name for p in DOCS.glob("*.md") if "\n```python\n" in p.read_text())


@pytest.mark.parametrize("page", [page for page in CODE if page not in LOOKED_AT])
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # for those that save a file
    names: dict[str, object] = {}
    for block in blocks(page):
        exec(compile(block, page, "exec"), names)


class FakeMLflow(ModuleType):
    """MLflow's five functions that docs/run-folder.md calls, which note what they are told."""

    def __init__(self):
        super().__init__("mlflow")
        self.told = []

    def __getattr__(self, name):
        if name not in (
            "set_tracking_uri",
            "set_experiment",
            "log_params",
            "log_metrics",
            "end_run",
        ):
            raise AttributeError(name)
        return lambda *words: self.told.append((name, *words))


def test_the_code_of_the_run_folder_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mlflow = FakeMLflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)  # half a gigabyte
    code = blocks("run-folder.md")
    if importlib.util.find_spec("tensorboard") is None:
        code = [b for b in code if "TensorBoardLogger" not in b]
        code.insert(-1, "from distgrad.observe import Run")
    whole = compile("\n".join(code), "run-folder.md", "exec")
    isolated(lambda: exec(whole, {}))  # its world has shards
    printed = capsys.readouterr().out
    assert "3 epochs" in printed
    assert "[(0, 69), (69, 115)]" in printed
    assert mlflow.told[2:4] == [
        ("log_params", {"lr": 1e-3, "width": 64}),
        ("log_metrics", {"loss": 1.0, "validation/loss": 2.0}, 1),
    ]
    assert mlflow.told[-1] == ("end_run", "FINISHED")
    named = set(
        re.findall(r"^\| `([\w./]+)` \|", (DOCS / "run-folder.md").read_text(), re.MULTILINE)
    )
    there = {path.name + "/" * path.is_dir() for path in (tmp_path / "runs/a").iterdir()}
    assert there <= named
    sometimes = {"health.jsonl", "time.jsonl", "plots/", "report.html"}
    assert named - there <= sometimes
    assert (tmp_path / "runs/b/health.jsonl").exists()


def test_the_table_of_collectives_has_every_verb_and_none_that_is_not():
    from distgrad import distributed as dist  # noqa: PLC0415
    from distgrad.comm import Communicator  # noqa: PLC0415
    from distgrad.distributed.nn import functional  # noqa: PLC0415

    rows = re.findall(r"^\| `.*\|$", (DOCS / "collectives.md").read_text(), re.MULTILINE)[1:]
    columns = [set[str](), set[str](), set[str]()]
    for row in rows:
        cells = row.split("|")
        for names, cell in zip(columns, cells[1:4], strict=True):
            names |= set(re.findall(r"`(\w+)`", cell))
        for name in re.findall(r"`(\w+)`", cells[1]):
            assert hasattr(Communicator, f"start_{name}") != ("no `start_…`" in row), name
    ours = {n.removeprefix("start_") for n in vars(Communicator) | _bases(Communicator)}
    others = {
        "share",
        "sum",
        "know_sum",
        "know_barrier",
        "check_algorithm",
        "bytes_sent",
        "topology",
    }
    others |= {"topology", "share_once", "exchange"}  # of sharded training
    assert columns[0] == {n for n in ours if not n.startswith("_")} - others
    said = {n for n in dist.__all__ if not n.startswith(("get_", "is_", "init_", "destroy_"))}
    assert columns[1] == {n for n in said if n.islower()} - {"group", "nn"}
    assert columns[2] == set(functional.__all__)


def test_the_commands_of_network_md_are_taken_and_its_tables_have_every_name():
    from dataclasses import fields  # noqa: PLC0415

    from distgrad import cli  # noqa: PLC0415
    from distgrad.comm.tuning import Tuning  # noqa: PLC0415

    text = (DOCS / "network.md").read_text()
    commands = re.findall(r"^.*?distgrad (bench .*)$", text, re.MULTILINE)
    commands = [c for c in commands if "`" not in c]
    assert len(commands) >= 4
    for command in commands:
        assert cli._parser().parse_args(command.split()).work
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `.*?\|", text, re.MULTILINE))))
    assert named >= {*ALL_REDUCE, "auto", "mpi4py", "gloo"}
    assert named >= {field.name for field in fields(Tuning)}


def test_the_commands_of_doctor_md_are_taken_and_its_tables_have_every_check():
    from distgrad import cli  # noqa: PLC0415
    from distgrad.cli import doctor  # noqa: PLC0415

    text = (DOCS / "doctor.md").read_text()
    (block,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    commands = re.findall(r"distgrad (doctor .*?) *#", block)
    assert len(commands) == len(block.splitlines())
    for command in commands:
        assert cli._parser().parse_args(command.split()).work is doctor.work
    named = re.findall(r"^\| `(.*?)` \|", text, re.MULTILINE)
    assert len(named) == len({*named})
    assert {*named} >= {*doctor.PER_RANK, *doctor.PER_HOST}
    source = (DOCS.parent / "distgrad/cli/doctor.py").read_text()
    assert [name for name in named if f'"{name}"' not in source] == []
    shown = set(re.findall(r"^(?:ok|note|problem) +(.{14}) ", text, re.MULTILINE))
    assert {name.strip() for name in shown} <= {*named}


def _bases(kind):
    return {name: None for base in kind.__mro__[1:-1] for name in vars(base)}


def _names_of_pytorch():
    spec = importlib.util.spec_from_file_location(
        "make_from_pytorch", DOCS / "make_from_pytorch.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_from_pytorch_md_lists_what_is_here():
    made = _names_of_pytorch()
    written = (DOCS / "from-pytorch.md").read_text()
    assert written == written.partition(made.MARK)[0] + made.MARK + made.tables(), (
        "run `python docs/make_from_pytorch.py`"
    )


def test_a_name_of_pytorch_that_is_not_here_says_what_to_write():
    made = _names_of_pytorch()
    for module in made.MODULES:
        holder, (_, absent, meaningless) = made.holder_of(module), made.sorted_out(module)
        for name in (*absent, *meaningless):
            said = made.instead(made.owner_of(module), name)
            assert said, f"{module}.{name}: distgrad/missing.py has no answer"
            with pytest.raises(AttributeError) as caught:
                getattr(dg.Tensor(1.0) if module == "Tensor" else holder, name)
            assert said in str(caught.value)


def test_an_import_of_a_missing_name_says_what_to_write_too():
    with pytest.raises(ImportError, match=r"cannot import 'Variable'.*x\.requires_grad_\(\)"):
        exec("from distgrad.autograd import Variable")
    with pytest.raises(ImportError, match=r"cannot import 'relux'.*did you mean relu"):
        exec("from distgrad import relux")
    assert not hasattr(dg, "relux")


@pytest.mark.parametrize(
    "module",
    ["Tensor", "nn", "nn.functional", "nn.utils", "optim", "optim.lr_scheduler", "optim.swa_utils"],
)
def test_of_pytorchs_names_that_make_sense_here_97_of_100_are_there(module):
    here, absent, _ = _names_of_pytorch().sorted_out(module)
    assert len(here) >= 0.97 * len([*here, *absent]), absent


PAGES = sorted(
    [
        *DOCS.glob("*.md"),
        *DOCS.glob("course/*.md"),
        *(DOCS.parent / n for n in ("README.md", "CONTRIBUTING.md")),
    ]
)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_file_and_page_that_a_page_names_exists(page):
    text = page.read_text()
    words = re.sub(r"```.*?```|^ {4}.*?$", "", text, flags=re.DOTALL | re.MULTILINE)
    linked = [page.parent / link for link in re.findall(r"\]\((?!https?:)([^)#]+)", words)]
    named = [
        DOCS.parent / path
        for path in re.findall(
            r"(?<![\w/.-])(?:distgrad|launch|examples|tests|docs|benchmarks)/[\w./-]*\w\.\w+", text
        )
    ]
    missing = sorted({str(p) for p in [*linked, *named] if not p.exists()})
    assert not missing
