"""The package as a whole: what importing it costs, and what it says is public."""

import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import GenericAlias, ModuleType

import numpy as np
import pytest

import distgrad
from distgrad.autograd import REGISTRY
from distgrad.autograd.op import PLAIN
from distgrad.autograd.tensor import FUNCTIONS, UFUNCS

ROOT = Path(distgrad.__file__).parents[1]
REPO = Path(__file__).resolve().parents[1]  # the package may be an installed one
PACKAGES = [
    "distgrad",
    *(m.name for m in pkgutil.walk_packages(distgrad.__path__, "distgrad.") if m.ispkg),
]


def test_importing_distgrad_imports_nothing_heavy():
    code = "import json, sys, distgrad; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, timeout=60
    )
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    heavy = {"mpi4py", "numba", "llvmlite", "rich", "safetensors", "matplotlib", "torch", "pytest"}
    assert not loaded & heavy


def test_importing_distgrad_leaves_numpys_random_numbers_to_the_first_draw():
    code = (
        "import sys, numpy; eager = 'numpy.random' in sys.modules; "  # older NumPys'
        "import distgrad; assert eager or 'numpy.random' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_tensors_take_the_logarithm_of_0_in_silence_and_numpy_warns_as_ever():
    code = (
        "import warnings, numpy as np, distgrad as dg; dg.log(dg.zeros(3)); np.log(dg.zeros(3)); "
        "x = dg.zeros(3, requires_grad=True); (1 / x).sum().backward(); "
        "warnings.simplefilter('always', append=True); np.log(np.zeros(3))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, timeout=60
    )
    assert done.stderr.decode().count("RuntimeWarning") == 1


def isort_style(name):
    """CONSTANTS, then Classes, then functions: the order ruff keeps (RUF022)."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("name", PACKAGES)
def test_public_names_are_sorted_exist_and_are_all_listed(name):
    package = importlib.import_module(name)
    own = {
        n
        for n, v in vars(package).items()
        if not n.startswith("_")
        and not isinstance(v, ModuleType)
        and str(getattr(v, "__module__", "")).startswith(name)
    }
    listed = getattr(package, "__all__", [])
    assert listed == sorted(listed, key=isort_style)
    assert len(listed) == len(set(listed))
    assert [n for n in listed if not hasattr(package, n)] == []
    assert own <= set(listed)


def test_no_public_name_is_a_module_by_accident():
    meant = {
        "distgrad": {
            "autograd",
            "checkpoint",
            "cuda",
            "data",
            "distributed",
            "distributions",
            "fft",
            "func",
            "integrate",
            "linalg",
            "nn",
            "observe",
            "ops",
            "optim",
            "random",
            "special",
            "utils",
        },
        "distgrad.autograd": {"functional", "random"},
        "distgrad.data": {"transforms"},
        "distgrad.distributed": {"nn"},
        "distgrad.distributed.algorithms.ddp_comm_hooks": {
            "debugging_hooks",
            "default_hooks",
            "post_localSGD_hook",
            "powerSGD_hook",
        },
        "distgrad.distributed.algorithms.model_averaging": {"averagers"},
        "distgrad.distributed.nn": {"functional"},
        "distgrad.distributions": {"constraints", "transforms"},
        "distgrad.nn": {"functional", "init", "utils", "zoo"},
        "distgrad.nn.utils": {"parametrizations", "parametrize", "prune", "rnn", "stateless"},
        "distgrad.parallel": {"hooks"},
        "distgrad.utils": {"checkpoint", "data"},
        "distgrad.optim": {"lr_scheduler", "swa_utils"},
    }
    for name in PACKAGES:
        package = importlib.import_module(name)
        modules = {n for n in getattr(package, "__all__", ()) if inspect.ismodule(vars(package)[n])}
        assert modules == meant.get(name, set()), name


def test_no_module_of_ops_stands_where_a_function_is_looked_for():
    functions = {f.__name__ for f in (*FUNCTIONS, *UFUNCS)} | set(REGISTRY)
    functions -= {name.rpartition(".")[2] for name in PLAIN}  # np.shape and the like
    modules = {n for n, v in vars(distgrad.ops).items() if inspect.ismodule(v)}
    assert not functions & modules
    z = distgrad.ops.complex(np.array([1.0]), np.array([2.0]))
    assert z.array.tolist() == [1 + 2j]


@pytest.mark.parametrize("name", PACKAGES)
def test_everything_public_is_documented(name):
    package = importlib.import_module(name)
    assert (package.__doc__ or "").strip()
    for n in getattr(package, "__all__", ()):
        value = getattr(package, n)
        if isinstance(value, GenericAlias):  # a class, says Python 3.10
            continue
        if inspect.isclass(value) or inspect.isfunction(value):
            assert (value.__doc__ or "").strip(), f"{name}.{n}"


def test_every_file_that_has_the_version_has_the_same():
    version = distgrad.__version__
    for file, line in {
        "pyproject.toml": f'version = "{version}"',
        "CITATION.cff": f"version: {version}",
        "recipe/recipe.yaml": f'  version: "{version}"',
    }.items():
        assert line in (REPO / file).read_text().splitlines(), file


def test_the_conda_recipe_asks_for_what_the_package_asks_for():
    recipe = (REPO / "recipe/recipe.yaml").read_text()
    text = (REPO / "pyproject.toml").read_text()
    (core,) = re.findall(r"^dependencies = \[(.*)\]$", text, re.MULTILINE)
    for needed in re.findall(r'"(.*?)"', core):
        assert f"    - {needed.replace('>=', ' >=')}\n" in recipe, needed
    for extra, name in {"numba": "numba", "matplotlib": "matplotlib-base"}.items():
        (bound,) = set(re.findall(rf'"{extra}>=(.*?)"', text))
        assert f"    - {name} >={bound}\n" in recipe, name
