"""Import circles inside the packages: a file can be read without those that import it."""

import ast
from pathlib import Path

import pytest

import distgrad

ROOT = Path(distgrad.__file__).parent
PACKAGES = sorted(p.parent.name for p in ROOT.glob("*/__init__.py"))

# The number of files in each package's circles, imports under TYPE_CHECKING included: a circle
# may get smaller, and no package may get one.
IN_CIRCLES = {"autograd": 3}


def module_of(path):
    parts = [] if path.stem == "__init__" else [path.stem]
    while (path.parent / "__init__.py").exists():
        path = path.parent
        parts.insert(0, path.name)
    return ".".join(parts)


def imported(source, package, modules):
    """Return which of ``modules`` the source of a module in ``package`` imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            # What is imported from a package is one of its modules, or defined in its __init__.
            names = {f"{base}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else base for name in names}
    return found & modules.keys()


def circles(root):
    """Return the sets of modules under ``root`` that import each other, directly or not."""
    modules = {module_of(path): path for path in root.rglob("*.py")}
    arrows = {
        name: imported(
            path.read_text(), name if path.stem == "__init__" else name.rpartition(".")[0], modules
        )
        - {name}
        for name, path in modules.items()
    }

    def reach(name):
        seen, ahead = set(), [name]
        while ahead:
            new = arrows[ahead.pop()] - seen
            seen |= new
            ahead += new
        return seen

    reached = {name: reach(name) for name in modules}
    return {
        frozenset(other for other in reached[name] if name in reached[other])
        for name in modules
        if name in reached[name]
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_circle_in_a_package_grows(package):
    found = circles(ROOT / package)
    size = len(frozenset().union(*found))
    shown = "\n".join(" <-> ".join(sorted(circle)) for circle in found)
    allowed = IN_CIRCLES.get(package, 0)
    assert size <= allowed, f"{size} files of {package} import each other in circles:\n{shown}"


def test_a_circle_under_type_checking_or_in_a_function_is_seen(tmp_path):
    package = tmp_path / "house"
    (package / "attic").mkdir(parents=True)
    files = {
        "__init__.py": "from house.a import A",
        "a.py": "if TYPE_CHECKING:\n    from house import b",
        "b.py": "def f():\n    from .attic import c",
        "attic/__init__.py": "",
        "attic/c.py": "from ..a import A\nimport house.attic.d",
        "attic/d.py": "import os",
    }
    for name, source in files.items():
        (package / name).write_text(source)
    assert circles(package) == {frozenset({"house.a", "house.b", "house.attic.c"})}
